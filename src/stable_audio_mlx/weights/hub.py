"""Names to folders: explicit path, ``model/``, the local Hugging Face cache, the network; failures say what to do.

huggingface_hub takes 0.2 s to import and retries for 23 s without a network: it is imported only when it is needed, and
the network is tried with one short connection first.
"""

import contextlib
import difflib
import errno
import json
import os
import socket
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from . import registry

MANIFEST, CONFIG = "manifest.json", "model_config.json"
EMBEDDED = "tiny"
# What a checkpoint repository may hold that we read.
FILES = (CONFIG, "model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
TEXT_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "spiece.model")
FOLDERS = {"text_encoder": TEXT_FILES, "tokenizer": TEXT_FILES, "t5gemma-b-b-ul2": TEXT_FILES}
CONNECT_SECONDS = 3.0


def model_homes() -> list[Path]:
    """The folders that hold converted models: those of ``own_homes``, and what the installed package brought along."""
    installed = Path(sys.prefix) / "share" / "stable-audio-mlx" / "model"
    return [*own_homes(), *([installed] if installed.is_dir() else [])]


def own_homes() -> list[Path]:
    """Where a user's models are: $STABLE_AUDIO_MLX_HOME, ./model, and ``model/`` of the project."""
    homes = [Path(home)] if (home := os.environ.get("STABLE_AUDIO_MLX_HOME")) else []
    project = Path(__file__).resolve().parents[3]
    homes.append(Path.cwd() / "model")
    if (project / "pyproject.toml").is_file():
        homes.append(project / "model")
    return list(dict.fromkeys(homes))


def default_output(name: str) -> Path:
    """Where ``convert.py`` puts a model of this name when it is not told."""
    return own_homes()[0 if os.environ.get("STABLE_AUDIO_MLX_HOME") else -1] / name


def local_model(name: str) -> Path | None:
    """The converted model of this name, if one of the model folders has it."""
    if not name or Path(name).name != name:
        return None
    return next((home / name for home in model_homes() if (home / name / MANIFEST).is_file()), None)


def local_models() -> dict[str, Path]:
    """Name -> folder of every converted model on this computer."""
    found: dict[str, Path] = {}
    for home in reversed(model_homes()):
        if home.is_dir():
            found |= {f.name: f for f in sorted(home.iterdir()) if (f / MANIFEST).is_file()}
    return found


def best_local_model() -> Path | None:
    """The converted model that ``generate.py`` takes unasked: the known models in order, then others, then ``tiny``."""
    found = local_models()
    text = [name for name in registry.KNOWN if not name.startswith("same-") and not name.endswith("-base")]
    others = [name for name in found if name not in registry.KNOWN and name != EMBEDDED]
    return next((found[name] for name in (*text, *others, EMBEDDED) if name in found), None)


def find_model(name: str | Path, download: bool = True) -> Path:
    """The folder (or weights file) of a model: converted or in PyTorch's layout.  WeightsError says what to do.

    A converted whole model stands for the autoencoder that it contains.
    """
    if (path := Path(name).expanduser()).exists():
        return path
    name = str(name)
    known = registry.find(name)
    names = (known.name, *known.inside) if known else (name.rpartition("/")[2],)
    if found := next(filter(None, map(local_model, names)), None):
        return found
    if known is None and not is_repository(name):
        raise unknown(name)
    return fetch_model(known.repo if known else name, known, download)


def find_source(name: str | Path, revision: str | None = None, download: bool = True) -> Path:
    """The checkpoint that is to be converted: as ``find_model``, but never a converted one by name."""
    if (path := Path(name).expanduser()).exists():
        return path
    known = registry.find(str(name))
    if known is None and not is_repository(str(name)):
        raise unknown(str(name))
    return fetch_model(known.repo if known else str(name), known, download, revision)


def is_repository(name: str) -> bool:
    owner, slash, repo = name.partition("/")
    return bool(slash and owner and repo) and "/" not in repo and not name.startswith((".", "~", "/"))


def unknown(name: str) -> WeightsError:
    if name.startswith((".", "~", "/")):
        return WeightsError(f"{name}: no such folder or file; look at its path, or give a known name or owner/name")
    close = difflib.get_close_matches(name, [*registry.KNOWN, *registry.ALIASES, EMBEDDED], 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(registry.KNOWN)}"
    return WeightsError(
        f"{name}: neither a folder nor a known model, {hint}\nA Hugging Face id has the form owner/name."
    )


def fetch_model(repo: str, known: registry.Known | None, download: bool, revision: str | None = None) -> Path:
    """The checkpoint folder (or file) of a repository: from the local cache, else from the network.

    A known autoencoder is taken out of a cached whole model that contains it, which saves its download.
    """
    revision = revision or (known.revision if known else None)
    patterns = [*FILES, *(f"{folder}/{file}" for folder, files in FOLDERS.items() for file in files)]
    patterns = list(known.files) if known and known.files else patterns
    for host in map(registry.find, known.inside if known else ()):
        found = host and complete(snapshot(host.repo, patterns, host.revision, local=True), host)
        if found:
            return found
    if cached := complete(snapshot(repo, patterns, revision, local=True), known):
        return cached
    what = f"{known.name if known else repo} is not on this computer"
    if not download:
        raise WeightsError(f"{what}.\n{how_to_get(repo, known)}")
    require_network(
        what, f"python convert.py FOLDER with a downloaded copy ({CONFIG} + model.safetensors) works offline."
    )
    found = complete(download_snapshot(repo, patterns, revision, known), known)
    if found is None:
        raise WeightsError(f"{repo}: has no {CONFIG} or weights, so it is no checkpoint in stable-audio-tools' format.")
    return found


