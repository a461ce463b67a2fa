"""Runs one case in the stable_audio_3 package (a source checkout on PYTHONPATH) and records what it answers.

Two things are set as the project documents them: the noise that the codec adds at inference is off, and padding is
truly masked (the package does so where flash-attention is installed; elsewhere padded keys stay in its softmax).
"""

import contextlib
import copy
import io

import torch

from tests.parity.case import Case

from . import oracle
from .attention import masked_attention
from .oracle import STORED, Tape, narrow

with contextlib.redirect_stdout(io.StringIO()):
    import stable_audio_3.models.transformer as transformer
    import transformers
    from stable_audio_3 import factory
    from stable_audio_3.inference import sampling
    from stable_audio_3.model import AutoencoderModel, StableAudioModel
    from stable_audio_3.models.conditioners import T5GemmaConditioner

COMMIT = "636f906"
transformer.flex_attention_available = False  # its compiled form; the plain form is the same band


transformer.Attention.apply_attn = masked_attention(transformer.Attention.apply_attn)


def one_schedule(original):
    """rk4 walks along the first axis; given a schedule per clip it would take no step at all."""

    def sample(model, x, sigmas, **kwargs):
        return original(model, x, sigmas[0] if sigmas.ndim == 2 else sigmas, **kwargs)

    return sample


sampling.sample_rk4 = one_schedule(sampling.sample_rk4)


def record(case: Case) -> Case:
    torch.manual_seed(0)
    model = build(case)
    case.reference = f"stable-audio-3 {COMMIT}, {oracle.versions()}"
    for run in case.runs:
        for name, value in answer(case, model, run).items():
            value = value.detach().numpy() if torch.is_tensor(value) else value
            oracle.check(case, run, name, value)
            case.arrays[f"{run['name']}/{name}"] = narrow(value)
    return case


def build(case: Case):
    config = copy.deepcopy(case.config)
    with text_encoder(case), contextlib.redirect_stdout(io.StringIO()):
        if config["model_type"] == "autoencoder":
            model = factory.create_autoencoder_from_config(config["model"], config["sample_rate"])
        else:
            model = factory.create_diffusion_cond_from_config(config)
    model = model.eval().requires_grad_(False)
    state = model.state_dict()
    case.arrays = {f"weights/{k}": narrow(v.numpy()) for k, v in state.items() if k.endswith(STORED)}
    case.tensors = {k: list(v.shape) for k, v in state.items() if not k.endswith(STORED)}
    model.load_state_dict({k: torch.tensor(v).reshape(state[k].shape) for k, v in case.weights().items()}, strict=True)
    for module in model.modules():
        if hasattr(module, "mask_noise"):
            module.mask_noise = 0
        if hasattr(module, "noise_regularize"):
            module.noise_regularize = False
    if config["model_type"] == "autoencoder":
        return AutoencoderModel(model, config["sample_rate"], "cpu")
    return StableAudioModel(model, config, "cpu", False)


@contextlib.contextmanager
def text_encoder(case: Case):
    """While active, ``from_pretrained`` gives the case's own small tokenizer and T5Gemma encoder."""
    if not case.text:
        yield
        return

    def make_config(*_, **__):
        config = transformers.T5GemmaConfig(**copy.deepcopy(case.text["config"]))
        config._attn_implementation = "eager"  # the one that knows about soft caps
        return config

    def make_encoder(*_, config, **__):
        encoder = transformers.T5GemmaEncoderModel(config).eval()
        case.text["tensors"] = {f"model.{k}": list(v.shape) for k, v in encoder.state_dict().items()}
        drawn = {k.removeprefix("model."): torch.tensor(v) for k, v in case.text_weights().items()}
        encoder.load_state_dict(drawn, strict=True)
        return encoder

    def make_tokenizer(*_, **__):
        fast = oracle.tokenizer.build(case.text["vocabulary"], gemma=True)
        return transformers.PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", unk_token="<unk>")

    auto, config, encoder = transformers.AutoTokenizer, transformers.AutoConfig, transformers.T5GemmaEncoderModel
    saved = auto.from_pretrained, config.from_pretrained, encoder.from_pretrained
    auto.from_pretrained, config.from_pretrained, encoder.from_pretrained = make_tokenizer, make_config, make_encoder
    width = case.text["config"]["encoder"]["hidden_size"]
    T5GemmaConditioner.T5GEMMA_MODEL_DIMS = dict.fromkeys(T5GemmaConditioner.T5GEMMA_MODEL_DIMS, width)
    try:
        yield
    finally:
        auto.from_pretrained, config.from_pretrained, encoder.from_pretrained = saved


