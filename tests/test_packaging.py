"""What pip installs is said twice, in requirements files and in pyproject.toml: it is the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def lines(name: str) -> set[str]:
    text = (ROOT / name).read_text().splitlines()
    return {line for line in text if line and not line.startswith(("#", "-r"))}


def listed(key: str) -> set[str]:
    """The strings of a list in pyproject.toml; Python 3.10 has no reader of it."""
    found = re.search(rf"^{key} = \[(.+)\]$", PYPROJECT, re.M) or re.search(
        rf"^{key} = \[\n(.+?)^\]$", PYPROJECT, re.M | re.S
    )
    return {a or b for a, b in re.findall(r"'([^']+)'|\"([^\"]+)\"", found[1])}


@pytest.mark.parametrize("name, key", [("requirements.txt", "dependencies"), ("requirements-dev.txt", "dev")])
def test_requirements_are_those_of_the_package(name, key):
    assert lines(name) == listed(key)


def test_cuda_only_changes_mlx():
    plain = {line for line in listed("dependencies") if ";" not in line}
    others = {line for line in lines("requirements-cuda.txt") if not line.startswith("mlx[")}
    assert others == plain
