"""safetensors files: the header checked against the file's size before anything is read; tensors one by one."""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import WeightsError
from .arrays import FLOATS, STORAGE, Entry, plausible_shape, store_as

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
CODES = {name: code for code, name in DTYPES.items()}
MAX_HEADER = 100 << 20


def read_header(path: Path) -> dict[str, Entry]:
    """Tensor name -> Entry of a .safetensors file; a WeightsError names what is wrong with a damaged one."""
    header, start, size = parse_header(path)
    header.pop("__metadata__", None)
    return {key: entry(path, key, item, start, size) for key, item in header.items()}


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a .safetensors file carries beside its tensors; none is the same as none of use."""
    found = parse_header(path)[0].get("__metadata__")
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def parse_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header as JSON object, where the tensors' bytes begin, and the file's size."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise damaged(path, f"its header claims {length} bytes of {size}")
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=lambda pairs: unique(pairs, path))
    except (ValueError, RecursionError):
        raise damaged(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise damaged(path, "its header is not a JSON object")
    return header, 8 + length, size


def entry(path: Path, key: str, item: object, start: int, size: int) -> Entry:
    """One header item, checked: known dtype, plausible shape, offsets inside the file and as long as the shape says."""
    if not isinstance(item, dict) or not plausible_shape(item.get("shape")):
        raise damaged(path, f"tensor {key!r} has no plausible shape")
    if item.get("dtype") not in DTYPES:
        raise WeightsError(f"{path}: tensor {key!r} has dtype {item.get('dtype')!r}, which is not supported")
    offsets = item.get("data_offsets")
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and n >= 0 for n in offsets)):
        raise damaged(path, f"tensor {key!r} has no data offsets")
    begin, end = offsets
    found = Entry(DTYPES[item["dtype"]], tuple(item["shape"]), path, start + begin)
    if end - begin != found.nbytes or start + end > size:
        raise damaged(path, f"tensor {key!r} lies outside the file or does not fill its place")
    return found


class Payload(NamedTuple):
    """A tensor to be written: dtype and shape are known before its bytes are made."""

    dtype: str
    shape: tuple[int, ...]
    bits: Callable[[], bytes | memoryview]


def copied(item: Entry, dtype: str) -> Payload:
    """A tensor of another file, its floats as ``dtype``."""
    return Payload(dtype, item.shape, item.bits) if dtype == item.dtype else computed(item.read, dtype, item.shape)


def computed(read: Callable[[], np.ndarray], dtype: str, shape: tuple[int, ...]) -> Payload:
    return Payload(dtype, shape, lambda: store_as(read(), dtype).tobytes())


def write(path: Path, tensors: dict[str, Payload], metadata: dict[str, str]) -> None:
    """Write tensors into a new .safetensors file, one at a time, in the order of their names."""
    ordered = dict(sorted(tensors.items()))
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for key, (dtype, shape, _) in ordered.items():
        end = offset + math.prod(shape) * STORAGE[dtype].itemsize
        header[key] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for payload in ordered.values():
            file.write(payload.bits())


def narrowed(item: Entry, dtype: str | None) -> str:
    """The dtype to write: never wider than the source, never a change to whole numbers."""
    wider = dtype and item.dtype in FLOATS and STORAGE[item.dtype].itemsize > STORAGE[dtype].itemsize
    return dtype if dtype and wider else item.dtype


def unique(pairs: list[tuple[str, object]], path: Path) -> dict[str, object]:
    """A JSON object; a key that appears twice would hide a tensor and is an error."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise damaged(path, "a tensor is listed twice")
    return out


def damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path}: not a usable .safetensors file, {why}; download it again")
