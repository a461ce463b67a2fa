"""What this computer has of what a generation needs, and what to do about what it lacks."""

import importlib
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import __version__, cpu, memory
from .errors import WeightsError
from .weights import hub

OK, WARNING, PROBLEM = "ok", "warning", "problem"
MLX = ((0, 32), (0, 33))  # from, below
LIBRARIES = ("numpy", "soundfile", "soxr", "tokenizers", "huggingface_hub", "tqdm")
GLIBC = (2, 35)  # of MLX's wheels
LITTLE_MEMORY, LITTLE_DISK = 2 << 30, 5 << 30


@dataclass(frozen=True)
class Finding:
    """``state`` is ok, warning (slow, or later trouble) or problem (this stops a generation)."""

    name: str
    state: str
    found: str
    advice: str = ""


def findings() -> Iterator[Finding]:
    """Everything that is looked at, from the system up to the models."""
    yield system()
    yield from mlx()
    yield from libraries()
    yield from models()
    yield cache()
    yield login()
    yield network()
    yield main_memory()
    yield disk()


def system() -> Finding:
    found = f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}"
    found += f", stable-audio-mlx {__version__}"
    if sys.platform == "darwin" and platform.machine() != "arm64":
        return Finding("system", PROBLEM, found, "MLX needs Apple silicon and a Python for it (arm64, not Rosetta)")
    if sys.platform == "linux" and (libc := glibc()) and libc < GLIBC:
        version = ".".join(map(str, libc))
        return Finding(
            "system", PROBLEM, f"{found}, glibc {version}", "MLX's wheels need glibc 2.35, as Ubuntu 22.04 has"
        )
    if sys.platform not in ("darwin", "linux"):
        return Finding("system", WARNING, found, "tried on macOS and Linux only")
    return Finding("system", OK, found)


def glibc() -> tuple[int, ...] | None:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")[:2]) if name == "glibc" else None


def mlx() -> Iterator[Finding]:
    """Version, device, and what the products of matrices are made with."""
    wheel = "mlx" if sys.platform == "darwin" else "mlx[cpu]"
    install = f"pip install '{wheel}>=0.32,<0.33'"
    try:
        import mlx.core as mx

        right = bool((mx.ones((2, 3)) @ mx.ones((3, 2)) == 3).all().item())
    except (ImportError, RuntimeError) as error:
        yield Finding("mlx", PROBLEM, f"cannot be used ({str(error).splitlines()[0]})", install)
        return
    device = f"{mx.device_info().get('device_name', 'unknown')} ({mx.default_device().type.name})"
    told = str(getattr(mx, "__version__", "0.0"))
    version = tuple(int(part) for part in told.split(".")[:2])
    state = OK if MLX[0] <= version < MLX[1] else WARNING
    yield Finding("mlx", state, told, "" if state == OK else f"made for 0.32: {install}")
    gpu = mx.default_device() != mx.cpu
    if not right:
        yield Finding("device", PROBLEM, f"{device}: a product came out wrong", "update the driver, or MLX")
    elif sys.platform == "darwin" and not gpu:
        yield Finding("device", WARNING, device, "MLX does not see the GPU; is this a virtual machine?")
    else:
        yield Finding("device", OK, device)
    if cpu.on_linux_cpu():
        yield from linux_cpu()


def linux_cpu() -> Iterator[Finding]:
    blas = cpu.setup()
    advice = "pip install scipy-openblas32; STABLE_AUDIO_MLX_BLAS must not be 0" if "which is slow" in blas else ""
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "all"
    yield Finding("blas", WARNING if advice else OK, f"{blas}, threads: {threads} of {os.cpu_count()}", advice)
    fast = cpu.fast_forms()
    advice = "" if fast else "unset STABLE_AUDIO_MLX_FAST_CPU"
    yield Finding("fast forms", OK if fast else WARNING, "on" if fast else "switched off", advice)
    fused = cpu.can_fuse()
    advice = "" if fused else "install g++: somewhat faster"
    yield Finding("compiler", OK if fused else WARNING, "g++" if fused else "no g++", advice)


