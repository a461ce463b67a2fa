"""Makes stable-audio-tools importable without the training trees that its dependencies pull in.

``k_diffusion`` and ``dac`` import data loaders, vision and audio-tool packages in their ``__init__``; only a few of
their submodules matter here, so those packages are registered by path and their ``__init__`` never runs.
"""

import importlib
import importlib.util
import sys
import types


def register_by_path(name: str) -> None:
    """Put a module with the real search path of ``name`` in place, without executing its ``__init__``."""
    spec = importlib.util.find_spec(name)
    module = types.ModuleType(name)
    module.__path__ = list(spec.submodule_search_locations)
    module.__spec__ = spec
    sys.modules[name] = module


def placeholder(name: str, **attributes) -> None:
    module = types.ModuleType(name)
    module.__path__ = []
    module.__dict__.update(attributes)
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, module)


def install() -> None:
    if "k_diffusion" in sys.modules:
        return
    import torch

    vision = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    for name in vision:
        placeholder(name)
    register_by_path("k_diffusion")
    for leaf in ("utils", "sampling", "external"):
        setattr(sys.modules["k_diffusion"], leaf, importlib.import_module(f"k_diffusion.{leaf}"))
    for name in vision:  # transformers asks for torchvision's spec and must find nothing
        del sys.modules[name]
    placeholder("audiotools", AudioSignal=object, STFTParams=object)
    placeholder("audiotools.ml", BaseModel=torch.nn.Module)
    for name in ("dac", "dac.model", "dac.nn"):
        register_by_path(name)
