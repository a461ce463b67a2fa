"""Latents and codes in files: ``.npy`` as other programs have them, ``.npz`` for codes and the model they belong to."""

import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import AudioError
from .files import CODES, LATENTS, check_output, written_whole

MAGIC = {LATENTS: b"\x93NUMPY", CODES: b"PK\x03\x04"}
# What NumPy and the standard library's zip reader raise on damaged input.
DAMAGED = (
    *(ValueError, KeyError, OSError, EOFError, OverflowError, MemoryError, SyntaxError, RuntimeError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Codes:
    """``codes`` (n, T), whole numbers; the ``model`` that made them and its ``AutoencoderModel.fingerprint``."""

    codes: np.ndarray
    model: str
    fingerprint: np.ndarray


def write_latents(path: str | Path, latents: Any, overwrite: bool = False) -> Path:
    """Write latents (latent_dim, T) as float32; ``numpy.load`` reads them."""
    path = check_output(path, overwrite, (LATENTS,))
    with written_whole(path) as part:
        np.save(part, np.asarray(latents, dtype=np.float32))
    return path


def write_codes(path: str | Path, codes: Any, model: str, fingerprint: np.ndarray, overwrite: bool = False) -> Path:
    """Write the arrays of ``Codes`` by their names; ``numpy.load`` reads them."""
    path = check_output(path, overwrite, (CODES,))
    with written_whole(path) as part:
        np.savez(part, codes=np.asarray(codes), model=np.array(model), fingerprint=fingerprint)
    return path


def read(path: str | Path) -> np.ndarray | Codes:
    """What a file holds: latents (latent_dim, T) of one clip as float32, or codes.  Nothing is ever unpickled.

    Raises AudioError for a missing, foreign or damaged file, a wrong dtype or a wrong number of dimensions.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: {'is a folder' if path.exists() else 'no such file'}; expected .npy or .npz")
    with open(path, "rb") as file:
        lead = file.read(6)
    try:
        if lead.startswith(MAGIC[LATENTS]):
            return latents_from(path, np.load(path, mmap_mode="r", allow_pickle=False))
        if lead.startswith(MAGIC[CODES]):
            return codes_from(path)
    except DAMAGED as error:
        if isinstance(error, AudioError):
            raise
        why = "a pickled object, which is never read" if "bject" in str(error) else f"damaged ({error})"
        raise AudioError(f"{path}: {why}; encode the sound again") from None
    raise AudioError(f"{path}: neither latents (.npy) nor codes (.npz)")


def latents_from(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        raise AudioError(f"{path}: holds {array.dtype}, but latents are floating-point numbers")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or not array.size:
        raise AudioError(f"{path}: expected latents of one clip (latent_dim, frames), got shape {array.shape}")
    return np.array(array, dtype=np.float32)


def codes_from(path: Path) -> Codes:
    with np.load(path, allow_pickle=False) as archive:
        missing = {"codes", "model", "fingerprint"} - set(archive.files)
        if missing:
            raise AudioError(f"{path}: no codes as encode writes them; without {', '.join(sorted(missing))}")
        codes, model, fingerprint = (archive[name] for name in ("codes", "model", "fingerprint"))
    if codes.dtype.kind not in "iu" or codes.ndim != 2 or not codes.size or fingerprint.dtype.kind != "f":
        raise AudioError(f"{path}: expected whole numbers (codebooks, frames), got {codes.dtype} {codes.shape}")
    return Codes(codes, str(model), fingerprint)
