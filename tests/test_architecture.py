"""Imports point one way (docs/architecture.md); models read no files; the command line touches no arrays."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "stable_audio_mlx"
# Low to high; rooms in one row do not know each other.
ROWS = [
    {"errors", "memory", "presets"},
    {"music"},
    {"prompts"},
    {"config", "options", "cpu", "files", "formats"},
    {"completion"},
    {"layers", "sampling", "audio", "events", "latents", "metrics"},
    {"models"},
    {"weights"},
    {"sound", "lora", "data", "plots", "takes", "diagnosis"},
    {"run"},
    {"pipeline", "codec"},
    {"training"},
    {"web"},
    {"cli"},
]
ROW = {room: i for i, row in enumerate(ROWS) for room in row}
FILES = sorted(SRC.rglob("*.py"))
FORBIDDEN = {
    "layers": {"json", "pathlib", "os", "numpy.lib"},
    "sampling": {"json", "pathlib", "os"},
    "models": {"pathlib", "os"},
    "cli": {"mlx"},
    "web": {"mlx"},
}


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imports(path: Path):
    """(module name, rooms of ours) of every import statement, also those inside functions."""
    package = ("stable_audio_mlx", *path.relative_to(SRC).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            if module == "stable_audio_mlx":
                yield from (f"{module}.{a.name}" for a in node.names)
            else:
                yield module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names)


def test_every_room_has_a_row():
    assert {room(path) for path in FILES} <= {*ROW, "__init__", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_one_way(path):
    here = room(path)
    for name in imports(path):
        head, *rest = name.split(".")
        if head == "stable_audio_mlx" and rest and here in ROW:
            there = rest[0]
            if there in ROW and there != here:
                assert ROW[there] < ROW[here], f"{path} imports {name}"
        forbidden = FORBIDDEN.get(here, set())
        assert not any(name == f or name.startswith(f + ".") for f in forbidden), f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_only_the_command_line_prints(path):
    if room(path) in {"cli", "__main__"}:
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [c.lineno for c in calls if getattr(c.func, "id", "") == "print"]
