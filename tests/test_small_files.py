"""Every small file that is read, in versions that are damaged, absurd or hostile: each is read, or
refused in one line, within the time and memory of confined.py."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import gguf
import pytest
import torch
from safetensors.torch import save_file

import flux1
from confined import confined
from flux1.cli.console import say
from flux1.cli.serve import _check_licence
from flux1.cli.words import _show as show_words
from flux1.errors import Flux1Error
from flux1.pipeline.encode import FluxWords, SentenceWords
from flux1.training.checkpoint import finished_steps, load_checkpoint, save_checkpoint
from flux1.training.ema import Ema
from flux1.training.mini.recipes import read_recipe
from flux1.variants import find
from flux1.weights.files.disk import unreadable
from flux1.weights.files.open import open_tensors
from flux1.weights.inspect import inspect
from flux1.weights.kinds.transformer import transformer_config
from flux1.weights.kinds.words import load_tokenizer, transformers_tokenizer
from flux1.weights.load import load_model
from flux1.weights.lora.read import read_lora
from flux1.weights.sources import locate
from flux1.words import Vocabulary
from mutated import (
    byte_versions,
    json_versions,
    safetensors_versions,
    text_versions,
    zip_versions,
)
from synthetic import make_diffusers_folder

SHIPPED = Path(flux1.__file__).parent / "shipped"
TOKENIZER_KEYS = (
    "extra_ids", "additional_special_tokens", "model_max_length", "tokenizer_class",
    "added_tokens_decoder", "extra_special_tokens", "unk_token", "eos_token", "chat_template",
    "padding_side", "max_length", "vocab", "merges", "vocab_file", "sp_model_kwargs", "padding",
    "truncation", "type", "dropout", "backend", "is_local",
)  # fmt: skip
MODEL_KEYS = ("sizes", "latents", "variant", "base", "guidance", "sha256")
FACTORS = {
    "base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight": torch.ones(2, 32),
    "base_model.model.transformer_blocks.0.attn.to_q.lora_B.weight": torch.ones(32, 2),
    "a single number": torch.ones(()),
    "nothing": torch.zeros(0, 3),
}
Places = dict[str, Path]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Places:
    """Every file, sound."""
    root = tmp_path_factory.mktemp("small")
    flux = make_diffusers_folder(root / "flux")
    for name in ("flux-mini", "flux-mini-schnell"):
        (root / name).mkdir()
        for file in (SHIPPED / name).iterdir():
            if file.suffix == ".safetensors":
                os.symlink(file, root / name / file.name)
            else:
                shutil.copy(file, root / name)
    (flux / "scheduler").mkdir()
    times = {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}
    (flux / "scheduler/scheduler_config.json").write_text(json.dumps(times))
    recipe = SHIPPED.parent / "training/recipes/flux-mini-scenes.toml"
    shutil.copy(recipe, root / "recipe.toml")
    licences = json.dumps([find("flux-dev").licence.name])
    (root / "accepted-licences.json").write_text(licences)
    _write_tensors(root)
    return {"root": root, "flux": flux}


def _write_tensors(root: Path) -> None:
    for folder in ("lora", "shards", "run"):
        (root / folder).mkdir()
    told = {"ss_base_model_version": "flux1", "a": "b"}
    save_file(FACTORS, root / "lora/adapter_model.safetensors", told)
    config = {"r": 2, "lora_alpha": 4, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_q": 3}}
    (root / "lora/adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    shard = "model-00001-of-00001.safetensors"
    save_file(FACTORS, root / "shards" / shard)
    index = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(FACTORS, shard)})
    (root / "shards/model.safetensors.index.json").write_text(index)
    torch.save({"state_dict": FACTORS, "epoch": 3}, root / "x.pt")
    writer = gguf.GGUFWriter(root / "x.gguf", "flux")
    writer.add_array("words", ["a", "b"])
    writer.add_tensor("a", torch.zeros(4, 32).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    learner, ema, optimizers = _run()
    learner(torch.ones(1, 2)).sum().backward()
    optimizers[0].step()
    save_checkpoint(root / "run", 3, learner, ema, optimizers, about={"rank": 4})


def _run() -> tuple[torch.nn.Module, Ema, list[torch.optim.Optimizer]]:
    learner = torch.nn.Linear(2, 2)
    return learner, Ema(learner, 0.9), [torch.optim.AdamW(learner.parameters())]


def load(at: Places, folder: str) -> None:
    load_model(locate(at["root"] / folder))


def find_model(at: Places, folder: str) -> None:
    assert locate(at["root"] / folder).model_hash


def flux_words(at: Places, folder: str) -> None:
    folders = {name: at["flux"] / name for name in ("tokenizer", "tokenizer_2")}
    clip, t5 = (transformers_tokenizer(path) for path in folders.values())
    words = FluxWords(clip, t5, min(77, clip.model_max_length), 64)
    words.count("a fox on a blue background")
    words.ids(["a fox"], 64, True)


def sentence_words(at: Places, folder: str) -> None:
    words = SentenceWords(load_tokenizer(at["root"] / folder / "tokenizer.json"), 64)
    words.count("a fox on a blue background")


def look(at: Places, file: str) -> None:
    try:
        inspect(at["root"] / file)
        state = open_tensors(at["root"] / file)
        for name in state:
            _ = state[name]
    except OSError as failure:  # as the commands do
        raise unreadable(failure) from failure


def read_adapter(at: Places, folder: str) -> None:
    config = transformer_config(json.loads((at["flux"] / "transformer/config.json").read_text()))
    read_lora(at["root"] / folder, config)


def resume(at: Places, folder: str) -> None:
    finished_steps(at["root"] / folder)
    load_checkpoint(at["root"] / folder, *_run())


def recipe(at: Places, file: str) -> None:
    read_recipe(str(at["root"] / file))


def accepted(at: Places, folder: str) -> None:
    _check_licence(find("flux-dev"), at["root"], accept=False)


def in_json(*added: str) -> Callable[[bytes, Random], Iterator[bytes]]:
    return lambda data, random: json_versions(data.decode(), random, added)


def in_toml(data: bytes, random: Random) -> Iterator[bytes]:
    return text_versions(data.decode(), random)


FILES = {  # file: its versions, its reader, what the reader is told
    "flux/transformer/config.json": (in_json(), load, "flux"),
    "flux/vae/config.json": (in_json(), load, "flux"),
    "flux/text_encoder/config.json": (in_json(), load, "flux"),
    "flux/text_encoder_2/config.json": (in_json(), load, "flux"),
    "flux/model_index.json": (in_json(), find_model, "flux"),
    "flux/scheduler/scheduler_config.json": (in_json(), find_model, "flux"),
    "flux/tokenizer/merges.txt": (byte_versions, flux_words, ""),
    "flux/tokenizer/vocab.json": (in_json(), flux_words, ""),
    "flux/tokenizer/tokenizer_config.json": (in_json(*TOKENIZER_KEYS), flux_words, ""),
    "flux/tokenizer_2/tokenizer.json": (in_json(*TOKENIZER_KEYS), flux_words, ""),
    "flux/tokenizer_2/tokenizer_config.json": (in_json(*TOKENIZER_KEYS), flux_words, ""),
    "flux-mini/tokenizer.json": (in_json(*TOKENIZER_KEYS), sentence_words, "flux-mini"),
    "flux-mini/model.json": (in_json(*MODEL_KEYS), find_model, "flux-mini"),
    "flux-mini/words.json": (in_json(), find_model, "flux-mini"),
    "flux-mini-schnell/model.json": (in_json(*MODEL_KEYS), find_model, "flux-mini-schnell"),
    "lora/adapter_config.json": (in_json(), read_adapter, "lora"),
    "lora/adapter_model.safetensors": (safetensors_versions, read_adapter, "lora"),
    "shards/model.safetensors.index.json": (in_json(), look, "shards"),
    "x.gguf": (byte_versions, look, "x.gguf"),
    "x.pt": (zip_versions, look, "x.pt"),
    "run/checkpoint.pt": (zip_versions, resume, "run"),
    "recipe.toml": (in_toml, recipe, "recipe.toml"),
    "accepted-licences.json": (in_json(), accepted, ""),
}


def check(places: Places, name: str, count: int, seed: int) -> Counter[str]:
    """Read so many versions of a file; how many were read, and how many refused."""
    versions, reader, told = FILES[name]
    file = places["root"] / name
    sound, kinds = file.read_bytes(), Counter()
    assert confined(lambda: reader(places, told)).kind == "read"
    try:
        for number, data in zip(range(count), versions(sound, Random(seed)), strict=False):
            file.write_bytes(data)
            outcome = confined(lambda: reader(places, told))
            assert outcome.kind != "failed", (number, outcome.said, data[:500])
            kinds[outcome.kind] += 1
    finally:
        file.write_bytes(sound)
    return kinds


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_is_read_or_refused_in_one_line(places, name):
    assert check(places, name, 4, 1).total() == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_hundreds_of_versions_of_each(places, name):
    assert check(places, name, 300, 2)["refused"] > 50 or name == "flux/model_index.json"


HOSTILE = {
    "flux/tokenizer_2/tokenizer_config.json": {"extra_ids": 2**47},
    "flux/transformer/config.json": {"attention_head_dim": "1" * 1000},
    "flux/text_encoder_2/config.json": {"num_layers": 10**6},
    "flux/tokenizer/tokenizer_config.json": {"model_max_length": "77"},
    "flux-mini/model.json": {"latents": {"shift": 10**400, "scale": [1]}},
    "flux-mini-schnell/model.json": {"guidance": 10**400},
    "flux/vae/config.json": {"scaling_factor": 10**400},
    "flux/scheduler/scheduler_config.json": {"base_shift": 10**400},
    "flux/tokenizer_2/tokenizer.json": {"added_tokens": [{"id": 1, "content": "[" * 10**5}]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_made_readers_take_gigabytes_is_refused_by_name(places, name):
    _, reader, told = FILES[name]
    file = places["root"] / name
    sound = file.read_text()
    file.write_text(json.dumps(json.loads(sound) | HOSTILE[name]))
    outcome = confined(lambda: reader(places, told))
    file.write_text(sound)
    assert outcome.kind == "refused", outcome
    assert str(file) in outcome.said


def test_foreign_words_steer_no_terminal(capsys):
    vocabulary = Vocabulary(nouns=(("a\x1b]0;b\x07",),))
    show_words(vocabulary)
    say("a file named \x1b[31m\x9b2J\nand its second line")
    told = capsys.readouterr()
    for line in (told.out + told.err).splitlines():
        assert line.isprintable(), line
    assert r"a\x1b]0;b\x07" in told.out


def test_a_message_is_one_line_that_steers_no_terminal():
    said = str(Flux1Error("a\x1b]0;b\x07\n\tc\u202e\udc80" + "d" * 10**6))
    assert said.startswith(r"a\x1b]0;b\x07 c\u202e\udc80d")
    assert len(said) <= 2000
    assert said.isprintable()
