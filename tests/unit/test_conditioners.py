"""Conditioners: numbers, choices and words as tensors, joined as the transformer reads them."""

import math
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stable_audio_mlx.errors import ConfigError, OptionError
from stable_audio_mlx.models.conditioners import Conditioner, assemble, checkpoint_sizes, inpaint_conditions
from stable_audio_mlx.models.text_conditioners import EncodedText, Tokens
from stable_audio_mlx.models.value_conditioners import Condition
from stable_audio_mlx.prompts import Phrase

D = 6


class Letters:
    """A text source that says what it was asked: embedding = position and letter, as wide as wished."""

    def __init__(self, width: int = D):
        self.width = width

    def encode(self, prompts, max_length):
        tokens = self.tokenize(prompts, max_length)
        place = mx.arange(1, self.width + 1) * tokens.ids[..., None]
        return EncodedText(mx.where(tokens.mask[..., None], place, 0).astype(mx.float32), tokens)

    def tokenize(self, prompts, max_length, special_tokens=()):
        rows = [[ord(c) - 96 for c in p[:max_length]] for p in prompts]
        ids = mx.array([r + [0] * (max_length - len(r)) for r in rows])
        spans = [[(i, i + 1) for i in range(min(len(p), max_length))] for p in prompts]
        return Tokens(ids, ids > 0, [p[max_length:] for p in prompts], spans)


def make(*items, sizes=None, **section) -> Conditioner:
    configs = [{"id": id, "type": type, "config": config} for id, type, config in items]
    return Conditioner.from_section({"cond_dim": D, "configs": configs, **section}, "model.conditioning", sizes)


def shapes(conditioner: Conditioner) -> dict:
    return {key: value.shape for key, value in dict(tree_flatten(conditioner.parameters())).items()}


def number(conditioner: Conditioner, value) -> np.ndarray:
    return np.array(conditioner([{"n": value}], {})["n"].tokens[0, 0])


def weights(conditioner: Conditioner, prefix: str) -> list[np.ndarray]:
    """Tensors below a prefix in the order of their names, float64."""
    found = dict(tree_flatten(conditioner.parameters()))
    return [np.array(found[k], np.float64) for k in sorted(found) if k.startswith(prefix)]


def test_number_is_normalised_number_then_sine_then_cosine():
    c = make(("n", "number", {"min_val": -3, "max_val": 512}))
    assert shapes(c) == {
        "conditioners.n.embedder.embedding.0.weights": (128,),
        "conditioners.n.embedder.embedding.1.weight": (D, 257),
        "conditioners.n.embedder.embedding.1.bias": (D,),
    }
    frequencies, bias, weight = weights(c, "conditioners.n.")
    u = (17.25 + 3) / 515
    angle = 2 * math.pi * u * frequencies
    assert np.allclose(number(c, 17.25), weight @ [u, *np.sin(angle), *np.cos(angle)] + bias, atol=1e-5)


def test_expo_number_is_cosine_then_sine_of_fixed_frequencies():
    c = make(("n", "number", {"max_val": 384, "fourier_features_type": "expo"}))
    bias, weight = weights(c, "conditioners.n.embedder.embedding.1.")
    angle = 2 * math.pi * (30 / 384) * np.exp(np.linspace(math.log(0.5), math.log(10000), 128))
    assert np.allclose(number(c, 30), weight @ [*np.cos(angle), *np.sin(angle)] + bias, atol=2e-3)


@pytest.mark.parametrize("kind", ["learned", "expo"])
def test_numbers_out_of_range_are_clamped_and_lists_of_one_unwrapped(kind):
    c = make(("n", "number", {"min_val": 0, "max_val": 256, "fourier_features_type": kind}))
    assert (number(c, 300) == number(c, 256)).all()
    assert (number(c, -1) == number(c, [0])).all()
    assert (number(c, 10) != number(c, 11)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "soon", None, [1, 2]])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(OptionError, match="number"):
        make(("n", "number", {}))([{"n": value}], {})


