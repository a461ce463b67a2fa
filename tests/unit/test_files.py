"""Files that are written: what is refused before the work, and that nothing half-written is left."""

import errno
import threading

import pytest

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.files import check_output, written_whole


def test_output(tmp_path):
    taken = tmp_path / "a.wav"
    taken.touch()
    with pytest.raises(OptionError, match="exists already.*--overwrite"):
        check_output(taken)
    assert check_output(taken, overwrite=True) == taken
    assert check_output(tmp_path / "new" / "b.FLAC").parent.is_dir()
    for wrong in ("a.xyz", "a", "new"):
        with pytest.raises(OptionError, match=r"format.*\.wav"):
            check_output(tmp_path / wrong)
    with pytest.raises(OptionError, match="cannot be made"):
        check_output(taken / "c.wav")


def test_other_formats(tmp_path):
    assert check_output(tmp_path / "a.NPY", extensions=(".npy",)) == tmp_path / "a.NPY"
    with pytest.raises(OptionError, match=r"a\.wav: unknown format '\.wav'; use \.npy, \.npz"):
        check_output(tmp_path / "a.wav", extensions=(".npy", ".npz"))


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), written_whole(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    with written_whole(path) as part:
        part.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(OSError, match="a.wav") as failed, written_whole(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failed.value.filename == str(path) and not list(tmp_path.iterdir())


def test_two_threads_write_beside_each_other(tmp_path):
    both = threading.Barrier(2, timeout=10)

    def write(name: str) -> None:
        with written_whole(tmp_path / name) as part:
            part.write_text(name)
            both.wait()

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a.txt", "b.txt")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / name).read_text() for name in ("a.txt", "b.txt")] == ["a.txt", "b.txt"]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OptionError, match="too long"):
        check_output(tmp_path / ("x" * 300 + ".wav"))
