"""Names of sounds: whatever goes in, what comes out is a file name everywhere."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.takes.names import check_template, cut, fill, free_paths, safe, slug

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A/B: ÄÖ\\..  ☃ 120 BPM", "a-b-ao-120-bpm"),
        ("☃", "sound"),
        ("雨の音", "雨の音"),
        ("빗소리", "빗소리"),
        ("बारिश की आवाज़", "बारिश-की-आवाज"),
        ("", "sound"),
    ],
)
def test_slug(text, name):
    assert slug(text) == name


@given(st.text(max_size=300))
def test_every_name_is_safe_everywhere(text):
    for name in (fill("{slug}-{seed}", {"slug": slug(text), "seed": 2**64 - 1}), fill("{model}", {"model": text})):
        stem, dot, ending = name.rpartition(".")
        assert dot and ending == "wav" and stem
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name) and not RESERVED.fullmatch(stem)
        assert stem == stem.strip(". ") and len(name.encode("utf-8", "surrogatepass")) < 220


@pytest.mark.parametrize(
    ("part", "name"),
    [("CON", "CON_"), ("nul.x", "nul.x_"), ("a. .", "a"), (".hidden", "hidden"), ("console", "console"), ("..", "")],
)
def test_names_that_some_system_refuses(part, name):
    assert safe(part) == name


def test_cut_never_splits_a_letter():
    assert cut("ä" * 9, 5) == "ää" and cut("abc", 9) == "abc"


VALUES = {
    "slug": "kick",
    "seed": 7,
    "index": 3,
    "bpm": None,
    "steps": 8,
    "cfg_scale": 1.5,
    "loop": True,
    "model": "a/b",
}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{slug}-{seed}", "kick-7.wav"),
        ("{index:03}_{slug}.FLAC", "003_kick.FLAC"),
        ("{slug}-{bpm}-{seed}", "kick-7.wav"),
        ("{bpm}-{slug}", "kick.wav"),
        ("{slug}_{loop}", "kick_loop.wav"),
        ("{model}/{slug}", "a-b/kick.wav"),
        ("cfg {cfg_scale}", "cfg 1.5.wav"),
        ("{{x}}", "{x}.wav"),
        ("{bpm}", "sound.wav"),
    ],
)
def test_templates(template, name):
    check_template(template, VALUES)
    assert fill(template, VALUES) == name


@pytest.mark.parametrize(
    ("template", "what"),
    [
        ("{slugg}", "did you mean {slug}?"),
        ("{zzz}", "there are bpm"),
        ("{slug", "no template"),
        ("{}", "unknown field"),
        ("{seed.__class__}", "unknown field"),
        ("{seed!r}", "unknown field"),
        ("{slug:>999999999}", "is no format"),
        ("{slug:{seed}}", "is no format"),
        ("../{slug}", "out of the output folder"),
        ("/tmp/{slug}", "out of the output folder"),
        ("{slug}.xyz", "unknown format '.xyz'"),
        ("", "must be text"),
        (7, "must be text"),
    ],
)
def test_what_is_no_template(template, what):
    with pytest.raises(OptionError, match=re.escape(what)):
        check_template(template, VALUES)


def test_a_field_that_does_not_fit_its_format():
    with pytest.raises(OptionError, match="does not fit 'kick'"):
        fill("{slug:03d}", VALUES)


def test_no_name_is_given_out_twice(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "d.wav").mkdir()
    wanted = ["a.wav", "A.wav", "b.wav", "b.wav", "b-2.wav", "d.wav"]
    assert [p.name for p in free_paths(tmp_path, wanted)] == [
        "a-2.wav",
        "A-3.wav",
        "b.wav",
        "b-2.wav",
        "b-2-2.wav",
        "d-2.wav",
    ]
    assert [p.name for p in free_paths(tmp_path, ["a.wav", "a.wav", "d.wav"], overwrite=True)] == [
        "a.wav",
        "a-2.wav",
        "d-2.wav",
    ]
