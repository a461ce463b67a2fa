"""docs/autoencoders.md: its table is the registries' and rests on golden cases, its example builds and encodes."""

import copy
import json
import re
from pathlib import Path

import mlx.core as mx
import pytest

from stable_audio_mlx.errors import ConfigError
from stable_audio_mlx.layers.conv import ResidualUnit
from stable_audio_mlx.models import autoencoder
from stable_audio_mlx.models.factory import create_model
from stable_audio_mlx.weights.layout import published_tensors
from tests.parity import case as cases

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "autoencoders.md").read_text()
EXAMPLE = json.loads((DOCS / "examples" / "audio-vae.json").read_text())
TABLES = {
    "encoder": autoencoder.ENCODERS,
    "decoder": autoencoder.DECODERS,
    "bottleneck": autoencoder.BOTTLENECKS,
    "pretransform": autoencoder.PRETRANSFORMS,
}
ROWS = [
    (parts.split(", "), kind, re.findall(r"`(\w+)`", golden))
    for parts, kind, golden in re.findall(r"^\| (\w+(?:, \w+)?) \| `(\w+)` \|[^|]*\|([^|]*)\|$", TEXT, re.M)
]


def sections(part, node):
    """Every section of a config under the key ``part``."""
    if isinstance(node, dict):
        yield from ([node[part]] if isinstance(node.get(part), dict) else [])
        for value in node.values():
            yield from sections(part, value)


def test_the_table_has_every_type_that_is_known_and_no_other():
    for part, table in TABLES.items():
        assert sorted(kind for parts, kind, _ in ROWS if part in parts) == sorted(table), part


@pytest.mark.parametrize(("parts", "kind", "golden"), ROWS, ids=[f"{r[0][0]}-{r[1]}" for r in ROWS])
def test_every_row_rests_on_golden_cases_that_have_the_type(parts, kind, golden):
    assert golden
    for name in golden:
        config = cases.load(name).config
        for part in parts:
            assert kind in [section.get("type") for section in sections(part, config)], name


def test_what_the_document_calls_not_done_is_refused_by_name():
    networks, pretransforms = re.search(
        r"Not done.*?: encoders and decoders (.*?); pretransforms (.*?)\.", TEXT, re.S
    ).groups()
    refused = [(p, k) for p in ("encoder", "decoder") for k in re.findall(r"`(\w+)`", networks)]
    refused += [("pretransform", k) for k in re.findall(r"`(\w+)`", pretransforms)]
    assert len(refused) == 10
    for part, kind in refused:
        config = copy.deepcopy(EXAMPLE)
        config["model"][part] = {"type": kind, "config": {}}
        with pytest.raises(ConfigError, match=rf"model\.{part}\.type: '{kind}' is not supported"):
            create_model(config)


def test_the_example_is_what_the_document_says():
    model = create_model(EXAMPLE).autoencoder
    assert model.encoder.strides == (2, 4, 4, 8, 8) and model.downsampling_ratio == 2048
    first, *blocks, _, last = model.encoder.layers
    assert (first.weight.shape[1], last.weight.shape[1], last.weight.shape[0]) == (7, 3, 128) and len(blocks) == 5
    assert [block.layers[-1].weight.shape[0] for block in blocks] == [128, 256, 512, 1024, 2048]
    for block in blocks:
        units = [layer for layer in block.layers if isinstance(layer, ResidualUnit)]
        assert [unit.layers[1].dilation for unit in units] == [1, 3, 9]
    published = published_tensors(create_model(EXAMPLE))
    assert published["decoder.layers.0.weight_v"][0] == (2048, 64, 7)


@pytest.mark.parametrize("multiples", [[1, 2, 4, 8, 16], [2, 4, 8, 16, 16]])
def test_the_example_encodes_and_decodes_at_a_small_width(multiples):
    config = copy.deepcopy(EXAMPLE)
    for part in ("encoder", "decoder"):
        config["model"][part]["config"].update(channels=2, c_mults=multiples)
    model = create_model(config).autoencoder
    audio = mx.random.normal((1, 3 * 2048, 2), key=mx.random.key(0))
    z = model.encode(audio)
    mean, deviation = model.bottleneck.moments(model.features(audio))
    assert z.shape == (1, 3, 64) and mx.array_equal(z, mean) and deviation.min().item() > 1e-4
    assert model.decode(z).shape == audio.shape
