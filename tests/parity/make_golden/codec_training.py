"""``python -m tests.parity.make_golden.codec_training``: what stable-audio-tools answers to ``codec_training_cases``.

Needs a source checkout of the package on PYTHONPATH before the installed one, and what the other golden files need.
"""

import copy
import sys
import types
from functools import partial

import numpy as np
import scipy.signal
import torch
import torchaudio

from tests.parity import codec_training_cases as cases

from .oracle import Tape

audiotools = sys.modules["audiotools"]


class AudioSignal:
    """The part of audiotools that the discriminators call: a transform whose frames match a strided convolution."""

    def __init__(self, audio: torch.Tensor, sample_rate: int, stft_params: dict):
        self.audio, self.size = audio, stft_params["window_length"]

    def stft(self) -> torch.Tensor:
        batch, channels, length = self.audio.shape
        hop = self.size // 4
        right, margin = -length % hop, (self.size - hop) // 2
        padded = torch.nn.functional.pad(self.audio, (margin, margin + right), "reflect")
        window = torch.tensor(np.sqrt(scipy.signal.get_window("hann", self.size)), dtype=padded.dtype)
        found = torch.stft(padded.flatten(0, 1), self.size, hop, window=window, center=True, return_complex=True)
        return found.unflatten(0, (batch, channels))[..., 2:-2]


audiotools.AudioSignal, audiotools.STFTParams = AudioSignal, dict


