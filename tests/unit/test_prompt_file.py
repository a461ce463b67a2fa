"""Prompt files in their three formats; what is wrong with a line is said with its number."""

import io
import sys
from types import SimpleNamespace

import pytest

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.takes.prompt_file import read_prompts


def lines(folder, name: str, text: str | bytes):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(line.where.rpartition(":")[2], line.error or line.mapping) for line in read_prompts(str(path))]


def test_text(tmp_path):
    found = lines(tmp_path, "a.txt", "\ufeff# drums\r\nkick drum \r\n\r\n  snare, dry\r\n")
    assert found == [("2", {"prompt": "kick drum"}), ("4", {"prompt": "snare, dry"})]


def test_json_lines(tmp_path):
    text = '{"prompt": "a", "seed": [1, 2]}\n\n"b"\n{"prompt": 1\n[1]\n{"a": 1, "a": 2}\n'
    first, second, *wrong = lines(tmp_path, "a.jsonl", text)
    assert first == ("1", {"prompt": "a", "seed": [1, 2]}) and second == ("3", {"prompt": "b"})
    told = [(n, str(error)) for n, error in wrong]
    assert [n for n, _ in told] == ["4", "5", "6"]
    for (_, text), what in zip(told, ("is no JSON", "expected an object", "given twice"), strict=True):
        assert what in text


def test_csv(tmp_path):
    text = (
        "prompt,duration,seed,Steps,lora,inpaint,init_audio,conditions,cfg_interval,loop,mono\n"
        '"rain, heavy",2.5,1 2,4,a:0.5;b,1-2;3:1-4:1,c.wav,bpm=3,0.1 0.9,crossfade,no\n'
        "\n"
        '"two\nlines",,,,,,,,,yes,\n'
        "x,ten,,,,,,,,,\n"
        "a,1,2,3,4,5,6,7,8,9,10,11\n"
        "b,,,,,,,,,,perhaps\n"
    )
    first, second, *wrong = lines(tmp_path, "a.csv", text)
    assert first == (
        "2",
        {
            "prompt": "rain, heavy",
            "duration": 2.5,
            "seed": [1, 2],
            "Steps": 4,
            "lora": ["a:0.5", "b"],
            "inpaint": ["1-2", "3:1-4:1"],
            "init_audio": "c.wav",
            "conditions": ["bpm=3"],
            "cfg_interval": [0.1, 0.9],
            "loop": "crossfade",
            "mono": False,
        },
    )
    assert second == ("4", {"prompt": "two\nlines", "loop": True})
    assert [(n, str(e)) for n, e in wrong] == [
        ("6", "duration: 'ten' cannot be read as a number"),
        ("7", "12 cells under 11 columns; a text with a comma needs quotes"),
        ("8", "mono: 'perhaps' cannot be read as yes or no"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.csv", "kick,1\n", "unknown option"),
        ("a.csv", "seed\n1\n", "the first line must name the columns"),
        ("a.csv", 'prompt\n"open\n', "a.csv:2: "),
        ("a.csv", "", "the first line must name the columns"),
        ("a.xlsx", "", "a prompt file is one of .txt, .csv, .jsonl"),
        ("a.txt", b"ok\n\xff\n", "a.txt:2: is not text in UTF-8"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, text, what):
    with pytest.raises(OptionError) as error:
        lines(tmp_path, name, text)
    assert what in str(error.value)


def test_no_such_file():
    with pytest.raises(OptionError, match="cannot be read"):
        list(read_prompts("no/such.txt"))


@pytest.mark.parametrize(("text", "first"), [("kick\n", {"prompt": "kick"}), ('{"prompt": "k"}\n', {"prompt": "k"})])
def test_standard_input(monkeypatch, text, first):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert [(line.where, line.mapping) for line in read_prompts("-")] == [("standard input:1", first)]
