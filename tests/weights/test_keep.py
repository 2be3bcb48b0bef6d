"""What the ways of keeping weights take: the resident memory of a process of its own, which counts
the pages of mapped files too."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from flux1.model.config import T5Config, TransformerConfig
from flux1.model.text import T5Text
from flux1.weights.files.safetensors import write_tensors
from flux1.weights.kinds.t5 import t5_table
from flux1.weights.load import random_transformer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

CONFIG = TransformerConfig(
    in_channels=16, vec_in_dim=64, context_in_dim=64, hidden_size=768, num_heads=6,
    depth=1, depth_single_blocks=8, guidance_embed=True,
)  # fmt: skip
SMALL = replace(CONFIG, hidden_size=128, num_heads=1, depth_single_blocks=1)
T5 = T5Config(
    vocab_size=64_256, hidden_size=1024, intermediate_size=2048, num_layers=3, num_heads=16,
    head_dim=64,
)  # fmt: skip
SMALL_T5 = replace(T5, hidden_size=64, intermediate_size=64, num_layers=1, num_heads=1)

# Prints by how many bytes the process grows, at most and in the end, once all that grows with the
# first call of any network has.
PROBE = """
import sys
from pathlib import Path
import torch

def resident(which):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))

def measured(load, small, config, call):
    call(small)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    network = load(config)
    for _ in range(3):
        call(network)
    print(resident("VmHWM") - before, resident("VmRSS") - before)

torch.set_grad_enabled(False)
path, keep, dtype = Path(sys.argv[1]), sys.argv[2], torch.float32
from flux1.model.config import T5Config, TransformerConfig
from flux1.weights.load import Storage, load_network
small, config = eval(sys.argv[3]), eval(sys.argv[4])
"""

OF_A_TRANSFORMER = """
from flux1.model.patches import image_ids, text_ids
from flux1.weights.load import random_transformer
given = dict(
    img=torch.ones(1, 16, 16), img_ids=image_ids(4, 4)[None], txt=torch.ones(1, 8, 64),
    txt_ids=text_ids(8)[None], t=torch.ones(1), pooled=torch.ones(1, 64), guidance=torch.ones(1),
)
load = lambda config: load_network(path, "transformer", config, Storage(dtype, keep=keep))
measured(load, random_transformer(small, 0), config, lambda network: network(**given))
"""

OF_T5 = """
from flux1.model.text import T5Text
ids = torch.arange(0, 64_000, 2000)[None]
load = lambda config: load_network(path, "t5", config, Storage(dtype, keep=keep))
measured(load, T5Text(small).eval(), config, lambda network: network(ids))
"""


def grown(code, file, keep, small, config):
    done = subprocess.run(
        [sys.executable, "-c", PROBE + code, str(file), keep, repr(small), repr(config)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return map(int, done.stdout.split())


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """190 MB, the largest layer 8 MB."""
    file = tmp_path_factory.mktemp("large") / "transformer.safetensors"
    state = random_transformer(CONFIG, 0).state_dict()
    write_tensors(file, {name: tensor.bfloat16() for name, tensor in state.items()})
    return file


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """195 MB, of which the embedding is 132, the largest layer 4."""
    file = tmp_path_factory.mktemp("large") / "t5.safetensors"
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in T5Text(T5).state_dict().items()}
    wanted = {name.removeprefix("t5."): shapes[name] for name in t5_table(T5)}
    write_tensors(file, {n: torch.ones(s, dtype=torch.bfloat16) for n, s in wanted.items()})
    return file


def test_a_transformer(transformer):
    size = transformer.stat().st_size
    most, stays = grown(OF_A_TRANSFORMER, transformer, "plain", SMALL, CONFIG)
    assert min(most, stays) > 1.9 * size  # in fp32
    most, stays = grown(OF_A_TRANSFORMER, transformer, "packed", SMALL, CONFIG)
    assert 0.9 * size < stays <= most < 1.4 * size
    most, stays = grown(OF_A_TRANSFORMER, transformer, "mapped", SMALL, CONFIG)
    assert stays <= most < 0.4 * size


def test_a_text_encoder(t5):
    size = t5.stat().st_size
    most, _ = grown(OF_T5, t5, "packed", SMALL_T5, T5)
    assert 0.9 * size < most < 1.4 * size
    most, _ = grown(OF_T5, t5, "mapped", SMALL_T5, T5)
    assert most < 0.4 * size
