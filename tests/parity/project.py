"""What this project answers to a golden case, through its front doors: convert.py's engine, then the public API.

One function per kind of run, named and called as in make_golden/oracle.py.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import mlx.core as mx
import numpy as np

import stable_audio_mlx
from stable_audio_mlx.cli.convert import main as convert
from stable_audio_mlx.weights.source import open_model
from stable_audio_mlx.weights.text import TextEncoder

from . import tokenizer
from .case import Case

# Our name of a condition, its name in the reference.
CONDITIONS = {
    "cross": "cross_attn_cond",
    "global_cond": "global_embed",
    "prepend": "prepend_cond",
    "input_concat": "input_concat_cond",
}


def write_checkpoint(case: Case, folder: Path, weights: dict[str, np.ndarray] | None = None) -> Path:
    """The case as a checkpoint folder in PyTorch's names and layouts; ``weights``: instead of its own."""
    folder.mkdir(parents=True)
    (folder / "model_config.json").write_text(json.dumps(case.config))
    save_tensors(folder / "model.safetensors", case.weights() if weights is None else weights)
    if case.text:
        gemma = "folder" in case.text
        words = folder / case.text.get("folder", "tokenizer")
        encoder = folder / case.text.get("folder", "text_encoder")
        for path in {words, encoder}:
            path.mkdir()
        tokenizer.build(case.text["vocabulary"], gemma).save(str(words / "tokenizer.json"))
        if "tensors" in case.text:
            (encoder / "config.json").write_text(json.dumps(case.text["config"]))
            save_tensors(encoder / "model.safetensors", case.text_weights())
    return folder


def save_tensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    mx.save_safetensors(str(path), {key: mx.array(value) for key, value in tensors.items()})


class Project:
    """A case converted into ``folder``; models are loaded when a run first needs them."""

    def __init__(self, case: Case, folder: Path, weights: dict[str, np.ndarray] | None = None):
        self.case, self.folder = case, folder / "converted"
        source = write_checkpoint(case, folder / "checkpoint", weights)
        assert not convert([str(source), "--output", str(self.folder)])

    @functools.cached_property
    def pipe(self) -> stable_audio_mlx.StableAudioPipeline:
        return stable_audio_mlx.StableAudioPipeline.from_pretrained(self.folder)

    @functools.cached_property
    def codec(self) -> stable_audio_mlx.AutoencoderModel:
        return stable_audio_mlx.AutoencoderModel.from_pretrained(self.folder)

    def answer(self, run: dict) -> dict[str, np.ndarray]:
        """Array name -> our numbers, in the reference's layout."""
        arguments = self.case.arguments(run)
        return {k: np.array(v) for k, v in getattr(self, run["kind"])(**arguments).items()}

    def encode(self, audio, noise=None, **chunks):
        return {"latents": self.codec.encode(audio, self.codec.sample_rate, noise=noise, **chunks)}

    def decode(self, latents, noise=None, **chunks):
        return {"audio": self.codec.decode(latents, noise=noise, **chunks)}

    def roundtrip(self, audio):
        latents = self.codec.encode(audio, self.codec.sample_rate)
        return {"latents": latents, "audio": self.codec.decode(latents)}

    def codes(self, audio):
        rate = self.codec.sample_rate
        return {"codes": self.codec.encode_codes(audio, rate), "latents": self.codec.encode(audio, rate)}

    def decode_codes(self, codes):
        return {"audio": self.codec.decode_codes(codes)}

    def velocity(self, x, t, **conditions):
        source = open_model(self.folder)
        dit = source.load("dit", source.create().dit)
        given = {ours: mx.array(conditions[theirs]) for ours, theirs in CONDITIONS.items() if theirs in conditions}
        if "input_concat" in given:
            given["input_concat"] = given["input_concat"].swapaxes(1, 2)
        v = dit(mx.array(x).swapaxes(1, 2), mx.array(t), dit.condition(**given))
        return {"v": v.swapaxes(1, 2)}

    def text(self, prompt, seconds):
        return self.pipe.conditioning_arrays(prompt, seconds)

    def conditioner(self, metadata):
        source = open_model(self.folder)
        conditioner = source.load("conditioner", source.create().conditioner)
        files = source.text_files()
        words = TextEncoder.from_files(files.config, files.weights, files.tokenizer)
        found = conditioner(metadata, dict.fromkeys(conditioner.text_ids, words))
        return {name: c.tokens for name, c in found.items()} | {f"{name}_mask": c.mask for name, c in found.items()}

    def generate(self, prompt, audio=False, step_noise=None, init_audio=None, inpaint_audio=None, **options):
        rate = self.case.config["sample_rate"]
        options |= {"step_noise": list(step_noise)} if step_noise is not None else {}
        options |= {"init_audio": (init_audio, rate)} if init_audio is not None else {}
        options |= {"inpaint_audio": (inpaint_audio, rate)} if inpaint_audio is not None else {}
        outputs = {"latents": True} | ({"audio": False} if audio else {})
        return {n: self.pipe.generate(prompt, return_latents=latents, **options) for n, latents in outputs.items()}
