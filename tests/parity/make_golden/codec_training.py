"""``python -m tests.parity.make_golden.codec_training``: what stable-audio-tools answers to ``codec_training_cases``.

Needs a source checkout of the package on PYTHONPATH before the installed one, and what the other golden files need.
"""

import sys
import types
from functools import partial

import numpy as np
import scipy.signal
import torch
import torchaudio

from tests.parity import codec_training_cases as cases

from . import shim

shim.install()
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


def main() -> None:
    arrays = stft_losses() | judgements()
    single = {k: v.astype(np.float32) if k.endswith("|gradient") else v for k, v in arrays.items()}
    np.savez_compressed(cases.GOLDEN, **single)
    print(f"{cases.GOLDEN.name}: {cases.GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
