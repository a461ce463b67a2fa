"""Prompts: weights with nesting and escapes, what becomes negative, several prompts at once and one after the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stable_audio_mlx.errors import OptionError
from stable_audio_mlx.music import Tempo
from stable_audio_mlx.prompts import Phrase, join, parse


def only(text: str) -> Phrase:
    (part,) = parse(text).parts
    return part.phrase


@pytest.mark.parametrize(
    ("text", "words", "weights"),
    [
        ("warm (vinyl crackle:1.4) pad", "warm vinyl crackle pad", ((5, 18, 1.4),)),
        ("(a:0)", "a", ((0, 1, 0.0),)),
        ("((a:2) b:1.5)", "a b", ((0, 1, 3.0), (1, 3, 1.5))),
        ("(a (b) c:.5)", "a (b) c", ((0, 7, 0.5),)),
        ("((a:2) b)", "(a b)", ((1, 2, 2.0),)),
        (r"(a \(b\): c:2)", "a (b): c", ((0, 8, 2.0),)),
        (r"\(a:2\)", "(a:2)", ()),
        (r"a \ b\n", r"a \ b\n", ()),
    ],
)
def test_weights(text, words, weights):
    phrase = only(text)
    assert phrase.text == words
    assert [(a, b) for a, b, _ in phrase.weights] == [(a, b) for a, b, _ in weights]
    assert [w for *_, w in phrase.weights] == pytest.approx([w for *_, w in weights])


@pytest.mark.parametrize(
    "text", ["", "kick (808), hard", "a ) b (", "(at 4:30", ":2)", "(a: b)", "Format: Solo | Mood: x"]
)
def test_without_a_weight_a_prompt_is_left_as_it_is(text):
    assert only(text) == Phrase(text) and not parse(text).negative.text


@given(st.text(alphabet="ab ():.2\\", max_size=20))
def test_any_brackets_are_read_or_refused(text):
    try:
        phrase = only(text)
    except OptionError as error:
        assert "beyond" in str(error)
        return
    if "\\" not in text and not phrase.weights and not parse(text).negative.text and ":2" not in text:
        assert phrase.text == text
    for start, end, _ in phrase.weights:
        assert 0 <= start < end <= len(phrase.text)


def test_a_weight_of_a_token_is_that_of_its_last_letter():
    phrase = only("warm (pad:2), on")
    assert [phrase.weight_of(*span) for span in ((0, 4), (4, 8), (3, 6), (8, 9), (9, 12))] == [1, 2, 2, 1, 1]


def test_negative_weights_go_to_the_negative_prompt():
    prompt = parse("piano, (reverb:-1), (hiss:-0.5)")
    assert prompt.parts[0].phrase == Phrase("piano")
    assert prompt.negative == Phrase("reverb, hiss", ((8, 12, 0.5),))
    assert parse("(a (b:-2) c:2)").negative == Phrase("b", ((0, 1, 4.0),))
    assert join([Phrase("a"), Phrase(""), Phrase("b", ((0, 1, 2.0),))]) == Phrase("a, b", ((3, 4, 2.0),))


def test_prompts_at_once():
    prompt = parse("rain || thunder:0.5")
    assert [p.text for p in prompt.phrases] == ["rain", "thunder"]
    assert prompt.shares([0, 9]) == [pytest.approx([2 / 3] * 2), pytest.approx([1 / 3] * 2)]
    assert len(parse("rain || rain").phrases) == 1


def test_prompts_one_after_the_other():
    prompt = parse("rain || thunder @8 || rain @12-16")
    assert [p.text for p in prompt.phrases] == ["rain", "thunder"]
    rain, thunder = prompt.shares([0, 7.9, 8, 12, 13, 16, 99])
    assert rain == pytest.approx([1, 1, 0, 0, 0.25, 1, 1]) and thunder == pytest.approx([0, 0, 1, 1, 0.75, 0, 0])
    assert parse("a || b @2:1", Tempo(120)).parts[1].takes_over == (2.0, 2.0)
    assert parse("a || b @1:30-2:00").parts[1].takes_over == (90.0, 120.0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("(a:30)", "beyond"),
        ("((a:5):5)", "beyond"),
        ("|| a", "nothing stands before"),
        ("a || ", "nothing stands behind"),
        ("a || b:0", "above 0"),
        ("a || b:-1", "above 0"),
        ("a:2 || b @4", "mixes weights with times"),
        ("a @2 || b @4", "first prompt begins"),
        ("a || b @4 || c", "given and rise"),
        ("a || b @4 || c @3", "given and rise"),
        ("a || b @0", "behind the beginning"),
        ("a || b @4-2", "from sooner to later"),
    ],
)
def test_what_is_refused(text, what):
    with pytest.raises(OptionError, match=what):
        parse(text)
