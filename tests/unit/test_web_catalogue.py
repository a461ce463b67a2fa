"""Several models on one computer: what the studio offers of each, and how it changes from one to another."""

import shutil

import pytest

from stable_audio_mlx.weights.convert import convert_folder

from ..parity import case as cases
from ..parity.project import write_checkpoint
from . import studio
from .studio import QUICK


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A studio beside whose embedded model there are one without text, an autoencoder alone and a damaged one."""
    folder = tmp_path_factory.mktemp("models")
    for name, golden in (("wordless", "clips_unconditional"), ("codec", "same_small")):
        convert_folder(write_checkpoint(cases.load(golden), folder / f"{name}-source"), folder / "models" / name)
    shutil.copytree(folder / "models" / "wordless", folder / "models" / "damaged")
    (folder / "models" / "damaged" / "dit.npz").write_bytes(b"PK")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STABLE_AUDIO_MLX_HOME", str(folder / "models"))
        with studio.running(folder / "library") as client:
            client.studio.queue.do(lambda: None).result(60)  # all have been looked at
            yield client


def test_each_model_says_what_it_can_do(client):
    models = {model["id"]: model for model in client.json("GET", "/v1/models")["data"]}
    assert "codec" not in models  # makes no sound from nothing
    assert next(iter(models)) == "tiny" and models["tiny"]["takes_text"] and models["tiny"]["guidable"]
    wordless = models["wordless"]
    assert not wordless["takes_text"] and not wordless["guidable"] and not wordless["default"]
    assert wordless["sampler"] == "v-ddim" and wordless["longest"] == pytest.approx(10)
    assert models["damaged"]["state"] == "broken" and "dit.npz" in models["damaged"]["reason"]


def test_models_change_from_job_to_job(client):
    first = client.take(seed=1)
    other = client.json("POST", "/v1/audio/generations", {"model": "wordless", "seconds": 2, "steps": 2, "seed": 1})
    assert other["data"][0]["model"] == "wordless" and other["data"][0]["sample_rate"] != first["sample_rate"]
    assert [m["id"] for m in client.json("GET", "/v1/models")["data"] if m["loaded"]] == ["wordless"]
    again = client.take(seed=1)
    assert client.ask("GET", again["url"])[2] == client.ask("GET", first["url"])[2]


def test_what_a_model_cannot_do_is_refused(client):
    status, message = client.refused("POST", "/v1/jobs", {"model": "wordless", "cfg_scale": 3})
    assert status == 400 and "guide" in message
    status, message = client.refused("POST", "/v1/audio/generations", {**QUICK, "model": "damaged"})
    assert status == 500 and "dit.npz" in message
    assert client.refused("POST", "/v1/jobs", {**QUICK, "model": "codec"})[0] == 404
