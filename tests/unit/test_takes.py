"""Mappings to takes: every key does what its option does, every other one is an error with the nearest name."""

import json
import random
from dataclasses import replace

import pytest

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.options import GenerateOptions
from stable_audio_mlx.takes import (
    Take,
    kinds,
    merged,
    take_from_mapping,
    takes_from_mapping,
    together,
    values_of,
    with_sounds,
)


def test_fields_aliases_and_the_base():
    base = take_from_mapping({"steps": 4, "seed": 9, "name": "{seed}", "model": "m"})
    take = take_from_mapping({"text": "kick", "duration": 2, "CFG-Scale": 3, "apg": None}, base)
    assert take == Take(GenerateOptions("kick", seconds=2, cfg_scale=3, steps=4, seed=9), name="{seed}", model="m")


def test_every_option_of_json_is_a_key():
    left_out = {"noise", "step_noise", "return_latents", "batch_size"}
    assert set(GenerateOptions.__dataclass_fields__) - left_out == set(kinds()) & set(
        GenerateOptions.__dataclass_fields__
    )


def test_files_are_relative_to_the_folder(tmp_path):
    (tmp_path / "b:1.safetensors").touch()
    take = take_from_mapping(
        {
            "init_audio": "a.wav",
            "inpaint": [[1, 2]],
            "lora": ["a.safetensors:0.5", "b:1.safetensors", ["/c", 2]],
            "conditions": {"bpm": 120},
        },
        folder=tmp_path,
    )
    assert take.options.init_audio == (str(tmp_path / "a.wav"), 0) and take.options.inpaint == ((1, 2),)
    assert take.options.lora == (
        (str(tmp_path / "a.safetensors"), 0.5),
        (str(tmp_path / "b:1.safetensors"), 1.0),
        ("/c", 2),
    )
    read = with_sounds(take.options, lambda path: ([[0.0]], 44100))
    assert read.init_audio == ([[0.0]], 44100) and read.conditions == {"bpm": 120}
    assert with_sounds(read, lambda path: 1 / 0) == read


@pytest.mark.parametrize("value", ["a:0.5", ["a", 0.5], [["a", 0.5]], ["a:0.5"]])
def test_ways_to_write_one_lora(value):
    assert take_from_mapping({"lora": value}).options.lora == (("a", 0.5),)


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        ({"secnds": 1}, "secnds: unknown option, did you mean 'seconds'?"),
        ({"zzzz": 1}, "known: prompt"),
        ({"noise": 1}, "noise: unknown option"),
        ({"seconds": 1, "duration": 2}, "is given twice, as seconds too"),
        ({"seconds": "4"}, "must be a number above 0"),
        ({"prompt": ["a", "b"]}, "a take is one sound"),
        ({"prompt": 3}, "must be text"),
        ({"seed": [1, 2]}, "one take has one seed"),
        ({"variations": 1}, "one take has one seed"),
        ({"seed": "x"}, "seed: 'x'"),
        ({"init_audio": 3}, "must be an audio file"),
        ({"lora": 3}, "lora: 3"),
        ({"lora": [["a", "b"]]}, "must be (file, strength)"),
        ({"conditions": ["bpm"]}, "expected NAME=VALUE"),
        ({"conditions": 3}, "expected NAME=VALUE"),
        ({"model": 3}, "model: 3"),
        ({"name": "{slugs}"}, "did you mean {slug}?"),
        ({"inpaint": [[2, 1]], "init_audio": "a.wav"}, "0 <= start < end"),
        ({"cfg_interval": [1]}, "must be (low, high)"),
        ({"sigmas": json.loads("[" * 900 + "]" * 900)}, "lists in lists"),
    ],
)
def test_what_cannot_be_is_one_line(mapping, what):
    with pytest.raises(OptionError) as error:
        take_from_mapping(mapping)
    assert what in str(error.value) and "\n" not in str(error.value)


def seeds(mapping, base=None, given=(), variations=None, draw=None) -> list:
    return [t.options.seed for t in takes_from_mapping(mapping, base, "", given, variations, draw)]


def test_seeds_and_variations():
    assert seeds({}) == [None] and seeds({"seed": 3}) == [3] and seeds({"seed": [3, 5]}) == [3, 5]
    assert seeds({"seed": 3, "variations": 3}) == [3, 4, 5]
    assert seeds({}, given=[1, 2]) == [1, 2] and seeds({"seed": 7}, given=[1, 2]) == [7]
    assert seeds({"seed": 7}, variations=2) == [7, 8] and seeds({"seed": [7, 9]}, variations=3) == [7, 9]
    assert seeds({}, take_from_mapping({"seed": 4})) == [4]
    draw = random.Random(0).getrandbits
    first, second = seeds({"seed": [-1, -1]}, draw=lambda: draw(32))
    assert first != second and first >= 0
    third = seeds({"variations": 2}, draw=lambda: draw(32))
    assert third[1] == third[0] + 1


@pytest.mark.parametrize(
    ("mapping", "what"),
    [
        ({"seed": [1, 2], "variations": 2}, "but 2 seeds are given"),
        ({"variations": 0}, "from 1 to 100000"),
        ({"variations": True}, "from 1 to 100000"),
        ({"seed": 2**64 - 1, "variations": 2}, "2**64 - 1"),
        ({"seed": [1.5]}, "must be a whole number"),
    ],
)
def test_seeds_that_cannot_be(mapping, what):
    with pytest.raises(OptionError) as error:
        takes_from_mapping(mapping)
    assert what in str(error.value)


def test_takes_that_fit_together_are_one_run():
    a = take_from_mapping({"prompt": "a", "seed": 1, "steps": 4})
    b = take_from_mapping({"prompt": "b", "seed": 2}, a)
    others = [replace(a, model="m"), take_from_mapping({"steps": 5}, a), take_from_mapping({"seconds": 1}, a)]
    assert list(together([a, b, a], 2)) == [[0, 1], [2]]
    assert list(together([a, b, *others], 9)) == [[0, 1], [2], [3], [4]]
    run = merged([a, b])
    assert run.prompt == ["a", "b"] and run.seed == [1, 2] and run.steps == 4 and run.seconds is None
    assert merged([a]) == a.options


def test_values_of_names():
    values = values_of(take_from_mapping({"prompt": "Big Kick", "seed": 3, "steps": 4}), 2, model="tiny")
    assert (values["slug"], values["seed"], values["index"], values["steps"]) == ("big-kick", 3, 2, 4)
