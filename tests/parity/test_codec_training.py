"""Losses, discriminators and steps of training against PyTorch: values and gradients."""

import re

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten

from stable_audio_mlx.config import build
from stable_audio_mlx.models.autoencoder import Autoencoder
from stable_audio_mlx.training.codec.discriminators import DISCRIMINATORS, dac, oobleck
from stable_audio_mlx.training.codec.objective import AutoencoderObjective, Plan
from stable_audio_mlx.training.codec.stft_loss import MultiResolutionSTFTLoss, STFTLossConfig
from stable_audio_mlx.training.codec.weighting import a_weighting_taps
from stable_audio_mlx.training.config import AutoencoderTraining
from stable_audio_mlx.weights import layout

from . import codec_training_cases as cases

with np.load(cases.GOLDEN) as archive:
    GOLDEN = dict(archive)
TOLERANCE = 1e-4
# Where the spectral loss makes much of rounding: 4e-5 to 1.4e-4, as the order of sums in the BLAS has it.
ROUNDED = {"step|same_large|autoencoder": 3.0}
# Our names of parameters -> the reference's.
NAMES = {
    "encodec": [(r"^scales\.(\d+)\.convs\.(\d+)", r"discriminators.discriminators.\1.convs.\2.conv"),
                (r"^scales\.(\d+)\.post", r"discriminators.discriminators.\1.conv_post.conv")],
    "oobleck": [(r"^(rates|periods)\.(\d+)\.net\.(\d+)",
                 lambda m: f"multi_discriminator.discriminators.{int(m[1] == 'periods')}"
                           f".layers.{m[2]}.net.{2 * int(m[3])}")],
    "dac": [(r"^periods\.(\d+)\.convs\.(\d+)", r"discriminator.discriminators.\1.convs.\2.0"),
            (r"^sizes\.(\d+)\.bands\.(\d+)\.(\d+)", r"sizes.\1.band_convs.\2.\3.0"),
            (r"\.post\.", ".conv_post."),
            (r"^(periods)\.", "discriminator.discriminators.")],
}  # fmt: skip


def torch_layout(array: np.ndarray) -> np.ndarray:
    """Channels last to PyTorch's layout of a convolution's weight."""
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array


def our_layout(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def near(got, wanted, tolerance=TOLERANCE):
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()


def near_digests(prefix: str, gradients: dict[str, np.ndarray]):
    """Every gradient, by the reference's name and in its layout, has the length and products that PyTorch found.

    To a share of the longest one, and ten times that of their own: where contributions cancel, PyTorch's own float32 is
    no nearer to its float64.
    """
    keys, digests = list(GOLDEN[f"{prefix}|keys"]), GOLDEN[f"{prefix}|digests"]
    assert sorted(gradients) == sorted(keys)
    got = np.stack([cases.digest(key, gradients[key]) for key in keys])
    wrong = np.abs(got - digests).max(axis=1) / ROUNDED.get(prefix, 1.0)
    lengths, longest = digests[:, 0], digests[:, 0].max()
    assert wrong.max() <= TOLERANCE * longest, keys[wrong.argmax()]
    assert (wrong <= 10 * TOLERANCE * np.maximum(lengths, 0.05 * longest)).all()


def channels_last(*sounds: np.ndarray) -> list[mx.array]:
    return [mx.array(s.swapaxes(1, 2)) for s in sounds]


def test_a_weighting_is_that_of_auraloss():
    near(a_weighting_taps(44100), GOLDEN["taps"], 1e-6)


@pytest.mark.parametrize("name", cases.STFT)
def test_stft_loss(name):
    loss = MultiResolutionSTFTLoss(build(STFTLossConfig, cases.STFT[name], "spectral.config"), cases.RATE)
    reals, fakes = channels_last(*cases.pair(f"stft/{name}/{GOLDEN[f'stft|{name}|salt']}"))

    value, gradient = mx.value_and_grad(lambda y: loss(reals, y).sum() / 2)(fakes)
    near(loss(reals, fakes), GOLDEN[f"stft|{name}|values"], 1e-5)
    near(value, GOLDEN[f"stft|{name}|loss"], 1e-5)
    rounding = float(GOLDEN[f"stft|{name}|rounding"])  # of PyTorch in float32
    near(gradient.swapaxes(1, 2), GOLDEN[f"stft|{name}|gradient"], max(TOLERANCE, 3 * rounding))


@pytest.fixture
def narrow(monkeypatch):
    """The discriminators' fixed widths as narrow as the reference's are made for the cases."""
    monkeypatch.setattr(oobleck.StridedNetwork, "CAPACITY", cases.NARROW)
    monkeypatch.setattr(dac.PeriodNetwork, "WIDTHS", tuple(cases.WIDTHS[w] for w in dac.PeriodNetwork.WIDTHS))
    monkeypatch.setattr(dac.BandNetwork, "WIDTH", cases.WIDTHS[dac.BandNetwork.WIDTH])


def reference_name(kind: str, name: str, periods: int) -> str:
    for pattern, replacement in NAMES[kind]:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"^sizes\.(\d+)", lambda m: f"discriminator.discriminators.{periods + int(m[1])}", name)