def complete(folder: Path | None, known: registry.Known | None) -> Path | None:
    """The checkpoint in a downloaded folder, None while files are missing."""
    if folder is None:
        return None
    if known and known.files:
        return folder / known.files[0] if all((folder / file).is_file() for file in known.files) else None
    return folder if (folder / CONFIG).is_file() and any(folder.glob("model*.safetensors")) else None


def text_folder(item: dict[str, Any], beside: Path, download: bool) -> Path:
    """A folder with the public text encoder that a conditioning item names; WeightsError when it cannot be had."""
    repo = registry.text_repository(item)
    cached = snapshot(repo, list(TEXT_FILES), None, local=True)
    if cached and (cached / "model.safetensors").is_file() and (cached / "config.json").is_file():
        return cached
    what = f"the text encoder {repo} is not on this computer, nor in {beside / 'text_encoder'}"
    if not download:
        raise WeightsError(f"{what}.\nPut its config.json and model.safetensors there, tokenizer.json into tokenizer/.")
    require_network(what, "Put its config.json and model.safetensors there, tokenizer.json into tokenizer/ beside it.")
    return download_snapshot(repo, list(TEXT_FILES), None, None)


def snapshot(repo: str, patterns: list[str], revision: str | None, local: bool) -> Path | None:
    """``snapshot_download``; with ``local``, None for what is not in the cache."""
    hub_host()  # the import below would fail over a wrong address
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty() and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        disable_progress_bars()
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=local))
    except LocalEntryNotFoundError:
        if not local:
            raise
    except HFValidationError:
        raise WeightsError(f"{repo}: not a possible Hugging Face id; it has the form owner/name.") from None
    return None


def download_snapshot(repo: str, patterns: list[str], revision: str | None, known: registry.Known | None) -> Path:
    """Download, and turn each way this fails into an answer of its own."""
    from huggingface_hub import errors

    page = f"https://huggingface.co/{repo}"
    # OSError, and whatever the HTTP library of its version raises.
    broken: tuple[Any, ...] = errors.HfHubHTTPError.__bases__
    try:
        found = snapshot(repo, patterns, revision, local=False)
    except errors.GatedRepoError:
        raise WeightsError(
            f"{repo} is gated: accept its licence on {page}, then `hf auth login`.\n{ungated(known)}"
        ) from None
    except errors.RevisionNotFoundError:
        raise WeightsError(
            f"{repo}: has no revision {revision}.\nLook at {page}/commits/main for those it has."
        ) from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(
            f"{repo}: no such repository (renamed, removed, or private and you are not logged in).\n"
            f"Look at {page}; for a private one `hf auth login`; a local folder works too: convert.py FOLDER."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise WeightsError(
            f"{repo}: the download did not start, the network or {hub_host()[0]} is not reachable.\n{later()}"
        ) from None
    except json.JSONDecodeError:
        raise WeightsError(
            f"{repo}: {hub_host()[0]} did not answer as a hub does.\n"
            "Is there a login page of this network in between, or is HF_ENDPOINT wrong?"
        ) from None
    except broken as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise WeightsError(f"{repo}: the disk is full; HF_HOME=DIR puts downloads on another one.") from None
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise WeightsError(f"{repo}: the download failed ({reason}).\n{later()}") from None
    assert found is not None
    return found


def later() -> str:
    return "What has arrived is kept: run the command again to go on."


def how_to_get(repo: str, known: registry.Known | None) -> str:
    if known and known.gated:
        page = f"https://huggingface.co/{repo}"
        return (
            f"Accept its licence on {page}, `hf auth login`, then python convert.py {known.name}{without_gate(known)}"
        )
    return f"python convert.py {given_name(known) or repo} downloads and converts it."


def given_name(known: registry.Known | None) -> str:
    """What to type for a known model."""
    if known and known.files:
        return next(f"{registry.OPTIMIZED_NAME}/{name}" for name, one in registry.OPTIMIZED.items() if one == known)
    return known.name if known else ""


def without_gate(known: registry.Known | None) -> str:
    """The same model in the official half-precision files, as the end of a sentence."""
    same = next((one for one in registry.OPTIMIZED.values() if known and one.name == known.name), None)
    return f"; without an account, in half precision: python convert.py {given_name(same)}" if same else ""


def ungated(known: registry.Known | None) -> str:
    """The official ways around a gate: a folder of one's own, the same or another model without a gate."""
    if same := without_gate(known):
        return f"A local copy works without login: convert.py FOLDER{same}"
    other = "stable-audio-3-small-music-base needs no account" if known else "see its page for a copy without a gate"
    return f"A local copy works without login: convert.py FOLDER. Official and ungated: {other}."


def hub_host() -> tuple[str, int]:
    """Host and port that downloads go through: the hub's, or a proxy's where one is set."""
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        url = urllib.parse.urlsplit(address)
        if address := urllib.request.getproxies().get(url.scheme, ""):
            url = urllib.parse.urlsplit(address if "//" in address else f"//{address}")
        return url.hostname or "huggingface.co", url.port or (80 if url.scheme == "http" else 443)
    except ValueError as error:
        raise WeightsError(f"HF_ENDPOINT or the proxy is no address: {error}") from None


def require_network(what: str, instead: str) -> None:
    """WeightsError in a few seconds when there is no way to the hub."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise WeightsError(f"{what}, and HF_HUB_OFFLINE forbids the download.\n{instead}")
    host, port = hub_host()
    try:
        with contextlib.closing(socket.create_connection((host, port), CONNECT_SECONDS)):
            return
    except OSError:
        raise WeightsError(f"{what}, and {host} is not reachable (offline?).\n{instead}") from None
