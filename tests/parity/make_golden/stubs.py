"""Source checkouts of large packages, importable with PyTorch alone: what is not needed is there in name only."""

import importlib.machinery
import importlib.util
import sys
import types
from unittest.mock import MagicMock

ABSENT = (
    *("PIL", "alias_free_torch", "audiotools", "auraloss", "dac", "einops_exts", "ema_pytorch", "gradio"),
    *("k_diffusion", "laion_clap", "local_attention", "matplotlib", "pedalboard", "prefigure", "pytorch_lightning"),
    *(
        "soundfile",
        "torchaudio",
        "torchdiffeq",
        "torchvision",
        "vector_quantize_pytorch",
        "wandb",
        "webdataset",
        "x_transformers",
    ),
)
ROOMS = ("models", "training", "training.losses", "inference", "interface")


class Stub(types.ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class Finder:
    def find_spec(self, name, path, target=None):
        absent = name.split(".")[0] in ABSENT
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


def install(*packages: str) -> None:
    """Make the packages importable without running their ``__init__``, which would import everything."""
    sys.meta_path.insert(0, Finder())
    for package in packages:
        [root] = importlib.util.find_spec(package).submodule_search_locations
        for name, path in [
            (package, root),
            *((f"{package}.{room}", f"{root}/{room.replace('.', '/')}") for room in ROOMS),
        ]:
            module = types.ModuleType(name)
            module.__path__ = [path]
            sys.modules[name] = module
