"""A kind of network is one row: what a row says is all that recognising, reading, describing and
writing its files need."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from flux1.weights.checkpoint import Checkpoint
from flux1.weights.convert import plan_conversion
from flux1.weights.files.safetensors import write_tensors
from flux1.weights.inspect import inspect
from flux1.weights.kinds.kind import Described, Description, NetworkKind
from flux1.weights.kinds.lines import check_names, renamed
from flux1.weights.kinds.shapes import matrix, shapes_of
from flux1.weights.kinds.table import KINDS
from flux1.weights.load import Storage, load_network


@dataclass(frozen=True)
class TowerConfig:
    width: int
    layers: int


class Tower(nn.Module):
    """A network that this package has not: it looks at pictures, as SigLIP does."""

    def __init__(self, config):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x).relu()
        return x


def table(config):
    return [f"layers.{i}.{kind}" for i in range(2) for kind in ("weight", "bias")]


def our_name(name):
    return None if name.endswith("position_ids") else name.removeprefix("vision.")


def ours(state, dialect, config):
    found = renamed(state, our_name)
    check_names(found.keys(), table(config))
    return found


def shape(part):
    return TowerConfig(matrix(shapes_of(part), "vision.layers.0")[0], 2)


TOWER = NetworkKind(
    id="tower",
    title="a tower that sees",
    build=Tower,
    signatures={"transformers": "vision.layers.0."},
    ours=ours,
    describe=lambda part, called: Described(
        f"of width {shape(part).width}", "Apache-2.0", table(shape(part)), our_name
    ),
    description=Description(lambda told: TowerConfig(**told), vars, shape),
    prefix="image_encoders.tower.",
)


@pytest.fixture
def tower(monkeypatch, tmp_path):
    """A file with a network of a new kind, beside an unused tensor, and the network."""
    monkeypatch.setitem(KINDS, TOWER.id, TOWER)
    network = Tower(TowerConfig(8, 2))
    state = {f"m.vision.{name}": tensor for name, tensor in network.state_dict().items()}
    file = tmp_path / "tower.safetensors"
    write_tensors(file, state | {"m.vision.position_ids": torch.arange(3)})
    return file, network


def test_it_is_recognised_and_read(tower):
    file, network = tower
    checkpoint = Checkpoint(file)
    (part,) = checkpoint.parts
    assert (part.kind, part.prefix, checkpoint.rest) == ("tower", "m.", [])
    config = checkpoint.config("tower")
    again = load_network(checkpoint, "tower", config, Storage(torch.float64))
    x = torch.randn(3, 8)
    torch.testing.assert_close(again(x.double()).float(), network(x))


def test_it_is_described_and_written(tower, tmp_path):
    file, network = tower
    (report,) = inspect(file)
    (found,) = report.networks
    assert (found.what, found.licence, found.missing, found.unknown, found.problem) == (
        "of width 8", "Apache-2.0", (), (), "",
    )  # fmt: skip
    plan_conversion(str(file), tmp_path / "out.safetensors", "bfl", "fp16", part="tower").write()
    written = Checkpoint(tmp_path / "out.safetensors").tensors
    assert {name: tensor.dtype for name, tensor in written.items()} == dict.fromkeys(
        network.state_dict(), torch.float16
    )
