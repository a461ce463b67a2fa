"""The Linux CPU as a real platform: a fast BLAS for MLX and the choice between MLX's own ops and CPU formulations.

MLX's CPU wheel links the reference BLAS, thirty times slower than the processor.  It calls three BLAS functions only,
through three pointers of ``libmlx.so`` that stay writable; ``setup`` points them at scipy-openblas32 from PyPI, whose
functions have the same C signatures, and checks the products.  Nothing on disk changes, no other library sees it, and
whatever does not look as expected leaves MLX as it was.  ``STABLE_AUDIO_MLX_BLAS=0`` switches it off;
``STABLE_AUDIO_MLX_FAST_CPU=0`` switches the formulations off.
"""

import ctypes
import importlib.util
import mmap
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

FUNCTIONS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
FAST_LIBRARIES = ("openblas", "mkl", "blis", "armpl", "accelerate", "nvpl")
# Relocation types that hold a function pointer (GLOB_DAT, JUMP_SLOT), from the ELF supplements of the two processors.
POINTER_KINDS = {"x86_64": (6, 7), "aarch64": (1025, 1026)}
CACHE_LIMIT = 1 << 28  # more makes nothing faster: pages that were never used are slower than those just freed
GRAPH_WIDTH = 256  # of several pieces of a convolution side by side, about 30 operations each at their widest

_SECTION, _SYMBOL, _RELOCATION = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ"), struct.Struct("<QQq")
_DYNSYM, _RELA = 11, 4


_openblas: ctypes.CDLL | None = None  # where MLX uses it


class _Unsuitable(Exception):
    """Why MLX keeps the BLAS it came with."""


@cache
def on_linux_cpu() -> bool:
    """True where MLX computes on a Linux CPU."""
    import mlx.core as mx

    return sys.platform == "linux" and mx.default_device() == mx.cpu


@cache
def fast_forms() -> bool:
    """True where the CPU formulations of ``layers`` are used: a Linux CPU, ``STABLE_AUDIO_MLX_FAST_CPU`` not 0."""
    return on_linux_cpu() and os.environ.get("STABLE_AUDIO_MLX_FAST_CPU") != "0"


@cache
def can_fuse() -> bool:
    """Whether ``mx.compile`` makes kernels here: on a GPU, on the CPU with a C++ compiler."""
    import mlx.core as mx

    return mx.default_device() != mx.cpu or shutil.which("g++") is not None


@cache
def setup() -> str:
    """Prepare MLX for heavy work, once per process, and say in one line which BLAS it uses.

    Called by the pipeline, the codec and training before the first computation; does nothing but on a Linux CPU.
    Never raises: a platform it does not know keeps MLX's own BLAS and the line says why.
    """
    if not on_linux_cpu():
        return "MLX's own kernels (not a Linux CPU)"
    import mlx.core as mx

    # The CPU allocator keeps 32 MB by default, so every larger temporary is faulted in page by page, again and again.
    mx.set_cache_limit(CACHE_LIMIT)
    # MLX hands out work level by level of its graph while a level is narrow.  A wide one it finishes branch by branch,
    # and the core for the next branch waits.
    os.environ.setdefault("MLX_BFS_MAX_WIDTH", str(GRAPH_WIDTH))
    # One prompt is not worth a thread pool, and its warning about forks would be the user's first line.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if os.environ.get("STABLE_AUDIO_MLX_BLAS") == "0":
        return "MLX's own BLAS, which is slow (STABLE_AUDIO_MLX_BLAS is 0)"
    try:
        return _use_openblas()
    except (_Unsuitable, ImportError, OSError, AttributeError, LookupError, ValueError, struct.error) as error:
        return f"MLX's own BLAS, which is slow ({type(error).__name__.lstrip('_')}: {error})"


@cache
def blas_threads() -> int:
    """Threads that a product of MLX takes here as far as we know: those of the BLAS that ``setup`` gave it, else 1."""
    setup()
    return 1 if _openblas is None else max(1, _openblas.scipy_openblas_get_num_threads())


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within the block, products take one thread each."""
    threads = blas_threads()
    if _openblas is not None:
        _openblas.scipy_openblas_set_num_threads(1)
    try:
        yield
    finally:
        if _openblas is not None:
            _openblas.scipy_openblas_set_num_threads(threads)


def _use_openblas() -> str:
    """Re-point MLX's BLAS pointers at scipy-openblas32; restore them if a product comes out wrong."""
    global _openblas
    base, path = _loaded_library("libmlx.so")
    slots = _pointer_slots(base, path)
    current = {name: _pointer(address).value for name, address in slots.items()}
    library = os.path.basename(_mapping(current["cblas_sgemm"] or 0)[1])
    if any(name in library for name in FAST_LIBRARIES):
        return f"{library} (as MLX found it)"
    for address in slots.values():
        if not _mapping(address)[0].startswith("rw"):
            raise _Unsuitable("MLX's function table is read-only")
    openblas = _load_openblas()
    targets = {name: ctypes.cast(openblas[f"scipy_{name}"], ctypes.c_void_p).value or 0 for name in slots}
    for name, address in slots.items():
        _pointer(address).value = targets[name]
    wrong = _wrong_product()
    if wrong:
        for name, address in slots.items():
            _pointer(address).value = current[name]
        raise _Unsuitable(f"the {wrong} product did not agree with NumPy's")
    _openblas = openblas
    return _description(openblas)