@torch.inference_mode()
def answer(case: Case, model, run: dict) -> dict:
    given = {k: torch.tensor(v) if hasattr(v, "dtype") else v for k, v in case.arguments(run).items()}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return globals()[run["kind"]](case, model, **given)


def encode(case, model, audio, **chunks):
    audio = [torch.as_tensor(a) for a in audio] if isinstance(audio, list) else audio
    rates = [model.sample_rate] * len(audio)
    return {"latents": model.encode(audio, rates, **chunks)}


def decode(case, model, latents, **chunks):
    return {"audio": model.decode(latents, **chunks)}


def text(case, model, prompt, seconds):
    metadata = [{"prompt": p, "seconds_total": s} for p, s in zip(prompt, seconds, strict=True)]
    tensors = model.model.conditioner(metadata, "cpu")
    (words, mask), (number, ones) = tensors["prompt"], tensors["seconds_total"]
    tokenizer = model.model.conditioner.conditioners["prompt"].tokenizer
    length = model.model.conditioner.conditioners["prompt"].max_length
    ids = tokenizer(prompt, truncation=True, max_length=length, padding="max_length", return_tensors="pt")["input_ids"]
    return {
        "cross_cond": torch.cat([words, number], 1),
        "global_cond": number[:, 0],
        "mask": torch.cat([mask * 1.0, ones], 1),
        "token_ids": ids,
    }


class ScaledShift:
    """The ordinary schedule times the noise level of an init clip; the package's own is not monotone there."""

    def __init__(self, shift, level: float):
        self.original, self.level = shift, level

    def shift(self, t, length):
        return self.level * self.original.shift(torch.linspace(1, 0, t.shape[-1]), length)


def generate(case, model, prompt, seconds, noise, steps, cfg_scale, sampler, step_noise=None, audio=False, **kw):
    """A whole clip; frames behind an item's valid ones have no meaning and are zero here."""
    rate, ratio, total = case.config["sample_rate"], model.same.downsampling_ratio, noise.shape[-1]
    options = {"apg_scale": kw.get("apg_scale", 1.0), "negative_prompt": kw.get("negative_prompt")}
    options |= {"cfg_interval": kw.get("cfg_interval", (0, 1)), "scale_phi": kw.get("cfg_rescale", 0.0)}
    options |= {"cfg_norm_threshold": kw.get("cfg_norm_threshold", 0.0)}
    for name in ("init_audio", "inpaint_audio"):
        if name in kw:
            options[name] = (rate, kw[name])
    if "init_audio" in kw:
        options["init_noise_level"] = kw["init_noise_level"]
        options["dist_shift"] = ScaledShift(model.model.sampling_dist_shift, kw["init_noise_level"])
    if "inpaint" in kw:
        starts, ends = zip(*kw["inpaint"], strict=True)
        options |= {"inpaint_mask_start_seconds": list(starts), "inpaint_mask_end_seconds": list(ends)}
    draws = [] if step_noise is None else list(step_noise.numpy())
    with Tape(noise.numpy(), *draws) as tape:
        latents = model.generate(
            prompt=prompt,
            duration=seconds,
            steps=steps,
            cfg_scale=cfg_scale,
            batch_size=len(noise),
            sample_size=case.config["sample_size"],
            seed=1,
            sampler_type=sampler,
            return_latents=True,
            **options,
        )
        assert not tape.noises, "not all noise was used"
        assert not torch.equal(latents, noise), "no step was taken"
    latents = latents.clone()
    each = seconds if isinstance(seconds, list) else [seconds]
    valid = [min(total, -(-int(s * rate) // ratio) + int(6.0 * rate / ratio)) for s in each]
    for item, frames in zip(latents, valid, strict=False):
        item[..., frames:] = 0
    result = {"latents": latents[..., : max(valid)]}
    if audio:
        result["audio"] = model.same.decode(result["latents"]).clamp(-1, 1)[..., : int(seconds * rate)]
    return result
