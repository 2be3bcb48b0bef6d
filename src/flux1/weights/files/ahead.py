"""Reading ahead: while one layer is computed, the bytes of the next are fetched.

The order is learnt from the calls themselves. One thread reads for all networks of a process; it
starts with the first of them and ends when the last is gone. A tensor's pages belong to the process
only while it is open, so a network takes the memory of two of its layers.
"""

import mmap
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from flux1.weights.files.lazy import Stored

_readers: "weakref.WeakSet[ThreadPoolExecutor]" = weakref.WeakSet()
_starting = Lock()


@dataclass(frozen=True)
class _Opened:
    """A tensor's parts, on the device where they are used; `arrived` is set where they may still be
    on the way."""

    tensors: Sequence[Tensor]
    arrived: torch.cuda.Event | None = None


class Ahead:
    """Opens the tensors of one network, from files, in the order in which it asks for them."""

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._reader = _shared_reader()
        self._lock = Lock()
        self._after: dict[Stored, Stored] = {}
        self._last: Stored | None = None
        self._coming: tuple[Stored, Future[_Opened]] | None = None
        self._stream = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def open(self, stored: Stored) -> Sequence[Tensor]:
        """Its parts; their memory is given back when they are dropped. What reading it raises."""
        with self._lock:
            if self._last is not None and self._last is not stored:
                self._after[self._last] = stored
            self._last = stored
            expected = self._coming
            if expected is not None and expected[0] is stored:
                self._coming = None
        if expected is not None and expected[0] is stored:
            opened = expected[1].result()
        else:
            opened = self._fetch(stored)
        self._expect(stored)
        if opened.arrived is not None:
            present = torch.cuda.current_stream(self._device)
            present.wait_event(opened.arrived)
            for tensor in opened.tensors:
                tensor.record_stream(present)
        return opened.tensors

    def _expect(self, stored: Stored) -> None:
        """Begin to read what came after this one the last time."""
        with self._lock:
            following = self._after.get(stored)
            if following is None or (self._coming and self._coming[0] is following):
                return
            if self._coming is not None:
                self._coming[1].cancel()
            self._coming = following, self._reader.submit(self._fetch, following)

    def _fetch(self, stored: Stored) -> _Opened:
        mapped = stored.opened()
        if self._stream is None:
            for tensor in mapped:
                _touch(tensor)
            return _Opened([tensor.to(self._device) for tensor in mapped])
        with torch.cuda.stream(self._stream):
            sent = [part.pin_memory().to(self._device, non_blocking=True) for part in mapped]
            return _Opened(sent, self._stream.record_event())


def _touch(tensor: Tensor) -> None:
    """Have every page read now. By numpy: torch would start threads of its own for this one."""
    if tensor.numel():
        tensor.reshape(-1).view(torch.uint8).numpy()[:: mmap.PAGESIZE].max()


def _shared_reader() -> ThreadPoolExecutor:
    with _starting:
        for reader in _readers:
            return reader
        reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="flux1-ahead")
        _readers.add(reader)
        return reader