def _load_openblas() -> ctypes.CDLL:
    """The library inside scipy-openblas32, for this process's eyes only (importing the package would publish it).

    ``OPENBLAS_CORETYPE`` speaks to every OpenBLAS of the process, usually to hold NumPy to an older kernel; MLX's half
    of the speed would go with it.  Ours follows the processor, or ``STABLE_AUDIO_MLX_CORETYPE``.
    """
    package = importlib.util.find_spec("scipy_openblas32")
    if package is None or not package.submodule_search_locations:
        raise _Unsuitable("scipy-openblas32 is not installed")
    libraries = sorted(Path(package.submodule_search_locations[0], "lib").glob("libscipy_openblas*"))
    general = os.environ.pop("OPENBLAS_CORETYPE", None)
    try:
        if own := os.environ.get("STABLE_AUDIO_MLX_CORETYPE"):
            os.environ["OPENBLAS_CORETYPE"] = own
        return ctypes.CDLL(str(libraries[0]))
    finally:
        os.environ.pop("OPENBLAS_CORETYPE", None)
        if general is not None:
            os.environ["OPENBLAS_CORETYPE"] = general


def _description(openblas: ctypes.CDLL) -> str:
    """Version and kernels of the library."""
    texts = []
    for function in (openblas.scipy_openblas_get_config, openblas.scipy_openblas_get_corename):
        function.restype = ctypes.c_char_p
        texts.append(function().decode())
    return f"{' '.join(texts[0].split()[:2])} from scipy-openblas32 ({texts[1]} kernels)"


def _pointer(address: int) -> ctypes.c_uint64:
    return ctypes.c_uint64.from_address(address)


def _maps() -> list[tuple[int, int, str, int, str]]:
    """The process's memory: (start, end, permissions, offset in the file, file) of each mapping."""
    rows = []
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            span, permissions, offset, _, _, *name = line.rstrip("\n").split(maxsplit=5)
            start, end = (int(part, 16) for part in span.split("-"))
            rows.append((start, end, permissions, int(offset, 16), name[0] if name else ""))
    return rows


def _mapping(address: int) -> tuple[str, str]:
    """Permissions and file of the mapping that holds ``address``."""
    for start, end, permissions, _, name in _maps():
        if start <= address < end:
            return permissions, name
    raise _Unsuitable("a function of MLX lies outside the memory map")


def _loaded_library(name: str) -> tuple[int, str]:
    """Load address and path of a library of this process."""
    for start, _, _, offset, path in _maps():
        if offset == 0 and os.path.basename(path) == name:
            return start, path
    raise _Unsuitable(f"{name} is not loaded")


def _pointer_slots(base: int, path: str) -> dict[str, int]:
    """Where the library loaded at ``base`` keeps its pointers to the BLAS functions: name -> address."""
    kinds = POINTER_KINDS.get(os.uname().machine)
    if kinds is None:
        raise _Unsuitable(f"processor {os.uname().machine} is not known")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as elf:
        if elf[:6] != b"\x7fELF\x02\x01":
            raise _Unsuitable(f"{path} is not a 64-bit little-endian library")
        table, (size, count) = struct.unpack_from("<Q", elf, 0x28)[0], struct.unpack_from("<HH", elf, 0x3A)
        sections = [_SECTION.unpack_from(elf, table + i * size) for i in range(count)]
        names = _blas_symbols(elf, sections)
        slots = {}
        for _, kind, _, _, start, length, *_ in sections:
            if kind != _RELA:
                continue
            for where, info, _ in _RELOCATION.iter_unpack(elf[start : start + length]):
                if info & 0xFFFFFFFF in kinds and info >> 32 in names:
                    slots[names[info >> 32]] = base + where
    if set(slots) != set(FUNCTIONS):
        raise _Unsuitable("MLX does not call the BLAS functions that were expected")
    return slots


def _blas_symbols(elf: mmap.mmap, sections: list[tuple]) -> dict[int, str]:
    """Index of each BLAS function in the dynamic symbol table."""
    _, _, _, _, start, length, strings, *_ = next(section for section in sections if section[1] == _DYNSYM)
    text = sections[strings][4]
    found = {}
    for index, (name, *_) in enumerate(_SYMBOL.iter_unpack(elf[start : start + length])):
        end = elf.find(b"\0", text + name)
        symbol = elf[text + name : end].decode("ascii", "replace") if end - text - name < 16 else ""
        if symbol in FUNCTIONS:
            found[index] = symbol
    return found


def _wrong_product() -> str | None:
    """The element type whose product by MLX differs from NumPy's, if any: plain, transposed and odd shapes."""
    import mlx.core as mx
    import numpy as np

    ramp = np.sin(np.arange(65 * 33, dtype=np.float64)).reshape(65, 33)
    for dtype in (np.float32, np.float64, np.complex64):
        a: np.ndarray = ramp.astype(dtype)
        with mx.stream(mx.cpu):
            b = mx.array(a.tolist(), dtype=getattr(mx, a.dtype.name))
            products = [np.array(b @ b.T), np.array(b.T @ b), np.array(b[:1] @ b.T)]
        for product, expected in zip(products, (a @ a.T, a.T @ a, a[:1] @ a.T), strict=True):
            if not np.allclose(product, expected, rtol=1e-4, atol=1e-4):
                return a.dtype.name
    return None
