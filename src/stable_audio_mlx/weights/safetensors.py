"""safetensors files: the header checked against the file's size before anything is read; tensors one by one."""

import json
import struct
from pathlib import Path

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
    header.pop("__metadata__", None)
    return {key: entry(path, key, item, 8 + length, size) for key, item in header.items()}


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


def write(path: Path, tensors: dict[str, Entry], metadata: dict[str, str], dtype: str | None = None) -> None:
    """Copy tensors into a new .safetensors file one at a time; ``dtype`` narrows the wider float tensors."""
    kinds = {key: narrowed(item, dtype) for key, item in sorted(tensors.items())}
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for key, kind in kinds.items():
        end = offset + tensors[key].size * STORAGE[kind].itemsize
        header[key] = {"dtype": CODES[kind], "shape": list(tensors[key].shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for key, kind in kinds.items():
            item = tensors[key]
            file.write(item.bits() if kind == item.dtype else store_as(item.read(), kind).tobytes())


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
