"""Files written tensor by tensor: what each will be is known before the first is made, so the
header comes first and memory holds one tensor, whatever the file's size."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flux1.weights.files.dtypes import DTYPES
from flux1.weights.files.gguf import ARCHITECTURE
from flux1.weights.files.safetensors import beside

Shape = tuple[int, ...]
QUANTIZATION_VERSION = 2  # of GGUF's block types


@dataclass(frozen=True)
class TensorFormat:
    """The format of a tensor in a file: the format's word for its dtype, its shape, its bytes."""

    dtype: str
    shape: Shape
    size: int


@dataclass(frozen=True)
class Pending:
    """Tensors that are made together when their turn comes, and the form that each will have."""

    forms: Mapping[str, TensorFormat]
    make: Callable[[], Mapping[str, Tensor]]


def write_safetensors(
    file: Path,
    pending: Sequence[Pending],
    metadata: Mapping[str, str],
    advance: Callable[[int], None],
) -> None:
    """Write beside `file`, then rename; `advance` is told the bytes of each tensor when written.

    Wider dtypes come first, so that every tensor is aligned; each is written to its place in the
    order in which they are made. OutputError if the place cannot be written.
    """
    forms = dict(chain.from_iterable(one.forms.items() for one in pending))
    order = sorted(forms, key=lambda name: (-DTYPES[forms[name].dtype].itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    places, at = {}, 0
    for name in order:
        form = forms[name]
        places[name], at = at, at + form.size
        header[name] = {
            "dtype": form.dtype,
            "shape": form.shape,
            "data_offsets": [places[name], at],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with beside(file) as partial_file, partial_file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        start = stream.tell()
        stream.truncate(start + at)
        for one in pending:
            for name, tensor in one.make().items():
                stream.seek(start + places[name])
                stream.write(_bytes(name, tensor, forms[name]).data)
                advance(forms[name].size)


def write_gguf(
    file: Path,
    pending: Sequence[Pending],
    metadata: Mapping[str, str],
    advance: Callable[[int], None],
) -> None:
    """As above, with the `gguf` library; `metadata` holds the architecture."""
    from gguf import GGUFWriter
    from gguf.constants import GGMLQuantizationType, LlamaFileType

    sizes: Counter[str] = Counter()
    for form in chain.from_iterable(one.forms.values() for one in pending):
        sizes[form.dtype] += form.size
    del sizes["F32"]  # vectors, and what is small: in every file
    most = max(sizes, key=lambda dtype: sizes[dtype], default="F32")

    with beside(file) as partial_file:
        writer = GGUFWriter(partial_file, metadata[ARCHITECTURE])
        try:
            writer.add_quantization_version(QUANTIZATION_VERSION)
            writer.add_file_type(LlamaFileType["ALL_F32" if most == "F32" else f"MOSTLY_{most}"])
            for key, value in metadata.items():
                if key != ARCHITECTURE:
                    writer.add_string(key, value)
            for one in pending:
                for name, form in one.forms.items():
                    kind = GGMLQuantizationType[form.dtype]
                    writer.add_tensor_info(name, form.shape, np.dtype(np.float32), form.size, kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for one in pending:
                for name, tensor in one.make().items():
                    writer.write_tensor_data(_bytes(name, tensor, one.forms[name]))
                    advance(one.forms[name].size)
        finally:
            writer.close()


def _bytes(name: str, tensor: Tensor, form: TensorFormat) -> np.ndarray:
    """A tensor's bytes as they are. ValueError if they are not as many as the header says."""
    flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    if flat.size != form.size:
        raise ValueError(f"{name}: {flat.size} bytes were made, {form.size} were told")
    return flat
