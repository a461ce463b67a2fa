"""What a run tells about itself."""

import subprocess
import sys

import pytest

from stable_audio_mlx.events import peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system counts only the process itself")
def test_peak_memory_is_not_that_of_the_process_that_started_this_one():
    inner = (
        "import sys; sys.path.insert(0, 'src'); from stable_audio_mlx.events import peak_memory; print(peak_memory())"
    )
    outer = (
        "import subprocess, sys; held = bytearray(b'x') * 400_000_000; "
        f"print(subprocess.run([sys.executable, '-c', {inner!r}], capture_output=True, text=True).stdout)"
    )
    result = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, timeout=60)
    assert 1e6 < int(result.stdout) < 300e6, result.stderr


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory()
    held = b"x" * (before + 50_000_000)
    assert peak_memory() >= len(held)