def test_int_is_a_row_of_its_table():
    c = make(("i", "int", {"max_val": 40}))
    (table,) = weights(c, "conditioners.i.int_embedder.weight")
    assert table.shape == (41, D)
    out = np.array(c([{"i": v} for v in (7, 99, -2)], {})["i"].tokens)
    assert np.allclose(out[:, 0], table[[7, 40, 0]])
    with pytest.raises(OptionError, match="whole number"):
        c([{"i": 1.5}], {})


def test_int_table_is_not_shifted_by_its_minimum():
    c = make(("i", "int", {"min_val": 10, "max_val": 15}))
    with pytest.raises(OptionError, match="beyond the model's table of 6 rows"):
        c([{"i": 12}], {})


def test_list_has_a_row_for_anything_else():
    c = make(("genre", "list", {"options": ["rock", "jazz"], "output_dim": 4}))
    (table,) = weights(c, "conditioners.genre.embedder.weight")
    assert table.shape == (3, 4)
    out = np.array(c([{"genre": v} for v in ("jazz", "polka", "rock")], {})["genre"].tokens)
    assert np.allclose(out[:, 0], table[[2, 0, 1]])


def test_t5_projects_only_where_widths_differ():
    assert not shapes(make(("prompt", "t5", {"t5_model_name": "our-own"})))
    assert shapes(make(("prompt", "t5", {})))["conditioners.prompt.proj_out.weight"] == (D, 768)
    assert shapes(make(("prompt", "t5", {}), sizes={"prompt": 9}))["conditioners.prompt.proj_out.weight"] == (D, 9)
    same = make(("prompt", "t5", {"t5_model_name": "our-own", "project_out": True}))
    assert shapes(same)["conditioners.prompt.proj_out.weight"] == (D, D)


def test_t5_padding_is_zero_after_the_projection():
    c = make(("prompt", "t5", {"max_length": 5}), sizes={"prompt": 9})
    bias, weight = weights(c, "conditioners.prompt.")
    source = Letters(9)
    out = c([{"prompt": "ab"}, {"prompt": "abcdefg"}], {"prompt": source})["prompt"]
    expected = np.array(source.encode(["ab", "abcdefg"], 5).embeddings, np.float64) @ weight.T + bias
    expected[0, 2:] = 0
    assert np.allclose(np.array(out.tokens), expected, atol=1e-4)
    assert np.array(out.mask).tolist() == [[True, True, False, False, False], [True] * 5]
    assert out.unread == ["", "fg"]


def test_t5gemma_pads_with_a_learned_vector_and_a_negative_prompt_with_zeros():
    c = make(("prompt", "t5gemma", {"max_length": 4, "padding_mode": "learned", "repo_id": "someone/model"}))
    assert shapes(c) == {"conditioners.prompt.padding_embedding": (D,)}
    (padding,) = weights(c, "conditioners.prompt.padding_embedding")
    out = c([{"prompt": "ab"}, {"prompt": ""}], {"prompt": Letters()})
    tokens = np.array(out["prompt"].tokens)
    assert np.allclose(tokens[0, 2:], padding) and np.allclose(tokens[1], padding)
    negative = np.array(assemble(ids(cross_ids=("prompt",)), out, 8, negative=True).cross)
    assert (negative[0, :2] == tokens[0, :2]).all() and not negative[0, 2:].any() and not negative[1].any()


def test_lut_looks_up_tokens_and_adds_positions_everywhere():
    item = (
        "words",
        "lut",
        {"tokenizer_name": "letters", "max_length": 4, "use_abs_pos_emb": True, "project_out": True},
    )
    c = make(item, sizes={"words": 30})
    positions, bias, projection, table = weights(c, "conditioners.words.")
    assert table.shape == (30, D) and positions.shape == (4, D)
    out = np.array(c([{"words": "bad"}], {"words": Letters()})["words"].tokens[0])
    expected = positions / math.sqrt(D)
    expected[:3] += table[[2, 1, 4]] @ projection.T + bias
    assert np.allclose(out, expected, atol=1e-5)


