"""The judge: a small classifier that says which noun, in which style, a crop shows.

It is trained on the same drawings as flux-mini, apart from it: its own compositions, seeds and
augmentations, and no generated picture (../judge.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from adherence.compositions import SIDE, STYLE_NAMES, Deck, compose
from flux1.training.mini.vocabulary import NOUNS

WEIGHTS = Path(__file__).parent / "judge.safetensors"
TRAINING_SEED = 71_001
Trust = dict[str, dict[str, tuple[int, int]]]  # set -> measure -> right of how many


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class JudgeNet(nn.Module):
    """Half a million weights: 64x64 pixels in [-1, 1] to scores of nouns and of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            _stage(12, 32, stride=2),
            _stage(32, 64, stride=1),
            _stage(64, 96, stride=2),
            _stage(96, 128, stride=1),
            _stage(128, 256, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.noun = nn.Linear(256, len(NOUNS))
        self.style = nn.Linear(256, len(STYLE_NAMES))

    def forward(
        self, x: Float[Tensor, "b 3 64 64"]
    ) -> tuple[Float[Tensor, "b nouns"], Float[Tensor, "b styles"]]:
        features = self.body(x)
        return self.noun(features), self.style(features)


@dataclass(frozen=True)
class Verdict:
    """The five likeliest nouns, best first, the likelier style, and how sure of the first noun."""

    nouns: tuple[str, ...]
    style: str
    confidence: float  # softmax probability; low where the crop looks like nothing it knows

    @property
    def noun(self) -> str:
        return self.nouns[0]


class Judge:
    """Names what crops show."""

    def __init__(self, net: JudgeNet, about: dict[str, str]) -> None:
        self.net = net.eval()
        self.about = about  # how it was trained, and `trust`

    @classmethod
    def open(cls, path: Path = WEIGHTS) -> "Judge":
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata()
        net = JudgeNet()
        net.load_state_dict(weights)
        return cls(net, about)

    def save(self, trust: Trust, path: Path = WEIGHTS) -> None:
        """Half precision, with what was measured of it."""
        weights = {
            name: (w.half() if w.is_floating_point() else w).contiguous()
            for name, w in self.net.state_dict().items()
        }
        save_file(weights, path, metadata={**self.about, "trust": json.dumps(trust)})

    @property
    def trust(self) -> Trust:
        """How many true pictures, freshly composed, were read right."""
        measured = json.loads(self.about["trust"])
        return {
            name: {measure: (right, total) for measure, (right, total) in of_set.items()}
            for name, of_set in measured.items()
        }

    @torch.inference_mode()
    def __call__(self, crops: Sequence[Image.Image]) -> list[Verdict]:
        """Crops of any size, each showing one object."""
        if not crops:
            return []
        pixels = torch.stack([_pixels(crop) for crop in crops])
        nouns, styles = self.net(pixels)
        best = nouns.softmax(dim=1).topk(5)
        return [
            Verdict(tuple(NOUNS[i] for i in five), STYLE_NAMES[style], round(sure[0], 3))
            for five, sure, style in zip(
                best.indices.tolist(), best.values.tolist(), styles.argmax(1).tolist(), strict=True
            )
        ]


def _pixels(crop: Image.Image) -> Float[Tensor, "3 64 64"]:
    small = crop.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1) / 127.5 - 1


def fit(deck: Deck, steps: int, batch: int, peak: float = 4e-3) -> Judge:
    """AdamW, one cycle."""
    torch.manual_seed(TRAINING_SEED)
    rng = np.random.default_rng(TRAINING_SEED)
    net = JudgeNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps, pct_start=0.15)
    for _ in track(range(steps), description="training the judge"):
        crops = compose(deck, batch, rng)
        nouns, styles = net(crops.pixels.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(nouns, crops.nouns, label_smoothing=0.05)
        loss = loss + 0.3 * F.cross_entropy(styles, crops.styles)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()
    about = {"steps": str(steps), "batch": str(batch), "seed": str(TRAINING_SEED)}
    return Judge(net.half().float(), about)  # as it is saved
