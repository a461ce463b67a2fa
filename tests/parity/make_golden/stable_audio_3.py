"""Golden cases of Stable Audio 3: its autoencoders, its transformer behind T5Gemma, its way of sampling."""

from tests.parity.case import Case

from .clips import VOCABULARY
from .codecs import audio, noise, run

PATCH, STRIDE = 8, 16
RATIO, RATE = PATCH * STRIDE, 512
FADED = ["to_timestep_embed.0.weight", "seconds_total.embedder.embedding.1.weight"]


def same(latent, width, encoder, decoder):
    """An autoencoder section; ``encoder`` and ``decoder``: what SAME-S and SAME-L say differently."""
    common = {"channels": width // 5, "c_mults": [5], "strides": [STRIDE], "latent_dim": latent, "dim_heads": 20}
    common |= {"differential": True, "variable_stride": True}
    packed = 2 * PATCH
    return {
        "encoder": {"type": "taae_v2", "config": common | {"in_channels": packed} | encoder},
        "decoder": {"type": "taae_v2", "config": common | {"out_channels": packed} | decoder},
        "bottleneck": {
            "type": "softnorm",
            "config": {
                "dim": latent,
                "auto_scale": True,
                "freeze": True,
                "noise_augment_dim": 0,
                "noise_regularize": True,
            },
        },
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": PATCH}},
        "latent_dim": latent,
        "downsampling_ratio": RATIO,
        "io_channels": 2,
    }


def small_codec(latent=9, width=40):
    """SAME-S: chunks of two latents, shifted by one halfway."""
    chunk = {"dyt": True, "chunk_size": 32, "chunk_midpoint_shift": True}
    encoder = chunk | {"transformer_depths": [3], "conv_mapping": False, "mask_noise": 0.0, "mapping_style": "none"}
    decoder = chunk | {"transformer_depths": [4], "conv_mapping": True, "mask_noise": 0.01, "sinusoidal_blocks": [0]}
    return same(latent, width, encoder, decoder)


def large_codec(latent=8, width=60):
    """SAME-L: banded attention, sinusoidal gates in the last blocks of the decoder."""
    band = {"sliding_window": [1, 1], "conformer": False, "layer_scale": False, "checkpointing": True}
    encoder = band | {"transformer_depths": [2], "mask_noise": 0.001}
    decoder = band | {"transformer_depths": [4], "mask_noise": 0.1, "sinusoidal_blocks": [3]}
    return same(latent, width, encoder, decoder)


def codecs():
    runs = [
        run("encode", "encode", audio=audio(2, 2, 10 * RATIO)),
        run("clips", "encode", audio=[audio(2, 5 * RATIO + 40), audio(1, 700)]),
        run("decode", "decode", latents=noise(1, 9, 8)),
        run("decode_odd", "decode", latents=noise(1, 9, 5)),
        run("decode_chunks", "decode", latents=noise(1, 9, 20), chunked=True, chunk_size=8, overlap=4),
    ]
    yield autoencoder("same_small", small_codec(), runs)
    runs = [
        run("encode", "encode", audio=audio(1, 2, 7 * RATIO)),
        run("decode", "decode", latents=noise(1, 8, 7)),
        run("decode_chunks", "decode", latents=noise(1, 8, 19), chunked=True, chunk_size=10, overlap=6),
    ]
    yield autoencoder("same_large", large_codec(), runs)


def autoencoder(name, section, runs):
    config = {"model_type": "autoencoder", "sample_size": 100 * RATIO, "sample_rate": RATE, "audio_channels": 2}
    return Case(name, config | {"model": section}, runs)


def t5gemma(width, heads):
    """A small T5Gemma config (its decoder half, never used, is as small as it gets)."""
    encoder = {
        "model_type": "t5_gemma_module",
        "vocab_size": 4 + len(VOCABULARY),
        "hidden_size": width,
        "intermediate_size": 52,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": 22,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "query_pre_attn_scalar": 22,
        "sliding_window": 4096,
        "attn_logit_softcapping": 15.0,
        "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "full_attention"],
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "is_decoder": False,
        "dropout_rate": 0.0,
    }
    decoder = encoder | {"num_hidden_layers": 1, "layer_types": ["sliding_attention"], "is_decoder": True}
    decoder |= {"cross_attention_hidden_size": width}
    head = {"model_type": "t5gemma", "architectures": ["T5GemmaForConditionalGeneration"], "is_encoder_decoder": True}
    return {
        "config": head | {"encoder": encoder, "decoder": decoder},
        "vocabulary": VOCABULARY,
        "folder": "t5gemma-b-b-ul2",
    }


def model(codec, objective, width, heads, cond, differential, name):
    latent = codec["latent_dim"]
    prompt = {"repo_id": f"stabilityai/{name}", "subfolder": "t5gemma-b-b-ul2", "max_length": 12}
    number = {"min_val": 0, "max_val": 384, "fourier_features_type": "expo"}
    transformer = {
        "io_channels": latent,
        "embed_dim": width,
        "depth": 2,
        "num_heads": heads,
        "cond_token_dim": cond,
        "global_cond_dim": cond,
        "global_cond_type": "adaLN",
        "local_add_cond_dim": latent + 1,
        "num_memory_tokens": 5,
        "norm_type": "rms_norm",
        "norm_kwargs": {"force_fp32": True},
        "attn_kwargs": {"qk_norm": "rms", "differential": differential},
        "ff_kwargs": {"mult": 3.0},
        "timestep_features_type": "expo",
    }
    section = {
        "pretransform": {"type": "autoencoder", "chunked": True, "iterate_batch": False, "config": codec},
        "conditioning": {
            "cond_dim": cond,
            "configs": [
                {"id": "prompt", "type": "t5gemma", "config": prompt | {"padding_mode": "learned"}},
                {"id": "seconds_total", "type": "number", "config": number},
            ],
        },
        "diffusion": {
            "type": "dit",
            "diffusion_objective": objective,
            "cross_attention_cond_ids": ["prompt", "seconds_total"],
            "global_cond_ids": ["seconds_total"],
            "local_add_cond_ids": ["inpaint_mask", "inpaint_masked_input"],
            "distribution_shift_options": {"type": "full", "min_length": 256, "max_length": 4096},
            "mask_padding_attention": True,
            "use_effective_length_for_schedule": True,
            "config": transformer,
        },
        "io_channels": latent,
    }
    head = {"model_type": "diffusion_cond_inpaint", "sample_size": 60 * RATIO, "sample_rate": RATE, "audio_channels": 2}
    return head | {"model": section}


def clip(name, sampler, steps, cfg=1.0, *, latent, total=36, batch=1, draws=0, seconds=3.0, **options):
    """``total``: latents that the reference samples, the clip with six seconds of headroom, made even."""
    args = {"prompt": "rain on a roof", "seconds": seconds, "steps": steps, "cfg_scale": cfg, "sampler": sampler}
    args["noise"] = noise(batch, latent, total)
    if draws:
        args["step_noise"] = noise(draws, batch, latent, total)
    return run(name, "generate", **args | options)


def small_clips():
    """Post-trained: ping-pong, no guidance; ragged lengths, inpainting, variation."""
    codec = small_codec()
    config = model(codec, "rf_denoiser", 96, 2, 44, False, "stable-audio-3-small-music")
    source = audio(2, 3 * RATE)
    words = ["warm pad", "", "Rain on a roof ③ ünd more words than there is room for"]
    runs = [
        run("text", "text", prompt=words, seconds=[3, 10.5, 900]),
        clip("pingpong", "pingpong", 5, latent=9, draws=5, audio=True),
        clip("odd_length", "pingpong", 4, latent=9, draws=4, seconds=2.7, audio=True),
        clip("empty", "pingpong", 3, latent=9, draws=3, prompt=""),
        clip("ragged", "pingpong", 4, latent=9, batch=2, draws=4, seconds=[3.0, 1.2], prompt=["warm pad", "kick drum"]),
        clip("inpaint", "pingpong", 4, latent=9, draws=4, inpaint=[[0.4, 0.9], [1.6, 2.3]], inpaint_audio=source),
        clip("variation", "pingpong", 4, latent=9, draws=4, init_audio=source, init_noise_level=0.6),
    ]
    yield Case("clips_sa3_small", config, runs, text=t5gemma(44, 2), faded=FADED)


def medium_clips():
    """Base model, differential attention: Euler and guidance in all its forms, the other solvers."""
    codec = large_codec()
    config = model(codec, "rectified_flow", 128, 2, 48, True, "stable-audio-3-medium-base")
    size = {"latent": 8}
    several = {"seconds": [1.1, 3.0], "prompt": ["rain", "warm pad"], "negative_prompt": ["kick drum", "club"]}
    runs = [
        clip("euler", "euler", 6, **size, audio=True),
        clip("apg", "euler", 5, 5.0, **size, apg_scale=1.0),
        clip("plain_guidance", "euler", 5, 4.0, **size, apg_scale=0.0, negative_prompt="kick drum"),
        clip("half_apg_interval", "euler", 6, 4.0, **size, apg_scale=0.4, cfg_interval=[0.2, 0.98]),
        clip("rescale", "euler", 5, 6.0, **size, apg_scale=0.0, cfg_rescale=0.7),
        clip("norm_threshold", "euler", 5, 5.0, **size, apg_scale=0.3, cfg_norm_threshold=4.0),
        clip("cropped", "euler", 5, 3.0, **size, seconds=2.7),
        clip("continuation", "euler", 4, 2.0, **size, inpaint=[[1.25, 3.0]], inpaint_audio=audio(2, 3 * RATE)),
        clip("dpmpp", "dpmpp", 6, 2.0, **size),
        clip("rk4", "rk4", 3, **size),
        clip("variation", "dpmpp", 5, **size, init_audio=audio(2, 3 * RATE), init_noise_level=0.8),
        clip("ragged", "dpmpp", 4, 3.0, **size, batch=2, apg_scale=1.0, **several),
    ]
    yield Case("clips_sa3_medium", config, runs, text=t5gemma(48, 3), faded=FADED)


def mixed_clips():
    """A base model on a schedule that depends on the length; given sounds in every combination."""
    config = model(small_codec(7, 60), "rectified_flow", 64, 2, 36, False, "stable-audio-3-small-music-base")
    config["model"]["diffusion"]["sampling_distribution_shift_options"] = {
        "type": "full", "min_length": 8, "max_length": 40, "base_shift": 0.2, "max_shift": 2.0, "use_sine": True
    }  # fmt: skip
    size = {"latent": 7}
    whole, short = audio(2, 3 * RATE), audio(2, int(1.4 * RATE))
    ranges, varied = [[0, 0.3], [0.8, 1.3], [2.2, 9.0]], {"init_audio": short, "init_noise_level": 0.75}
    runs = [
        clip("shift", "euler", 5, **size, audio=True),
        clip("shorter", "rk4", 3, **size, seconds=1.3, total=30),
        clip("shorter_guided", "dpmpp", 4, 2.5, **size, seconds=0.8, total=28),
        clip("ranges", "euler", 4, 3.0, **size, inpaint=ranges, inpaint_audio=whole, negative_prompt="kick drum"),
        clip("extended", "dpmpp", 4, **size, inpaint=[[1.4, 3.0]], inpaint_audio=short),
        clip("varied_and_kept", "euler", 5, 2.0, **size, inpaint=[[0.7, 2.0]], inpaint_audio=whole, **varied),
    ]
    yield Case("clips_sa3_mixed", config, runs, text=t5gemma(36, 2), faded=FADED)


def cases():
    yield from codecs()
    yield from small_clips()
    yield from medium_clips()
    yield from mixed_clips()
