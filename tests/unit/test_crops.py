"""Random pieces of sounds: a function of the place, never silent, at the model's rate and channels."""

import numpy as np
import pytest
import soundfile

from stable_audio_mlx.data.crops import Crops
from stable_audio_mlx.data.folder import find
from stable_audio_mlx.errors import AudioError

RATE, SAMPLES = 8000, 500


@pytest.fixture
def folder(tmp_path):
    """A long ramp, a short mono sound at another rate that is too loud, silence with one note in it."""
    soundfile.write(tmp_path / "long.wav", np.stack([np.linspace(0.1, 0.9, 4000)] * 2, axis=1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", 1.5 * np.sin(np.arange(800) / 3), 2 * RATE, subtype="FLOAT")
    quiet = np.zeros(40_000)
    quiet[-2000:] = 0.5
    soundfile.write(tmp_path / "quiet.wav", quiet, RATE, subtype="FLOAT")
    return tmp_path


def test_pieces_depend_on_their_place_and_the_seed_alone(folder):
    one, two = (Crops(find(folder), RATE, 2, SAMPLES) for _ in range(2))
    batch = one.batch(range(4, 8), seed=1)
    assert batch.shape == (4, SAMPLES, 2) and batch.dtype == np.float32
    np.testing.assert_array_equal(two.batch(range(6, 8), seed=1), batch[2:])
    assert not np.array_equal(one.batch(range(4, 8), seed=2), batch)
    assert one.fingerprint() == two.fingerprint()


def test_pieces_are_whole_heard_and_within_full_scale(folder):
    pieces = Crops(find(folder), RATE, 2, SAMPLES).batch(range(60), seed=0)
    peaks = np.abs(pieces).max(axis=(1, 2))
    assert peaks.min() > 1e-3 and peaks.max() == 1  # what was louder is clipped, as in the reference
    assert {np.sign(p[np.abs(p).argmax() // 2, 0]) for p in pieces} == {-1, 1}  # with both signs
    short = [p for p in pieces if not p[-50:].any()]
    assert short and all(p[:380].any() for p in short)  # 800 samples at twice the rate, then silence
    ramps = [np.abs(p[0, 0]) for p in pieces if (np.diff(np.abs(p[:, 0])) > 0).all()]
    assert np.ptp(ramps) > 0.3  # from everywhere


def test_sounds_that_cannot_be_read_are_told_and_silence_is_refused(folder, tmp_path):
    (folder / "broken.wav").write_bytes(b"RIFF")
    crops = Crops(find(folder), RATE, 1, SAMPLES)
    assert len(crops.sounds) == 3 and "broken.wav" in crops.problems[0]
    soundfile.write(folder / "broken.wav", np.zeros(4000), RATE)
    only = [item for item in find(folder) if item.name == "broken.wav"]
    with pytest.raises(AudioError, match="silent"):
        Crops(only, RATE, 1, SAMPLES).batch(range(2), seed=0)
    (folder / "broken.wav").write_bytes(b"")
    with pytest.raises(AudioError, match="none of 1 sounds can be read"):
        Crops(only, RATE, 1, SAMPLES)
