"""The ways in which weights may be kept, by name. Imports no torch: options are made of them."""

from typing import Literal

Keep = Literal["plain", "packed", "mapped"]
"""Decoded in memory, in memory as the file has them, or left in the file."""

Quantization = Literal["int8", "int8_dynamic", "fp8"]
"""int8: weights in eight bits, arithmetic in the compute dtype; int8_dynamic: arithmetic too; fp8:
both in eight-bit floats, on graphics cards that have it."""
