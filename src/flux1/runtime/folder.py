"""The contents of a folder of graphs: its model_index.json, written by `flux1 export onnx`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flux1.errors import MissingWeightsError, UnknownModelError, WeightsError
from flux1.variants import Variant

INDEX = "model_index.json"
KEY = "flux1"  # of what is ours in it; the rest is diffusers'


@dataclass(frozen=True)
class Exported:
    """A model as graphs: its row, the hash of the weights that they were made of, and its files.

    `components` are the graphs by name (`transformer`, `vae`, `clip`, ...), `tokenizers` those of
    the text encoders by the encoder's name, `files` the sizes of all of these in bytes and of the
    weights beside them. Paths are the folder's, with slashes.
    """

    variant: Variant
    model_hash: str
    version: str
    dtype: str
    opset: int
    components: dict[str, str]
    tokenizers: dict[str, str]
    files: dict[str, int]


def index_of(exported: Exported) -> dict[str, object]:
    """The contents of a model_index.json."""
    return {"_class_name": "FluxPipeline", KEY: asdict(exported)}


def is_folder(path: Path) -> bool:
    """Return whether it may be a folder of graphs."""
    return (path / INDEX).is_file()


def find_folder(model: str | Path, models: Path | None = None) -> Path:
    """A folder of graphs: the path itself, or NAME or NAME-onnx in `models`.

    UnknownModelError, with the command that makes one, if there is none.
    """
    name = str(model)
    places = [Path(name), *([models / name, models / f"{name}-onnx"] if models else [])]
    for place in filter(is_folder, places):
        return place
    example = name if Path(name).name == name else "MODEL"
    raise UnknownModelError(
        f"model: {name!r} is no folder of ONNX graphs; "
        f"make one: flux1 export onnx --model {example} --out {Path(name).name}-onnx"
    )


def read_folder(folder: Path) -> Exported:
    """Its index, and whether all files are there. MissingWeightsError or WeightsError, one line."""
    file = folder / INDEX
    try:
        found = json.loads(file.read_text(encoding="utf-8"))[KEY]
        exported = TypeAdapter(Exported).validate_json(json.dumps(found), strict=True)
    except FileNotFoundError:
        raise MissingWeightsError(f"missing {file}") from None
    except (KeyError, TypeError):
        raise WeightsError(f"{file}: is not of `flux1 export onnx`") from None
    except ValidationError as failure:
        first = failure.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WeightsError(f"{file}: {where}: {first['msg']}") from failure
    except (OSError, ValueError) as failure:
        raise WeightsError(f"{file}: cannot be read: {failure}") from failure
    for name, size in exported.files.items():
        try:
            found = (folder / name).stat().st_size
        except OSError:
            raise MissingWeightsError(f"{folder}: missing {name}; export the model again") from None
        if found != size:
            raise WeightsError(
                f"{folder / name}: has {found} bytes, {INDEX} says {size}; export the model again"
            )
    return exported
