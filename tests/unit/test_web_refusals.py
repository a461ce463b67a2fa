"""What the studio's API is asked for and cannot do: one sentence each, whatever the value."""

import contextlib

import pytest

from stable_audio_mlx import takes
from stable_audio_mlx.completion import complete
from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.web import asked
from stable_audio_mlx.web.replies import Refused

from . import studio
from .studio import QUICK


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with studio.running(tmp_path_factory.mktemp("library")) as client:
        yield client


@pytest.fixture(scope="module")
def take(client):
    return client.take(seed=7)


BAD = [
    ({"prompt": "x", "colour": 1}, "colour: unknown option"),
    ({"prompt": "x", "stepz": 1}, "did you mean 'steps'"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": "x", "seconds": 999}, f"the limit is {studio.SAID:g} seconds"),
    ({"prompt": "x", "seconds": "long"}, "seconds"),
    ({"prompt": "x", "seconds": 1e9, "long": True}, "the most is 600"),
    ({"prompt": "x", "bars": 1}, "needs bpm"),
    ({"prompt": "x", "steps": 0}, "steps"),
    ({"prompt": "x", "seed": -5}, "seed"),
    ({"prompt": "x", "n": 17}, "the most is 16"),
    ({"prompt": "x", "n": 0}, "variations"),
    ({"prompt": "x", "n": 2, "variations": 3}, "twice"),
    ({"prompt": "x", "seed": list(range(20))}, "the most is 16"),
    ({"prompt": "x", "name": "../up"}, "names its files itself"),
    ({"prompt": "x", "output": "/tmp/x.wav"}, "names its files itself"),
    ({"prompt": "x", "init_audio": "/etc/passwd"}, "must be the id"),
    ({"prompt": "x", "init_audio": ["take-1"]}, "must be the id"),
    ({"prompt": "x", "init_audio": "take-../../x"}, "no such take"),
    ({"prompt": "x", "init_audio": "upload-000000000000"}, "no such upload"),
    ({"prompt": "x", "lora": "/tmp/a.safetensors"}, "lora: there is no"),
    ({"prompt": "x", "lora": [["../a", 1]]}, "lora: there is no"),
    ({"prompt": "x", "inpaint": [[0, 1]]}, "needs inpaint_audio"),
    ({"prompt": "x", "stream": "yes"}, "true or false"),
    ({"prompt": "x", "response_format": "exe"}, "url or b64_json"),
]


@pytest.mark.parametrize("body, words", BAD, ids=lambda v: str(v)[:50])
def test_wrong_options_are_refused_with_a_sentence(client, body, words):
    status, message = client.refused("POST", "/v1/audio/generations", body)
    assert status == 400 and words in message


def test_errors_that_only_the_model_finds(client):
    status, message = client.refused("POST", "/v1/audio/generations", {**QUICK, "sampler": "magic"})
    assert status == 400 and "use one of" in message
    assert client.refused("POST", "/v1/audio/generations", {**QUICK, "model": "gpt-9"})[0] == 404
    assert client.refused("POST", "/v1/audio/generations", {**QUICK, "model": "../tiny"})[0] == 404
    assert client.refused("POST", "/v1/audio/speech", {"input": ""})[0] == 400
    assert client.refused("POST", "/v1/audio/speech", {"input": "x", "response_format": "pcm"})[0] == 400
    assert client.refused("POST", "/v1/audio/speech", {"input": "x", "n": 2})[0] == 400


ODD = [True, 0, -1, 1.5, 10**30, 10**400, 1e308, "", "x", "\0", "9" * 5000, [], [[]], [1, 2], [["a", 1]], [[None] * 2]]
ODD += [{}, {"a": 1}, {"name": "x"}, [{"name": 1}], [None], "(a:1.4", "A || B", "(((("]


@pytest.mark.parametrize("key", [*takes.kinds(), "n", "model"])
def test_no_value_of_an_option_is_a_defect(client, take, key):
    """What is said of any value is a sentence, or it can be asked for."""
    for base in ({}, {"bpm": 120, "cfg_scale": 2, "init_audio": take["id"], "inpaint": [[0.1, 0.2]]}):
        for value in ODD:
            with contextlib.suppress(OptionError, Refused):
                for one in asked.read({"prompt": "x", **base, key: value}, client.studio).takes:
                    complete(one.options, client.studio.models.facts("tiny"))