@pytest.mark.parametrize("name", cases.DISCRIMINATORS)
def test_discriminator(name, narrow):
    kind, config = cases.DISCRIMINATORS[name]
    cls = DISCRIMINATORS[kind]
    model: nn.Module = cls(build(cls.Config, config, "discriminator.config"), 2)
    parameters = dict(tree_flatten(model.trainable_parameters()))
    theirs = {ours: reference_name(kind, ours, len(config.get("periods", ()))) for ours in parameters}
    salt = GOLDEN[f"discriminator|{name}|salt"]
    drawn = {
        ours: mx.array(our_layout(cases.weight(f"{name}/{salt}", theirs[ours], torch_layout(np.array(value)).shape)))
        for ours, value in parameters.items()
    }
    model.update(tree_unflatten(list(drawn.items())))
    reals, fakes = channels_last(*cases.pair(f"discriminator/{name}", noise=1.5))
    wanted = GOLDEN[f"discriminator|{name}|losses"]

    def fool(y):
        adversarial, distance = model.fool(reals, y)
        return adversarial + 3 * distance, (adversarial, distance)

    (_, losses), gradient = mx.value_and_grad(fool)(fakes)
    near(np.array([float(v) for v in losses]), wanted[1:])
    near_digests(f"discriminator|{name}|fooled", {"fakes": np.array(gradient.swapaxes(1, 2))})
    judged, gradients = nn.value_and_grad(model, lambda m: m.judge(reals, fakes))(model)
    near(judged, wanted[0])
    flat = dict(tree_flatten(gradients))
    near_digests(f"discriminator|{name}|judged", {theirs[k]: torch_layout(np.array(v)) for k, v in flat.items()})


# ---- whole steps


class Sounds:
    """One batch, for every step."""

    rate, samples = cases.RATE, cases.LENGTH

    def __init__(self, name: str):
        channels = cases.STEPS[name][0]["io_channels"]
        self.audio = cases.sound(f"step/{name}", (2, channels, cases.LENGTH)).swapaxes(1, 2)

    def batch(self, places: range, seed: int) -> np.ndarray:
        return self.audio


