"""Runs one case in PyTorch's stable-audio-tools and records what it answers."""

import contextlib
import copy
import importlib.metadata
import io

import numpy as np
import torch

from tests.parity import tokenizer
from tests.parity.case import Case

from . import shim

shim.install()
import k_diffusion  # noqa: E402
import transformers  # noqa: E402
from stable_audio_tools.inference import generation, sampling  # noqa: E402
from stable_audio_tools.models import conditioners  # noqa: E402
from stable_audio_tools.models.factory import create_model_from_config  # noqa: E402

STORED = (".inv_freq", ".filter", ".initted", ".kernel")  # buffers with a value of their own
PACKAGES = ("stable-audio-tools", "torch", "transformers", "k-diffusion", "descript-audio-codec")


def versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def record(case: Case) -> Case:
    """Fill in ``tensors`` and ``arrays`` of a case that has a config and runs."""
    torch.manual_seed(0)
    model = build(case)
    case.reference = versions()
    for run in case.runs:
        for name, value in answer(case, model, run).items():
            value = value.detach().numpy() if torch.is_tensor(value) else value
            check(case, run, name, value)
            case.arrays[f"{run['name']}/{name}"] = narrow(value)
    return case


def narrow(value: np.ndarray) -> np.ndarray:
    return value.astype(np.int32 if np.issubdtype(value.dtype, np.integer) else np.float32)


def check(case: Case, run: dict, name: str, value: np.ndarray) -> None:
    """A golden answer is finite and not constant."""
    if not np.isfinite(value).all() or (value.size > 1 and np.ptp(value) == 0 and "mask" not in name):
        raise SystemExit(f"{case.name} {run['name']} {name}: trivial or not finite")


# ---- building


def build(case: Case) -> torch.nn.Module:
    """The reference model of ``case.config`` in float32 with the weights drawn from the names of its tensors."""
    config = copy.deepcopy(case.config)
    pretransform = config["model"].get("pretransform")
    if pretransform:
        pretransform.pop("model_half", None)
    with text_encoder(case), contextlib.redirect_stdout(io.StringIO()):
        model = create_model_from_config(config).eval().float()
    state = model.state_dict()
    for key, value in state.items():
        if key.endswith(".initted"):  # else the codebooks would be initialised from the first input
            value.fill_(1)
    buffers = {k for k, _ in model.named_buffers()}
    case.arrays = {f"weights/{k}": narrow(v.numpy()) for k, v in state.items() if k.endswith(STORED)}
    # Norms without bias carry a buffer of zeros under a bias' name; a snake's beta is a parameter.
    case.zeros = {k: list(v.shape) for k, v in state.items() if k in buffers and k.endswith(".beta")}
    case.tensors = {k: list(v.shape) for k, v in state.items() if not (k in case.zeros or k.endswith(STORED))}
    weights = {k: torch.tensor(v) for k, v in case.weights().items()}
    model.load_state_dict({k: v.to(state[k].dtype).reshape(state[k].shape) for k, v in weights.items()}, strict=True)
    return model


@contextlib.contextmanager
def text_encoder(case: Case):
    """While active, ``from_pretrained`` gives the case's own small tokenizer and T5 encoder."""
    if not case.text:
        yield
        return

    def make_tokenizer(*_):
        fast = tokenizer.build(case.text["vocabulary"])
        special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        return transformers.PreTrainedTokenizerFast(tokenizer_object=fast, **special)

    def make_encoder(*_):
        encoder = transformers.T5EncoderModel(transformers.T5Config(**case.text["config"])).eval()
        state = {k: v for k, v in encoder.state_dict().items() if k != "encoder.embed_tokens.weight"}  # tied
        case.text["tensors"] = {k: list(v.shape) for k, v in state.items()}
        encoder.load_state_dict({k: torch.tensor(v) for k, v in case.text_weights().items()}, strict=False)
        encoder.half = encoder.to = lambda *_: encoder  # the conditioner would cast to float16
        return encoder

    saved = transformers.AutoTokenizer.from_pretrained, transformers.T5EncoderModel.from_pretrained
    transformers.AutoTokenizer.from_pretrained = make_tokenizer
    transformers.T5EncoderModel.from_pretrained = make_encoder
    dims = conditioners.T5Conditioner.T5_MODEL_DIMS
    conditioners.T5Conditioner.T5_MODEL_DIMS = dict.fromkeys(dims, case.text["config"].get("d_model"))
    try:
        yield
    finally:
        transformers.AutoTokenizer.from_pretrained, transformers.T5EncoderModel.from_pretrained = saved
        conditioners.T5Conditioner.T5_MODEL_DIMS = dims


