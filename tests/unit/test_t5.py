"""T5's encoder against a second implementation in NumPy float64 that pads and masks as PyTorch does."""

import math

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.models.t5 import T5Config, T5Encoder, relative_buckets

TINY = {"d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 3, "num_heads": 5, "vocab_size": 50}
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "gated-gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gated-silu": lambda x: x / (1 + np.exp(-x)),
}


def bucket(delta: int, buckets: int, reach: int) -> int:
    """One (key - query) distance, straight from the definition."""
    half = buckets // 2
    start, delta, exact = (half if delta > 0 else 0), abs(delta), half // 2
    if delta < exact:
        return start + delta
    far = exact + int(math.log(delta / exact) / math.log(reach / exact) * (half - exact))
    return start + min(far, half - 1)


def reference(model: T5Encoder, x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    cfg, weights = model.cfg, tree_map(lambda a: np.array(a, np.float64), model.parameters())
    length = x.shape[1]
    table = weights["block"][0]["layer"][0]["SelfAttention"]["relative_attention_bias"]["weight"]
    place = [
        [bucket(k - q, cfg.relative_attention_num_buckets, cfg.relative_attention_max_distance) for k in range(length)]
        for q in range(length)
    ]
    bias = table[np.array(place)].transpose(2, 0, 1)[None] + np.where(mask, 0, -1e30)[:, None, None]

    def norm(x, w):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + cfg.layer_norm_epsilon) * w["weight"]

    for block in weights["block"]:
        attention, feed_forward = block["layer"]
        h, w = norm(x, attention["layer_norm"]), attention["SelfAttention"]
        q, k, v = ((h @ w[n]["weight"].T).reshape(*h.shape[:2], cfg.num_heads, -1).swapaxes(1, 2) for n in "qkv")
        scores = q @ k.swapaxes(2, 3) + bias
        share = np.exp(scores - scores.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        x = x + (share @ v).swapaxes(1, 2).reshape(*x.shape[:2], -1) @ w["o"]["weight"].T
        h, w, act = (
            norm(x, feed_forward["layer_norm"]),
            feed_forward["DenseReluDense"],
            ACTIVATIONS[cfg.feed_forward_proj],
        )
        inner = act(h @ w["wi_0" if cfg.gated else "wi"]["weight"].T)
        x = x + (inner * (h @ w["wi_1"]["weight"].T) if cfg.gated else inner) @ w["wo"]["weight"].T
    return norm(x, weights["final_layer_norm"])


def tiny(**changes) -> T5Encoder:
    mx.random.seed(1)
    model = T5Encoder(T5Config(**TINY | changes))
    model.update(tree_map(lambda a: a + 0.3 * mx.random.normal(a.shape), model.parameters()))
    return model


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_agrees_with_padded_and_masked_float64(kind):
    model = tiny(feed_forward_proj=kind, relative_attention_num_buckets=16, relative_attention_max_distance=20)
    x = np.random.default_rng(0).normal(size=(2, 30, 24)).astype(np.float32)
    mask = np.arange(30) < np.array([[30], [9]])
    expected = reference(model, x.astype(np.float64), mask)
    both = np.array(model(mx.array(x), mx.array(mask)))
    alone = np.array(model(mx.array(x[1:, :9])))
    scale = np.abs(expected).max()
    assert np.abs(both - expected)[mask].max() / scale < 5e-6
    assert np.abs(alone - expected[1:, :9]).max() / scale < 5e-6


def test_buckets_at_every_distance():
    found = np.array(relative_buckets(300, T5Config(**TINY)))
    assert [found[0, d] for d in range(300)] == [bucket(d, 32, 128) for d in range(300)]
    assert [found[d, 0] for d in range(300)] == [bucket(-d, 32, 128) for d in range(300)]


def test_reads_a_hugging_face_config_with_keys_of_the_decoder():
    cfg = T5Config.from_hugging_face(
        TINY | {"model_type": "t5", "num_decoder_layers": 9, "dropout_rate": 0.1}, "c.json"
    )
    assert (cfg.num_layers, cfg.width, cfg.gated) == (3, 24, False)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model_type": "bert"}, "c.json.model_type: 'bert'"),
        ({"feed_forward_proj": "gated-swish"}, "feed_forward_proj 'gated-swish'"),
        ({"d_model": "wide"}, "c.json.d_model: expected int"),
        ({"num_layers": 0}, "num_layers 0 is out of range"),
        ({"relative_attention_num_buckets": 3}, "multiple of 4"),
    ],
)
def test_refuses_what_it_cannot_build(changes, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        T5Config.from_hugging_face(TINY | changes, "c.json")
