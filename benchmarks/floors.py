"""The floor of each phase: operations of one forward pass, counted from the config, over a measured matmul rate.

Only matrix products, convolutions and attention count, two operations per multiply-add; what does not change between
steps (conditioning, keys and values of the cross-attention) is left out, as no step needs to compute it.
"""

import math
import time

import mlx.core as mx


def matmul_rate(size: int = 2048, repeats: int = 5) -> tuple[float, float]:
    """Operations per wall second and per CPU-second of float32 matrix products here, the best of a few."""
    a = mx.random.normal((size, size), key=mx.random.key(0))
    mx.eval(a @ a)
    wall, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        mx.eval(a @ a)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return 2 * size**3 / min(wall), 2 * size**3 / max(min(cpu), 1e-9)


def text_operations(config: dict, tokens: int) -> float | None:
    """One prompt of ``tokens`` tokens through a T5 encoder of the given Hugging Face config."""
    if "d_kv" not in config:
        return None
    width, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    gates = 3 if str(config.get("feed_forward_proj", "relu")).startswith("gated") else 2
    products = 4 * width * inner + gates * width * config["d_ff"]
    return config["num_layers"] * (2 * tokens * products + 4 * tokens**2 * inner)


def step_operations(config: dict, frames: int, batch: int = 1) -> float | None:
    """One forward pass of the diffusion transformer over ``frames`` latent frames.

    Per layer and position 18 d^2 weights: 4 in self-attention, 2 in cross-attention (keys and values are cached) and
    12 in the gated feed-forward; scores and mixing cost 4 d per pair of positions.
    """
    model = config["model"]
    dit = model.get("diffusion", {}).get("config")
    if dit is None or "embed_dim" not in dit or dit.get("attn_kwargs", {}).get("differential"):
        return None
    width, channels, patch = dit["embed_dim"], dit["io_channels"], dit.get("patch_size", 1)
    prepended = int(dit.get("global_cond_type", "prepend") == "prepend") + dit.get("num_memory_tokens", 0)
    positions, context = frames // patch + prepended, context_tokens(config)
    cross = 2 if context else 0
    layer = 2 * positions * (16 + cross) * width**2 + 4 * width * (positions**2 + positions * context)
    ends = 2 * frames * (2 * channels * width + 2 * channels**2) + 2 * (256 * width + width**2)
    return batch * (dit["depth"] * layer + ends)


def context_tokens(config: dict) -> int:
    """Tokens that the cross-attention sees: padded text and one per other condition."""
    sections = {section["id"]: section for section in config["model"].get("conditioning", {}).get("configs", ())}
    names = config["model"].get("diffusion", {}).get("cross_attention_cond_ids", ())
    return sum(sections[name]["config"].get("max_length", 1) for name in names)


def decode_operations(config: dict, frames: int) -> float | None:
    """``frames`` latent frames through an Oobleck decoder: every output of an upsampling sees two of its taps."""
    decoder = config["model"].get("pretransform", {}).get("config", {}).get("decoder") or config["model"].get("decoder")
    if decoder is None or decoder["type"] != "oobleck":
        return None
    section = decoder["config"]
    widths = [m * section["channels"] for m in (1, *section["c_mults"])]
    length, total = frames, 2 * frames * section["latent_dim"] * widths[-1] * 7
    for inputs, outputs, stride in zip(widths[:0:-1], widths[-2::-1], section["strides"][::-1], strict=True):
        length *= stride
        total += 2 * length * inputs * outputs * 2 + 3 * 2 * length * outputs**2 * (7 + 1)
    return total + 2 * length * widths[0] * section.get("out_channels", 2) * 7


def latent_frames(config: dict) -> int:
    """Frames of the window that a latent diffusion model samples."""
    return math.ceil(config["sample_size"] / config["model"]["pretransform"]["config"]["downsampling_ratio"])
