"""Networks to files: BFL's single file, diffusers' folder, the folder in which flux-mini ships."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor, nn

from flux1.errors import OutputError
from flux1.model.autoencoder import Autoencoder
from flux1.model.stored import StoredEmbedding, StoredLinear
from flux1.model.transformer import Transformer
from flux1.variants import Variant
from flux1.weights import model_files
from flux1.weights.files.disk import sha256
from flux1.weights.files.safetensors import write_json, write_sharded, write_tensors
from flux1.weights.kinds.table import PUBLISHED
from flux1.weights.learnt import WORDS_JSON
from flux1.weights.load import TextParts
from flux1.weights.numbers.int8 import METADATA, quantize_rows
from flux1.words import Vocabulary

MAX_SHARD_SIZE = 10_000_000_000  # bytes; diffusers' own default


def save_bfl(model: nn.Module, file: Path, quantize: bool = False) -> None:
    """One safetensors file in BFL's names, in the network's dtype or, if asked, in int8 rows.

    OutputError if the place cannot be written.
    """
    state = _state(model)
    if quantize:
        write_tensors(file, quantize_rows(state), METADATA)
    else:
        write_tensors(file, state)


def save_diffusers(
    model: Transformer | Autoencoder, folder: Path, max_shard_size: int = MAX_SHARD_SIZE
) -> None:
    """Weights and config.json as diffusers reads them; shards past `max_shard_size` bytes.

    OutputError if the place cannot be written.
    """
    row = next(row for row in PUBLISHED if isinstance(model, row.build))
    assert row.description is not None  # both have one
    state = row.spelled(_state(model), "diffusers", model.config)
    config = row.description.write(model.config)
    write_sharded(folder, row.places.stem, state, max_shard_size)
    write_json(folder / "config.json", config)


def save_model_folder(
    folder: Path,
    variant: Variant,
    transformer: Transformer,
    autoencoder: Autoencoder,
    text: TextParts,
    quantize: bool = True,
    words: Vocabulary | None = None,
    sizes: Sequence[str] = (),
) -> None:
    """The folder in which flux-mini ships; model.json, which vouches for the rest, is last. `words`
    are those that were learnt, `sizes` ('256x256') those of the pictures.

    OutputError if the place cannot be written.
    """
    networks = (transformer, autoencoder, text["bert"].network)
    for network, name in zip(networks, model_files.MODEL_FILES[:3], strict=True):
        save_bfl(network, folder / name, quantize)
    try:
        text["bert"].tokenizer.save(str(folder / model_files.MODEL_FILES[3]), pretty=False)
    except Exception as failure:  # the library raises bare Exception
        raise OutputError(f"{folder}: cannot be written: {failure}") from failure
    if words is not None:
        write_json(folder / WORDS_JSON, asdict(words), indent=None)
    write_json(
        folder / model_files.MODEL_JSON,
        {
            "variant": variant.id,
            **({"sizes": list(sizes)} if sizes else {}),
            "latents": {
                "shift": autoencoder.config.shift_factor,
                "scale": autoencoder.config.scale_factor,
            },
            "sha256": {name: sha256(folder / name) for name in model_files.MODEL_FILES},
        },
    )


def save_lora_model(
    folder: Path, variant: Variant, base: Path, lora: Mapping[str, Tensor], guidance: float
) -> None:
    """A LoRA (its tensors as PEFT names them) for the model in the folder `base` beside this one,
    and a model.json that makes the two `variant`: the LoRA is merged when it is loaded, and the
    network is fixed at one guidance scale.

    OutputError if the place cannot be written.
    """
    kept = {name: tensor.bfloat16() for name, tensor in lora.items()}
    file = folder / model_files.LORA_FILE
    write_tensors(file, kept, {"format": "pt"})
    files = replace(model_files.files_of(base), loras=(file,), guidance=guidance)
    write_json(
        folder / model_files.MODEL_JSON,
        {
            "variant": variant.id,
            "base": base.name,
            "guidance": guidance,
            "sha256": {
                name: sha256(path) for name, path in model_files.vouched_for(files, folder).items()
            },
        },
    )


def _state(model: nn.Module) -> dict[str, Tensor]:
    """The learned tensors, a tied one under its first name only. OutputError if some are kept in
    another form: they are no parameters, and would be missing."""
    stored = [n for n, m in model.named_modules() if isinstance(m, StoredLinear | StoredEmbedding)]
    if stored:
        raise OutputError(
            f"{stored[0]}: its weights are packed or in a file: load the model with "
            "keep='plain' to write it"
        )
    return {name: parameter.detach() for name, parameter in model.named_parameters()}