# ---- noise


class Tape:
    """While active, torch.randn and randn_like (and the SDE samplers' noise) read from a list, then give zeros."""

    def __init__(self, *noises):
        self.noises = [torch.tensor(n) for n in noises if n is not None]

    def next(self, shape) -> torch.Tensor:
        if not self.noises:
            return torch.zeros(shape)
        noise = self.noises.pop(0)
        assert tuple(noise.shape) == tuple(shape), (noise.shape, shape)
        return noise

    def __enter__(self):
        self.saved = torch.randn, torch.randn_like, k_diffusion.sampling.BrownianTreeNoiseSampler
        torch.randn = lambda *shape, **_: self.next(shape[0] if isinstance(shape[0], list | tuple) else shape)
        torch.randn_like = lambda x: self.next(x.shape)
        k_diffusion.sampling.BrownianTreeNoiseSampler = lambda x, *_, **__: lambda *_: self.next(x.shape)
        return self

    def __exit__(self, *_):
        torch.randn, torch.randn_like, k_diffusion.sampling.BrownianTreeNoiseSampler = self.saved


# ---- runs


@torch.no_grad()
def answer(case: Case, model: torch.nn.Module, run: dict) -> dict:
    arguments = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in case.arguments(run).items()}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return globals()[run["kind"]](case, model, **arguments)


def clip_batch(model, audio) -> torch.Tensor:
    """A tensor as it is, or a list of clips, brought to the model's channels and padded to whole latents."""
    clips = audio if isinstance(audio, list) else list(audio)
    clips = [torch.as_tensor(c) for c in clips]
    return model.preprocess_audio_list_for_encoder(clips, model.sample_rate)


def encode(case, model, audio, noise=None, **chunks) -> dict:
    with Tape(noise):
        return {"latents": model.encode_audio(clip_batch(model, audio), **chunks)}


def decode(case, model, latents, noise=None, **chunks) -> dict:
    with Tape(noise):
        return {"audio": model.decode_audio(latents, **chunks)}


def roundtrip(case, model, audio) -> dict:
    latents = encode(case, model, audio)["latents"]
    return {"latents": latents, "audio": model.decode(latents)}


def codes(case, model, audio) -> dict:
    """Codes (B, n, T); refuses inputs on which a rounding error could change a code."""
    batch = clip_batch(model, audio)
    found = []
    for scale in (1.0, 1 + 1e-5, 1 - 1e-5):
        with Tape():
            latents, info = model.encode(batch * scale, return_info=True)
        found.append(info.get("codes", info.get("quantizer_indices")))
    assert all((f == found[0]).all() for f in found), f"{case.name}: a code sits on a boundary, choose another name"
    first = found[0]
    with Tape():
        latents = model.encode(batch)
    return {"codes": first if first.shape[-1] == latents.shape[-1] else first.transpose(1, 2), "latents": latents}


def decode_codes(case, model, codes) -> dict:
    codes = codes.long()
    if channels_first(model):
        latents = model.bottleneck.decode_tokens(codes)
    else:  # rvq's own decode_tokens calls a method that its package does not have
        quantizer = model.bottleneck.quantizer
        lookup = getattr(quantizer, "get_output_from_indices", None) or quantizer.indices_to_codes
        latents = lookup(codes.transpose(1, 2)).transpose(1, 2)
    return {"audio": model.decode(latents, skip_bottleneck=True)}


def channels_first(model) -> bool:
    return type(model.bottleneck).__name__.startswith("DACRVQ")


