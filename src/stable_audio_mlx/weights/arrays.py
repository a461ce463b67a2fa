"""Tensors on their way between files and MLX: one table of dtypes, bfloat16 for NumPy, reading without a copy."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np

from ..errors import WeightsError

# Our name -> the NumPy dtype that holds its bits; NumPy has no bfloat16, so two bytes stand in for it.
STORAGE: dict[str, np.dtype] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
}
# MLX types that stand in while bytes are read into them.
HOLDERS = {"bfloat16": "uint16", "bool": "bool_"}
FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Entry:
    """One tensor in a file: where its bytes lie and what they mean."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * STORAGE[self.dtype].itemsize

    def read(self) -> np.ndarray:
        """The tensor as NumPy array; bfloat16 comes widened to float32, which is exact."""
        out = np.empty(self.shape, STORAGE[self.dtype])
        self._fill(out.reshape(-1).view(np.uint8))
        return widen_bfloat16(out) if self.dtype == "bfloat16" else out

    def bits(self) -> memoryview:
        """The bytes as they stand in the file."""
        raw = np.empty(self.nbytes, np.uint8)
        self._fill(raw)
        return raw.data

    def room(self, stream: mx.Stream | mx.ThreadLocalStream | None = None) -> mx.array:
        """MLX's memory for the bytes of the tensor, ready when evaluated."""
        return mx.zeros(self.shape, getattr(mx, HOLDERS.get(self.dtype, self.dtype)), stream=stream)

    def load(self, dtype: mx.Dtype | None = None, room: mx.array | None = None) -> mx.array:
        """The tensor as evaluated MLX array, read straight into MLX's memory; ``dtype`` casts float tensors."""
        if self.dtype == "float64" or not self.size:  # float64 does not exist on every device
            values = self.read()
            out = mx.array(values.astype(np.float32) if self.dtype in FLOATS else values)
        else:
            out = self.room() if room is None else room
            mx.eval(out)
            self._fill(np.array(out, copy=False).reshape(-1).view(np.uint8))
            out = out.view(mx.bfloat16) if self.dtype == "bfloat16" else out
        if dtype is not None and self.dtype in FLOATS:
            out = out.astype(dtype)
        mx.eval(out)
        return out

    def _fill(self, target: np.ndarray) -> None:
        with open(self.file, "rb", buffering=0) as file:
            read_exactly(file, self.offset, target)


def read_exactly(file: io.FileIO, offset: int, target: np.ndarray) -> None:
    """Fill ``target`` (bytes) from ``offset``; a file that ends early is a WeightsError."""
    file.seek(offset)
    view, done = target.data, 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise WeightsError(f"{file.name}: ends early, the file is truncated; download or convert it again")
        done += count


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """uint16 bit patterns of bfloat16 -> float32, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 -> uint16 bit patterns of bfloat16, rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def store_as(array: np.ndarray, dtype: str) -> np.ndarray:
    """Float arrays in the storage form of ``dtype`` (a value beyond float16's range is an error); others unchanged."""
    if array.dtype.kind != "f":
        return array
    if dtype == "bfloat16":
        return narrow_bfloat16(array)
    with np.errstate(over="ignore"):
        out = array.astype(STORAGE[dtype])
    if dtype == "float16" and not np.isfinite(out).all():
        raise WeightsError("a weight does not fit in float16; convert with --dtype float32 or bfloat16")
    return out


def plausible_shape(shape: object) -> bool:
    """True for a list of at most 8 non-negative whole numbers whose product stays below 2**48."""
    return (
        isinstance(shape, list | tuple)
        and len(shape) <= 8
        and all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
        and math.prod(shape) < 1 << 48
    )
