"""NPZ files, flat and without pickle: written as a stream, read by our own header parser straight into MLX's memory.

``mx.load`` of an NPZ path can abort the process at exit and ``numpy.load`` can be talked into pickle; both are avoided.
bfloat16 is stored as MLX stores it (NumPy's ``V2``), so ``mx.load`` and ``numpy.load`` can open the files too.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from .arrays import STORAGE, Entry, plausible_shape, store_as

MAGIC = b"\x93NUMPY"
MAX_NPY_HEADER = 1024
HEADER = re.compile(
    r"\{'descr': '(?P<descr>[<|=]?[fiubV]\d)', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,13}, ?)*(?:\d{1,13})?)\),? ?\}\s*"
)
DESCRS = {dtype.str.lstrip("<|"): name for name, dtype in STORAGE.items() if name not in ("bfloat16", "bool")}
DESCRS |= {"V2": "bfloat16", "b1": "bool"}
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
# What the standard library's zip reader raises on damaged input.
ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError, OverflowError, zlib.error)


def write_npz(path: Path, tensors: Iterable[tuple[str, str, Callable[[], np.ndarray]]]) -> dict[str, int | str]:
    """Write (key, dtype, read) triples one by one, uncompressed; equal input gives an equal file, byte for byte.

    Returns what was written: tensors, parameters, dtype of the floats.
    """
    count, parameters, floats = 0, 0, "float32"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for key, dtype, read in tensors:
            array = read()
            count, parameters = count + 1, parameters + array.size
            kind = dtype if array.dtype.kind == "f" else array.dtype.name
            floats = kind if array.dtype.kind == "f" else floats
            bits = np.ascontiguousarray(store_as(array, dtype))
            info = zipfile.ZipInfo(key + ".npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(npy_header(kind, array.shape))
                member.write(bits.reshape(-1).view(np.uint8).data)
    return {"tensors": count, "parameters": parameters, "dtype": floats}


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The header of NumPy's format 1.0, padded to 64 bytes."""
    descr = "<V2" if dtype == "bfloat16" else STORAGE[dtype].str
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    length = -(-(len(MAGIC) + 4 + len(text) + 1) // 64) * 64 - len(MAGIC) - 4
    return MAGIC + b"\x01\x00" + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"


def read_npz(path: Path) -> dict[str, Entry]:
    """Key -> Entry of a flat NPZ file.

    Everything is checked against the file's size before any array is made.  WeightsError: not a zip, no NPZ, truncated,
    compressed, pickled, an unknown dtype or an implausible shape.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        try:
            members = zipfile.ZipFile(file).infolist()
        except ZIP_ERRORS as error:
            raise damaged(path, f"it is no complete zip archive ({error})") from None
        found = {}
        for member in members:
            name = member.filename
            if not name.endswith(".npy"):
                raise damaged(path, f"it holds {name[:80]!r}, which is not an array")
            if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                raise damaged(path, "it is compressed or encrypted; write it with numpy.savez")
            if name[:-4] in found:
                raise damaged(path, f"array {name[:-4]!r} is stored twice")
            found[name[:-4]] = locate(path, file, member, size)
    return found


def locate(path: Path, file: io.BufferedReader, member: zipfile.ZipInfo, size: int) -> Entry:
    """Find one array in the archive: skip the zip and npy headers and check what they promise."""
    name = member.filename[:-4]
    start = member_offset(path, file, member)
    file.seek(start)
    lead = file.read(12)
    if lead[:6] != MAGIC or len(lead) < 12 or lead[6] not in (1, 2, 3):
        raise damaged(path, f"array {name!r} does not start like an npy file")
    width = 2 if lead[6] == 1 else 4
    length = int.from_bytes(lead[8 : 8 + width], "little")
    if length > MAX_NPY_HEADER:
        raise damaged(path, f"array {name!r} has a header of {length} bytes, which is too long")
    file.seek(start + 8 + width)
    dtype, shape = parse_header(path, name, file.read(length))
    entry = Entry(dtype, shape, path, start + 8 + width + length)
    if entry.offset + entry.nbytes > size or 8 + width + length + entry.nbytes != member.file_size:
        raise damaged(path, f"array {name!r} of shape {shape} does not fit into its place; the file is truncated")
    return entry


def member_offset(path: Path, file: io.BufferedReader, member: zipfile.ZipInfo) -> int:
    """Where the bytes of an archive member begin, behind its local header."""
    local = b""
    if 0 <= member.header_offset < path.stat().st_size:
        file.seek(member.header_offset)
        local = file.read(LOCAL_HEADER.size)
    if len(local) != LOCAL_HEADER.size or local[:4] != b"PK\x03\x04":
        raise damaged(path, f"{member.filename!r} has no zip header")
    *_, name_length, extra_length = LOCAL_HEADER.unpack(local)
    return member.header_offset + LOCAL_HEADER.size + name_length + extra_length


def parse_header(path: Path, name: str, raw: bytes) -> tuple[str, tuple[int, ...]]:
    """dtype and shape of an npy header, matched by a pattern: nothing in the file is evaluated."""
    if b"'|O'" in raw or b"'O'" in raw:
        raise WeightsError(f"{path}: array {name!r} is a pickled object, which is never read; convert the original")
    match = HEADER.fullmatch(raw.decode("latin-1"))
    if not match or match["descr"].lstrip("<|=") not in DESCRS:
        raise damaged(path, f"array {name!r} has an unknown header or dtype {raw[:60]!r}")
    shape = tuple(int(n) for n in match["shape"].replace(" ", "").split(",") if n)
    if match["fortran"] == "True" and len(shape) > 1:
        raise damaged(path, f"array {name!r} is in column order")
    if not plausible_shape(shape):
        raise damaged(path, f"array {name!r} has the implausible shape {shape}")
    return DESCRS[match["descr"].lstrip("<|=")], shape


def damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path}: not a usable NPZ file: {why}; convert the model again")