class Network:
    """An autoencoder and how PyTorch calls its parameters."""

    def __init__(self, section: dict):
        self.plain = Autoencoder.from_section(section, "model")

    def key(self, name: str) -> str:
        base, half = re.fullmatch(r"(.*?)((?<=weight)_[gv])?", name).groups()
        return layout.original(self.plain, base) + (half or "")

    def turn(self, name: str, array: np.ndarray, back: bool = False) -> np.ndarray:
        """Between PyTorch's layout and ours."""
        axes = layout.axes_of(layout.owner(self.plain, name)) if array.ndim == 3 and "weight" in name else None
        return array if axes is None else array.transpose(np.argsort(axes) if back else axes)

    def drawn(self, prefix: str, parameters: dict[str, mx.array], draw) -> list[tuple[str, mx.array]]:
        out = []
        for name, value in parameters.items():
            shape = self.turn(name, np.zeros(value.shape), back=True).shape
            if name.endswith("running_std"):
                out.append((name, mx.array([0.9])))
            else:
                out.append((name, mx.array(self.turn(name, draw(prefix, self.key(name), shape)))))
        return out


def objective_of(name: str) -> AutoencoderObjective:
    section, config, _ = cases.STEPS[name]
    settings = build(AutoencoderTraining, {"learning_rate": 1e-4, "loss_configs": config}, "training")
    return AutoencoderObjective(Autoencoder.from_section(section, "model"), section, settings, Sounds(name), Plan(2))


@pytest.mark.parametrize("name", cases.STEPS)
def test_step(name, narrow):
    """Losses and gradients of one step of the autoencoder and of the discriminator, and what else the step changes."""
    golden = {k.removeprefix(f"step|{name}|"): v for k, v in GOLDEN.items() if k.startswith(f"step|{name}|")}
    objective, prefix = objective_of(name), f"{name}/{golden['salt']}"
    model, network = objective.model, Network(cases.STEPS[name][0])
    for draw, buffers in ((cases.weight, False), (cases.buffer, True)):
        own = {k: v for k, v in tree_flatten(model.parameters()) if (k in objective.buffers) == buffers}
        model.update(tree_unflatten(network.drawn(prefix, own, draw)))
    noise = cases.step_noise(name)
    assert list(objective.names) == [k for k in ("encoder", "decoder", "bottleneck0", "bottleneck1") if k in noise]
    if "judged" in golden:
        draw_discriminator(prefix, cases.STEPS[name][1]["discriminator"], objective)
    given = [mx.array(noise[key]) for key in objective.names]
    batch = (mx.array(Sounds(name).audio), mx.array(1.0), mx.array(1.0), *given, mx.array(1.0))
    (_, losses), gradients = nn.value_and_grad(model, objective.loss)(model, *batch)
    for key, wanted in zip(golden["names"], golden["losses"], strict=True):
        near(losses[str(key)], wanted)
    found = {network.key(k): network.turn(k, np.array(v), back=True) for k, v in tree_flatten(gradients)}
    near_digests(f"step|{name}|autoencoder", found)
    after = dict(tree_flatten(model.parameters()))
    for key in objective.buffers:
        near(after[key], golden[f"buffer|{network.key(key)}"])
    if "judged" in golden:
        judge = nn.value_and_grad(objective.discriminator, objective.discriminator_loss)
        (value, _), gradients = judge(objective.discriminator, *batch)
        near(value, golden["judged"])
        names = discriminator_names(cases.STEPS[name][1]["discriminator"], objective)
        found = {names[k]: torch_layout(np.array(v)) for k, v in tree_flatten(gradients)}
        near_digests(f"step|{name}|discriminator", found)


def discriminator_names(section: dict, objective: AutoencoderObjective) -> dict[str, str]:
    periods = len(section["config"].get("periods", ()))
    flat = tree_flatten(objective.discriminator.trainable_parameters())
    return {ours: reference_name(section["type"], ours, periods) for ours, _ in flat}


def draw_discriminator(prefix: str, section: dict, objective: AutoencoderObjective):
    names = discriminator_names(section, objective)
    drawn = [
        (ours, mx.array(our_layout(cases.weight(f"{prefix}/against", names[ours], torch_layout(np.array(v)).shape))))
        for ours, v in tree_flatten(objective.discriminator.trainable_parameters())
    ]
    objective.discriminator.update(tree_unflatten(drawn))