def test_lut_refuses_a_tokenizer_with_more_tokens_than_the_table():
    c = make(("words", "lut", {"tokenizer_name": "letters"}), sizes={"words": 3})
    with pytest.raises(ConfigError, match="beyond the model's table of 3"):
        c([{"words": "z"}], {"words": Letters()})


def test_sizes_are_read_from_a_checkpoint():
    keys = {
        "conditioner.conditioners.a.proj_out.weight": (6, 9),
        "conditioners.b.proj_out.weight": (6, 6),
        "conditioners.b.token_embedder.weight": (33, 6),
        "conditioners.c.embedder.embedding.1.weight": (6, 257),
    }
    assert checkpoint_sizes(keys) == {"a": 9, "b": 33}


def test_missing_values_are_read_under_their_default_key_or_named():
    c = make(("n", "number", {}), ("m", "number", {}), default_keys={"m": "n"})
    out = c([{"n": 0.5}, {"n": 0.1, "m": 0.9}], {})
    assert np.allclose(np.array(out["m"].tokens), np.array(c([{"n": 0, "m": v} for v in (0.5, 0.9)], {})["m"].tokens))
    with pytest.raises(OptionError, match="needs 'n', given is 'nn'"):
        make(("n", "number", {}))([{"nn": 1}], {})


def ids(**given) -> SimpleNamespace:
    kinds = ("cross_ids", "global_ids", "local_ids", "input_concat_ids", "prepend_ids")
    return SimpleNamespace(**dict.fromkeys(kinds, ()) | given)


def tokens(length: int, width: int, seed: int) -> Condition:
    mx.random.seed(seed)
    return Condition(mx.random.normal((2, length, width)), mx.ones((2, length), mx.bool_))


def test_assembly_follows_the_order_of_the_ids():
    a, b, c, d = tokens(3, D, 0), tokens(1, D, 1), tokens(1, 4, 2), tokens(3, 2, 3)
    model = ids(
        cross_ids=("b", "a"), global_ids=("c", "b"), prepend_ids=("a",), local_ids=("d", "c"), input_concat_ids=("d",)
    )
    out = assemble(model, {"a": a, "b": b, "c": c, "d": d}, length=7)
    assert (out.cross == mx.concatenate([b.tokens, a.tokens], axis=1)).all() and out.cross_mask.shape == (2, 4)
    assert (out.global_cond == mx.concatenate([c.tokens, b.tokens], axis=2)[:, 0]).all()
    assert (out.prepend == a.tokens).all()
    nearest = np.array(d.tokens)[:, [0, 0, 0, 1, 1, 2, 2]]
    assert (np.array(out.input_concat) == nearest).all()
    assert (np.array(out.local) == np.concatenate([nearest, np.repeat(c.tokens, 7, axis=1)], axis=2)).all()


def test_unconditional_branch_is_zero_tokens_with_the_same_global():
    a, b = tokens(3, D, 0), tokens(1, D, 1)
    out = assemble(ids(cross_ids=("a", "b"), global_ids=("b",), prepend_ids=("b",)), {"a": a, "b": b}, length=4)
    zero = out.unconditional()
    assert not zero.cross.any() and not zero.prepend.any() and zero.cross.shape == (2, 4, D)
    assert (zero.global_cond == out.global_cond).all()
    negative = assemble(ids(cross_ids=("b", "a"), global_ids=("a",)), {"a": a, "b": b}, length=4, negative=True)
    assert (out.unconditional(negative).cross == negative.cross).all()
    assert (out.unconditional(negative).global_cond == out.global_cond).all()


def test_inpainting_without_a_mask_is_one_frame_of_zeros():
    model = ids(local_ids=("inpaint_mask", "inpaint_masked_input"))
    plain = assemble(model, inpaint_conditions(2, 3), length=5).local
    assert plain.shape == (2, 1, 4) and not plain.any()
    mask, latents = mx.array([[0.0, 1, 1], [1, 0, 0]])[..., None], mx.ones((2, 3, 3)) * 5
    kept = assemble(model, inpaint_conditions(2, 3, mask, latents), length=3).local
    assert kept[0].tolist() == [[0, 0, 0, 0], [1, 5, 5, 5], [1, 5, 5, 5]]