def libraries() -> Iterator[Finding]:
    """What pip should have brought, and what only some commands want."""
    found, missing = [], []
    for name in LIBRARIES:
        try:
            module = importlib.import_module(name)
            found.append(f"{name} {getattr(module, '__version__', '')}".rstrip())
        except (ImportError, OSError) as error:  # a C library that is not there is an OSError
            missing.append(f"{name} ({str(error).splitlines()[0]})")
    if missing:
        names = " ".join(one.split()[0] for one in missing)
        yield Finding("libraries", PROBLEM, f"cannot be used: {', '.join(missing)}", f"pip install {names}")
    else:
        yield Finding("libraries", OK, ", ".join(found))
    if importlib.util.find_spec("matplotlib") is None:
        yield Finding("plots", OK, "no matplotlib; pictures of sounds need it: pip install matplotlib")


def models() -> Iterator[Finding]:
    best = hub.best_local_model()
    real = "stable-audio-mlx convert stable-audio-3-optimized/small-music gets a real one (1.8 GB, no account)"
    if best is None:
        homes = ", ".join(map(str, hub.model_homes()))
        yield Finding("models", PROBLEM, f"none in {homes}", real)
    elif wrong := unusable(best):
        yield Finding("models", PROBLEM, wrong, "or take another one: generate --model NAME")
    elif best.name == hub.EMBEDDED:
        yield Finding("models", OK, f"only the small embedded one, {best}", real)
    else:
        yield Finding("models", OK, f"{best} is taken unasked; stable-audio-mlx models lists all")
    home = Path(hub.default_output("x")).parent
    if not os.access(existing(home), os.W_OK):
        advice = "STABLE_AUDIO_MLX_HOME=DIR chooses another folder"
        yield Finding("model folder", WARNING, f"{home} cannot be written to", advice)


def unusable(folder: Path) -> str:
    """What is wrong with a converted model; nothing where MLX cannot be asked."""
    try:
        from .weights.catalog import look
    except (ImportError, RuntimeError):
        return ""
    return look(folder).get("problem", "").replace("\n", " ")


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def cache() -> Finding:
    """Where downloads go."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Finding("cache", PROBLEM, "huggingface_hub cannot be used", "pip install huggingface_hub")
    folder = Path(HF_HUB_CACHE)
    if not os.access(existing(folder), os.W_OK):
        return Finding("cache", WARNING, f"{folder} cannot be written to", "HF_HOME=DIR puts downloads elsewhere")
    free = shutil.disk_usage(existing(folder)).free
    state = OK if free > LITTLE_DISK else WARNING
    advice = "" if state == OK else "models take up to 10 GB: HF_HOME=DIR puts downloads on another disk"
    return Finding("cache", state, f"{folder}, {gigabytes(free)} free on its disk", advice)


def login() -> Finding:
    """Whether there is a token of Hugging Face, which gated models want; not what it is."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return Finding("login", WARNING, "unknown: huggingface_hub cannot be used")
    if get_token():
        return Finding("login", OK, "there is a token of Hugging Face")
    return Finding("login", OK, "no token of Hugging Face; only gated models want one: hf auth login")


def network() -> Finding:
    """Whether downloads are possible; all else works offline."""
    try:
        hub.require_network("", "")
    except WeightsError as error:
        reason = str(error).strip().removeprefix(", and ").splitlines()[0].rstrip(".")
        return Finding("network", WARNING, reason, "models that are here work without; others must be copied")
    return Finding("network", OK, f"{hub.hub_host()[0]} is reachable")


def main_memory() -> Finding:
    free = memory.available()
    found = f"{gigabytes(free)} of {gigabytes(memory.total())} free"
    if free and free < LITTLE_MEMORY:
        return Finding("memory", WARNING, found, "close other programs, or --low-memory and short sounds")
    return Finding("memory", OK, found)


def disk() -> Finding:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    found = f"{gigabytes(free)} free in {here}"
    if not os.access(here, os.W_OK):
        return Finding("folder", PROBLEM, f"{here} cannot be written to", "go to another folder, or --output DIR/")
    if free < 100 << 20:
        return Finding("folder", PROBLEM, found, "free some space: ten minutes of stereo take 212 MB")
    return Finding("folder", OK, found)


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
