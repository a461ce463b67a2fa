"""PyTorch ``.ckpt`` / ``.pt`` files without PyTorch and without running what is in them.

The format: a zip with ``<name>/data.pkl`` (a pickle of the object tree, tensors as references) and one uncompressed
member ``<name>/data/<key>`` of raw bytes per storage.  The reader knows the handful of names that a tensor needs;
any other name in the pickle, which is how a pickle would run a program, is an error.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from .arrays import STORAGE, Entry, plausible_shape, widen_bfloat16
from .store import ZIP_ERRORS, member_offset

MAX_PICKLE = 256 << 20
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


@dataclass(frozen=True)
class StridedEntry(Entry):
    """A tensor that is a view into its storage, as PyTorch saves transposed or shared tensors."""

    strides: tuple[int, ...] = ()

    def read(self) -> np.ndarray:
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        flat = Entry(self.dtype, (span if self.size else 0,), self.file, self.offset)
        raw = np.frombuffer(flat.bits(), STORAGE[self.dtype])
        steps = tuple(s * raw.itemsize for s in self.strides)
        out = np.ascontiguousarray(np.lib.stride_tricks.as_strided(raw, self.shape, steps))
        return widen_bfloat16(out) if self.dtype == "bfloat16" else out


@dataclass(frozen=True)
class Storage:
    """A reference to one block of numbers: its dtype, and where it lies in the zip."""

    dtype: str
    file: Path
    offset: int
    size: int


def read_pickle(path: Path) -> dict[str, Entry]:
    """Key -> Entry of the state dict in a PyTorch zip checkpoint (at the top or under ``state_dict``)."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {info.filename: info for info in archive.infolist()}
            root = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
            if root is None or names[f"{root}data.pkl"].file_size > MAX_PICKLE:
                raise damaged(path, "it has no data.pkl of a plausible size (files of PyTorch before 1.6 are not read)")
            order = archive.read(f"{root}byteorder") if f"{root}byteorder" in names else b"little"
            raw = archive.read(f"{root}data.pkl")
    except ZIP_ERRORS as error:
        raise damaged(path, f"it is no complete zip archive ({error})") from None
    if order.strip() != b"little":
        raise damaged(path, "its numbers are big-endian")
    tree = unpickle(path, raw, lambda key, dtype: find_storage(path, names.get(f"{root}data/{key}"), dtype))
    state = tree.get("state_dict", tree) if isinstance(tree, dict) else None
    if not isinstance(state, dict) or not all(isinstance(k, str) for k in state):
        raise damaged(path, "it holds no state dict")
    return {key: value for key, value in state.items() if isinstance(value, Entry)}


def find_storage(path: Path, info: zipfile.ZipInfo | None, dtype: str) -> Storage:
    if info is None or info.compress_type != zipfile.ZIP_STORED:
        raise damaged(path, "a tensor's numbers are missing or compressed")
    with open(path, "rb") as file:
        offset = member_offset(path, file, info)
    if offset + info.file_size > path.stat().st_size:
        raise damaged(path, "it is truncated")
    return Storage(dtype, path, offset, info.file_size // STORAGE[dtype].itemsize)


def unpickle(path: Path, raw: bytes, storage: Callable[[str, str], Storage]) -> Any:
    """Run the pickle machine with nothing but tensors and ordered dicts to call."""
    try:
        return TensorUnpickler(path, raw, storage).load()
    except WeightsError:
        raise
    except (pickle.UnpicklingError, *ZIP_ERRORS) as error:
        raise damaged(path, f"its pickle is broken ({str(error)[:80]})") from None
    except (KeyError, IndexError, TypeError, AttributeError, RecursionError, MemoryError, AssertionError) as error:
        raise damaged(path, f"its pickle is broken ({type(error).__name__})") from None


# The pure-Python machine: its memo is a dict, so a crafted index cannot make it allocate gigabytes.
class TensorUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Allows the names in ``find_class`` and no other."""

    def __init__(self, path: Path, raw: bytes, storage: Callable[[str, str], Storage]):
        super().__init__(io.BytesIO(raw))
        self.path, self.storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        raise WeightsError(f"{self.path}: wants to call {module}.{name}, which no tensor needs; not read any further")

    def persistent_load(self, reference: Any) -> Storage:
        kind, dtype, key, *_ = reference
        if kind != "storage" or dtype not in STORAGE or not isinstance(key, str):
            raise damaged(self.path, "an unknown kind of storage")
        return self.storage(key, dtype)

    def tensor(self, storage: Storage, start: int, shape: tuple, strides: tuple, *_: Any) -> Entry:
        """Check a tensor against its storage: no view may reach outside."""
        if not (plausible_shape(shape) and plausible_shape((start,)) and isinstance(storage, Storage)):
            raise damaged(self.path, "a tensor of implausible shape")
        if len(strides) != len(shape) or not all(type(s) is int and 0 <= s < 1 << 40 for s in strides):
            raise damaged(self.path, "a tensor with implausible strides")
        end = start + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if math.prod(shape) > storage.size or (math.prod(shape) and end > storage.size):
            raise damaged(self.path, "a tensor reaches outside its storage")
        offset = storage.offset + start * STORAGE[storage.dtype].itemsize
        dense = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        if all(s == d or n == 1 for s, d, n in zip(strides, dense, shape, strict=True)):
            return Entry(storage.dtype, tuple(shape), storage.file, offset)
        return StridedEntry(storage.dtype, tuple(shape), storage.file, offset, tuple(strides))


def damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path}: not a usable PyTorch checkpoint: {why}; a .safetensors file of it would do")