@pytest.mark.parametrize(
    "items, section, message",
    [
        ([("a", "clap_text", {})], {}, r"configs\[0\].type: 'clap_text' is not supported"),
        ([("a", "pretransform", {})], {}, "'pretransform' is not supported"),
        ([("a", "numbr", {})], {}, "did you mean 'number'"),
        (
            [("a", "number", {"max_vall": 3})],
            {},
            r"configs\[0\].config: unknown key 'max_vall', did you mean 'max_val'",
        ),
        ([("a", "number", {"min_val": 3, "max_val": 3})], {}, "max_val 3.0 is not above min_val 3.0"),
        ([("a", "number", {"max_val": float("inf")})], {}, "max_val inf is not above"),
        ([("a", "number", {"fourier_features_type": "log"})], {}, "'log' is not 'learned' or 'expo'"),
        ([("a", "number", {"output_dim": 0})], {}, "output_dim 0 is out of range"),
        ([("a", "int", {"max_val": 10**12})], {}, "min_val 0 and max_val 1000000000000"),
        ([("a", "t5", {"enable_grad": True})], {}, "enable_grad is not supported"),
        ([("a", "t5gemma", {"padding_mode": "none"})], {}, "padding_mode 'none'"),
        ([("a", "t5", {"max_length": 0})], {}, "max_length 0"),
        ([("a", "lut", {"tokenizer_name": "unheard-of"})], {}, r"configs\[0\]: how many tokens 'unheard-of' has"),
        ([("a", "list", {"options": "rock"})], {}, "options: expected a list"),
        ([("a", "number", {}), ("a", "int", {})], {}, r"configs\[1\].id: 'a'"),
        ([("a.b", "number", {})], {}, "has a dot"),
        ([], {"pre_encoded_keys": ["a"]}, "pre_encoded_keys is not supported"),
        ([("a", "number", {})], {"default_keys": {"b": "a"}}, "'b' is no conditioner"),
        ([("a", "number", {})], {"defaults": {}}, "unknown key 'defaults', did you mean 'default_keys'"),
    ],
)
def test_refuses_what_it_cannot_build(items, section, message):
    with pytest.raises(ConfigError, match=message):
        make(*items, **section)


@pytest.mark.parametrize("prompt", [3, None, "\ud800"])
def test_a_prompt_is_text(prompt):
    with pytest.raises(OptionError, match="prompt"):
        make(("p", "t5", {"t5_model_name": "x"}))([{"p": prompt}], {"p": Letters()})


@pytest.mark.parametrize("kind", ["t5", "t5gemma", "lut"])
def test_a_weight_moves_a_token_on_the_line_from_nothing_to_itself(kind):
    """Weight 0 is what the model reads where there is no token: zeros, or the learned padding of T5Gemma."""
    config = {
        "t5": {"max_length": 4},
        "t5gemma": {"max_length": 4, "padding_mode": "learned"},
        "lut": {"tokenizer_name": "t5-base", "max_length": 4},
    }[kind]
    c = make(("prompt", kind, config), sizes={"prompt": 40 if kind == "lut" else D})
    weighted = [Phrase("abc"), *(Phrase("abc", ((1, 2, w),)) for w in (1.0, 0.0, 0.5, 2.0))]
    tokens = np.array(c([{"prompt": p} for p in weighted], {"prompt": Letters()})["prompt"].tokens)
    plain = np.array(c([{"prompt": "abc"}], {"prompt": Letters()})["prompt"].tokens)[0]
    assert np.array_equal(tokens[0], plain), "in a batch with weights a prompt without stays the same"
    assert np.allclose(tokens[1], plain, atol=1e-6)
    nothing = plain[3]
    assert np.allclose(tokens[2][1], nothing, atol=1e-6)
    assert np.allclose(tokens[3][1], (plain[1] + nothing) / 2, atol=1e-5)
    assert np.allclose(tokens[4][1], 2 * plain[1] - nothing, atol=1e-5)
    for row in tokens[1:]:
        assert np.allclose(row[[0, 2, 3]], plain[[0, 2, 3]], atol=1e-6)
