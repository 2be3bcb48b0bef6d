"""An engine behind the server's port that draws plain pictures at once: for what the server says,
not for what it draws."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from PIL import Image

from flux1.events import EngineStatus, Finished, OrderEvent, Preview, Queued, Started
from flux1.request import Order
from flux1.server.ports import Model


@dataclass
class InstantEngine:
    models: Mapping[str, Model]
    drawn: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, order: Order, listener: Callable[[OrderEvent], None]) -> None:
        request = order.request
        listener(Queued(0, 0.0))
        listener(Started())
        for image in range(request.num_images):
            seed = request.seed + image
            picture = Image.new("RGB", (request.width, request.height), (seed % 256, 90, 160))
            for index in range(order.previews):
                listener(Preview(image, index, index + 1, request.steps, picture))
            listener(Finished(image, seed, picture))
        with self._lock:
            self.drawn += request.num_images

    def cancel(self, order_id: str) -> bool:
        return False

    def place(self, order_id: str) -> Queued | None:
        return None

    def progress(self, order_id: str) -> float | None:
        return None

    def status(self) -> EngineStatus:
        return EngineStatus(0, 0, 0.0, 1, 0.0, self.drawn, 0, self.drawn, True)

    def close(self, patience_s: float) -> None:
        pass