def velocity(case, model, x, t, **conditions) -> dict:
    """One evaluation of the transformer; conditions are named as in its ``forward``."""
    network = getattr(model.model, "model", model.model)
    if "prepend_cond" in conditions:
        conditions["prepend_cond_mask"] = torch.ones(conditions["prepend_cond"].shape[:2])
    return {"v": network(x, t, **conditions)}


def conditioner(case, model, metadata) -> dict:
    """Every conditioner's tensor and mask."""
    result = {}
    for key, (value, mask) in model.conditioner(metadata, "cpu").items():
        result |= {key: value, f"{key}_mask": mask.float()}
    return result


def text(case, model, prompt, seconds, negative=False) -> dict:
    metadata = [{"prompt": p, "seconds_start": 0, "seconds_total": s} for p, s in zip(prompt, seconds, strict=True)]
    inputs = model.get_conditioning_inputs(model.conditioner(metadata, "cpu"))
    ids = model.conditioner.conditioners["prompt"].tokenizer(
        prompt,
        truncation=True,
        max_length=model.conditioner.conditioners["prompt"].max_length,
        padding="max_length",
        return_tensors="pt",
    )["input_ids"]
    names = {"cross_cond": "cross_attn_cond", "global_cond": "global_cond", "mask": "cross_attn_mask"}
    return {ours: inputs[theirs] * 1.0 for ours, theirs in names.items()} | {"token_ids": ids}


def generate(case, model, prompt="", seconds=0, noise=None, step_noise=None, negative_prompt=None, **kw):
    """A whole clip: latents, and the audio where the run asks for it."""
    if case.config["model_type"] == "diffusion_uncond":
        latents = sampling.sample(model, noise, kw["steps"], 0)
    else:
        metadata = [{"prompt": prompt, "seconds_start": 0, "seconds_total": seconds}] * len(noise)
        draws = [] if step_noise is None else list(step_noise.numpy())
        make, options, encoded = entry(case, model, kw)
        with Tape(noise.numpy(), *encoded, *draws):
            latents = make(
                model,
                steps=kw["steps"],
                cfg_scale=kw["cfg_scale"],
                conditioning=metadata,
                negative_conditioning=negative_prompt and [dict(m, prompt=negative_prompt) for m in metadata],
                batch_size=len(noise),
                sample_size=case.config["sample_size"],
                seed=1,
                device="cpu",
                return_latents=True,
                **options,
            )
    assert not torch.equal(latents, noise), "no step was taken"
    return {"latents": latents} | ({"audio": model.pretransform.decode(latents)} if kw.get("audio") else {})


def entry(case, model, kw: dict):
    """The function that makes a clip of this kind, its options, and the noise of each encoding: none."""
    size, rate = case.config["sample_size"], case.config["sample_rate"]
    options = {"sampler_type": kw["sampler"], "scale_phi": kw.get("cfg_rescale", 0.0)}
    options |= {"cfg_interval": kw.get("cfg_interval", (0, 1))}
    options |= {k: kw[k] for k in ("sigma_min", "sigma_max") if k in kw}
    if "init_audio" in kw:
        options |= {"init_audio": (rate, kw["init_audio"]), "init_noise_level": kw["init_noise_level"]}
    if "inpaint" in kw:
        keep = torch.ones(1, size)
        for start, end in kw["inpaint"]:
            keep[:, int(start * rate) : int(end * rate)] = 0
        options |= {"inpaint_audio": (rate, kw["inpaint_audio"]), "inpaint_mask": keep}
    encoded = [zero_latents(model, size)] * (("init_audio" in kw) + ("inpaint" in kw))
    inpaint = case.config["model_type"] == "diffusion_cond_inpaint"
    return (
        generation.generate_diffusion_cond_inpaint if inpaint else generation.generate_diffusion_cond,
        options,
        encoded,
    )


def zero_latents(model, size: int) -> np.ndarray:
    """What the variational bottleneck adds when it encodes a given sound: nothing."""
    return np.zeros((1, model.io_channels, size // model.pretransform.downsampling_ratio), np.float32)