def mel(sr: int, n_fft: int, n_mels: int) -> np.ndarray:
    bands = torchaudio.functional.melscale_fbanks(n_fft // 2 + 1, 0, sr / 2, n_mels, sr, "slaney", "slaney")
    return bands.T.double().numpy()


filters = types.ModuleType("librosa.filters")
filters.mel = mel
sys.modules["librosa"] = types.ModuleType("librosa")
sys.modules["librosa"].filters = sys.modules["librosa.filters"] = filters

import dac.model.discriminator as descript  # noqa: E402
from stable_audio_tools.models import discriminators  # noqa: E402
from stable_audio_tools.models.autoencoders import create_autoencoder_from_config  # noqa: E402


def load(path: str):
    """A module of the package without its ``__init__``, which asks for training frameworks."""
    import importlib.util
    from pathlib import Path

    file = Path(discriminators.__file__).parents[1] / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


auraloss = load("training/losses/auraloss.py")


def narrow(convolution):
    """A convolution with the few channels of the cases."""

    def make(inside, outside, *arguments, **options):
        return convolution(cases.WIDTHS.get(inside, inside), cases.WIDTHS.get(outside, outside), *arguments, **options)

    return make


descript.WNConv2d = narrow(descript.WNConv2d)
discriminators.SharedDiscriminatorConvNet = partial(discriminators.SharedDiscriminatorConvNet, capacity=cases.NARROW)
KINDS = {
    "encodec": lambda config: discriminators.EncodecDiscriminator(in_channels=2, **config),
    "oobleck": lambda config: discriminators.OobleckDiscriminator(**config),
    "dac": lambda config: discriminators.DACGANLoss(channels=2, sample_rate=cases.RATE, **config),
}


def stft_losses() -> dict[str, np.ndarray]:
    """Of 30 sounds the one whose gradient rounding changes least: in float32 an empty bin has a steep logarithm."""
    out = {"taps": auraloss.FIRFilter("aw", fs=44100).fir.weight.data.numpy().ravel()}
    for name, config in cases.STFT.items():
        answers, distances = {}, []
        for dtype in (torch.float64, torch.float32):
            losses = [
                cls(sample_rate=cases.RATE, **config).to(dtype)
                for cls in (auraloss.SumAndDifferenceSTFTLoss, auraloss.MultiResolutionSTFTLoss)
            ]
            answers[dtype] = [stft_loss(f"stft/{name}/{salt}", *losses, dtype) for salt in range(30)]
        for answer, rounded in zip(*answers.values(), strict=True):
            scale = np.abs(answer["gradient"]).max()
            distances.append(np.abs(rounded["gradient"] - answer["gradient"]).max() / scale)
        salt = int(np.argmin(distances))
        print(f"{name}: sound {salt}, rounding {distances[salt]:.1e}")
        out |= {f"stft|{name}|{key}": value for key, value in answers[torch.float64][salt].items()}
        out |= {f"stft|{name}|salt": np.array(salt), f"stft|{name}|rounding": np.array(distances[salt])}
    return out


def stft_loss(sound: str, both: torch.nn.Module, one: torch.nn.Module, dtype: torch.dtype) -> dict[str, np.ndarray]:
    reals, fakes = (torch.tensor(s, dtype=dtype, requires_grad=True) for s in cases.pair(sound))
    for part in (*both.mrstft.stft_losses, *one.stft_losses):
        part.window = torch.hann_window(part.win_length, dtype=dtype)
    values = [both.mrstft(*(s[:, :1] + sign * s[:, 1:] for s in (reals, fakes))) for sign in (1, -1)]
    values += [one(reals[:, i : i + 1], fakes[:, i : i + 1]) for i in range(2)]
    loss = (sum(values) if dtype == torch.float32 else 2 * both(reals, fakes) + values[2] + values[3]) / 2
    loss.backward()
    return {
        "values": torch.stack(values).detach().numpy(),
        "loss": loss.detach().numpy(),
        "gradient": fakes.grad.numpy(),
    }


def gradients(prefix: str, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Names of parameters, and digests of their gradients in that order."""
    known = {key: value.grad.numpy() for key, value in model.named_parameters() if value.grad is not None}
    digests = np.stack([cases.digest(key, value) for key, value in known.items()])
    return {f"{prefix}|keys": np.array(list(known)), f"{prefix}|digests": digests}


def judgements() -> dict[str, np.ndarray]:
    """Of 8 draws the one whose gradients rounding changes least, by far more than a difference of formulas would."""
    out = {}
    for name in cases.DISCRIMINATORS:
        found = [[judgement(name, salt, dtype) for dtype in (torch.float64, torch.float32)] for salt in range(8)]
        salt = int(np.argmin([rounding(*pair) for pair in found]))
        print(f"{name}: draw {salt}, rounding {rounding(*found[salt]):.1e}")
        out |= {f"discriminator|{name}|{key}": value for key, value in found[salt][0].items()}
        out[f"discriminator|{name}|salt"] = np.array(salt)
    return out


def rounding(answer: dict[str, np.ndarray], rounded: dict[str, np.ndarray]) -> float:
    """How far digests in float32 are off, as a share of the longest gradient."""
    keys = [key for key in answer if key.endswith("digests")]
    return max(np.abs(rounded[key] - answer[key]).max() / answer[key][:, 0].max() for key in keys)


def judgement(name: str, salt: int, dtype: torch.dtype) -> dict[str, np.ndarray]:
    torch.set_default_dtype(dtype)
    kind, config = cases.DISCRIMINATORS[name]
    model = KINDS[kind](config).to(dtype)
    for key, value in model.named_parameters():
        value.data = torch.tensor(cases.weight(f"{name}/{salt}", key, tuple(value.shape)), dtype=dtype)
    sounds = cases.pair(f"discriminator/{name}", noise=1.5)
    reals, fakes = (torch.tensor(s, dtype=dtype, requires_grad=True) for s in sounds)
    judged, adversarial, distance = model.loss(reals=reals, fakes=fakes)
    (adversarial + 3 * distance).backward(retain_graph=True)
    out = {"fooled|keys": np.array(["fakes"]), "fooled|digests": cases.digest("fakes", fakes.grad.numpy())[None]}
    model.zero_grad()
    judged.backward()
    losses = torch.stack([judged, adversarial, distance]).detach().numpy()
    return out | gradients("judged", model) | {"losses": losses}


# ---- whole steps


def build(name: str, salt: int, dtype: torch.dtype) -> torch.nn.Module:
    """The reference's autoencoder in training, every parameter and codebook drawn from its name."""
    section = copy.deepcopy(cases.STEPS[name][0])
    config = {"model_type": "autoencoder", "sample_rate": cases.RATE, "sample_size": cases.LENGTH, "model": section}
    if section["encoder"]["type"] == "taae_v2":
        from stable_audio_3 import factory
        from stable_audio_3.models import transformer

        transformer.flex_attention_available = False
        model = factory.create_autoencoder_from_config(section, cases.RATE)
        model.pretransform.enable_grad = True  # or its decoder would get no gradient
    else:
        model = create_autoencoder_from_config(config)
    model = model.to(dtype).train()
    known = dict(model.named_parameters())
    for key, value in model.state_dict().items():
        if key.endswith("running_std"):
            value.copy_(torch.tensor(0.9))
        elif key in known or "_codebook.embed" in key or key.endswith("cluster_size"):
            draw = cases.weight if key in known else cases.buffer
            value.copy_(torch.tensor(draw(f"{name}/{salt}", key, tuple(value.shape))))
    return model


def noises(name: str, dtype: torch.dtype) -> list[np.ndarray]:
    """What ``randn`` and its like are to give, in the reference's order and layout."""
    given = {key: value.astype(str(dtype).removeprefix("torch.")) for key, value in cases.step_noise(name).items()}
    latents = [
        given[key].swapaxes(1, 2) for key in ("bottleneck0", "bottleneck1") if given.get(key, np.zeros(0)).ndim == 3
    ]
    tokens = {key: given[key].reshape(-1, *given[key].shape[2:]) for key in ("encoder", "decoder") if key in given}
    if name == "dac_wasserstein":
        return [latents[0].swapaxes(1, 2).reshape(-1, latents[0].shape[1])]
    if name == "dac_dithered_fsq":
        return [given["bottleneck1"].reshape(2, -1, 2, 2)]
    return [tokens[k] for k in ("encoder",) if k in tokens] + latents + [tokens[k] for k in ("decoder",) if k in tokens]


class Draws(Tape):
    """Also what else is drawn: depths of codebooks, who is left without rounding.  Nothing becomes float32."""

    def __init__(self, name: str, dtype: torch.dtype):
        super().__init__(*noises(name, dtype))
        kept = cases.step_noise(name).get("bottleneck0") if "dithered" in name else np.zeros((0, 0))
        self.kept = [torch.tensor(column).reshape(-1, 1, 1, 1) for column in kept.T]

    def __enter__(self):
        self.more = torch.randint, torch.bernoulli, torch.rand_like, torch.Tensor.float
        torch.Tensor.float = lambda x: x
        torch.randint = lambda *_, **__: torch.tensor(cases.DEPTH)
        torch.bernoulli = lambda *_: self.kept.pop(0)
        torch.rand_like = lambda x: self.next(x.shape) + 0.5
        return super().__enter__()

    def __exit__(self, *arguments):
        torch.randint, torch.bernoulli, torch.rand_like, torch.Tensor.float = self.more
        super().__exit__(*arguments)


def step(name: str, salt: int, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Losses and gradients of one step of the autoencoder and one of the discriminator, and changed buffers."""
    torch.set_default_dtype(dtype)
    section, config, _ = cases.STEPS[name]
    model = build(name, salt, dtype)
    channels = section["io_channels"]
    audio = torch.tensor(cases.sound(f"step/{name}", (2, channels, cases.LENGTH)), dtype=dtype)
    with Draws(name, dtype) as tape:
        latents, info = model.encode(audio, return_info=True)
        made = model.decode(latents)
        assert not tape.noises, "not all noise was used"
    found = reconstruction(audio, made, config, dtype)
    weights = config.get("bottleneck", {}).get("weights", {})
    own = {"kl": weights.get("kl", 1e-6), "quantizer_loss": 1.0, "vq/codebook_loss": 1.0, "vq/commitment_loss": 0.25}
    own |= {"mmd": weights.get("mmd", 100), "softnorm_loss": weights.get("softnorm", 0)}
    found |= {cases.LOSS_NAMES.get(key, key): w * info[key] for key, w in own.items() if key in info}
    out, judged = {}, None
    if "discriminator" in config:
        kind, options = config["discriminator"]["type"], config["discriminator"]["config"]
        against = KINDS[kind](options).to(dtype)
        for key, value in against.named_parameters():
            value.data = torch.tensor(cases.weight(f"{name}/{salt}/against", key, tuple(value.shape)), dtype=dtype)
        judged, adversarial, distance = against.loss(reals=audio, fakes=made)
        found |= {"loss_adv": 0.1 * adversarial, "feature_matching_loss": 5.0 * distance}
    sum(found.values()).backward(retain_graph=True)
    out |= gradients("autoencoder", model)
    out["losses"] = np.array([float(v) for v in found.values()])
    out["names"] = np.array(list(found))
    if judged is not None:
        against.zero_grad()
        judged.backward()
        out |= gradients("discriminator", against) | {"judged": judged.detach().numpy()}
    state = {k: v for k, v in model.state_dict().items() if "_codebook.embed" in k or "cluster_size" in k}
    state |= {k: v for k, v in model.state_dict().items() if k.endswith("running_std")}
    return out | {f"buffer|{key}": value.numpy() for key, value in state.items()}


def reconstruction(audio: torch.Tensor, made: torch.Tensor, config: dict, dtype: torch.dtype) -> dict:
    options, weight = config["spectral"]["config"], config["spectral"]["weights"]["mrstft"]
    one = auraloss.MultiResolutionSTFTLoss(sample_rate=cases.RATE, **options)
    for part in one.stft_losses:
        part.window = torch.hann_window(part.win_length, dtype=dtype)
    if audio.shape[1] == 2:
        sums = [(s[:, :1] + s[:, 1:], s[:, :1] - s[:, 1:]) for s in (audio, made)]
        found = {"mrstft_loss": weight * sum(one(x, y) for x, y in zip(*sums, strict=True)) / 2}
        for i, side in enumerate(("left", "right")):
            found[f"stft_loss_{side}"] = weight / 2 * one(audio[:, i : i + 1], made[:, i : i + 1])
    else:
        found = {"mrstft_loss": weight * one(audio, made)}
    time = config["time"]["weights"]
    if time.get("l1"):
        found["l1_time_loss"] = time["l1"] * (audio - made).abs().mean()
    if time.get("l2"):
        found["l2_time_loss"] = time["l2"] * (audio - made).square().mean()
    return found


def steps() -> dict[str, np.ndarray]:
    out = {}
    for name in cases.STEPS:
        found = [[step(name, salt, dtype) for dtype in (torch.float64, torch.float32)] for salt in range(6)]
        salt = int(np.argmin([rounding(*pair) for pair in found]))
        print(f"{name}: draw {salt}, rounding {rounding(*found[salt]):.1e}")
        out |= {f"step|{name}|{key}": value for key, value in found[salt][0].items()}
        out[f"step|{name}|salt"] = np.array(salt)
    return out


def main() -> None:
    arrays = stft_losses() | judgements() | steps()
    single = {k: v.astype(np.float32) if k.endswith("|gradient") else v for k, v in arrays.items()}
    np.savez_compressed(cases.GOLDEN, **single)
    print(f"{cases.GOLDEN.name}: {cases.GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
