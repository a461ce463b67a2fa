"""Golden cases of conditioners, text encoders, samplers, guidance and whole clips."""

from tests.parity.case import Case

from .codecs import audio, noise, oobleck, run

WORDS = ["▁warm", "▁pad", "▁rain", "▁on", "▁a", "▁roof", "ing", "s", "▁kick", "er", "▁drum", "▁no"]
VOCABULARY = WORDS + ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789.,-"]


def t5(width, **options):
    """A small T5 encoder's Hugging Face config and its tokenizer's pieces."""
    config = {"model_type": "t5", "architectures": ["T5EncoderModel"], "d_model": width, "d_kv": 7, "d_ff": 22}
    config |= {"num_layers": 2, "num_heads": 3, "vocab_size": 3 + len(VOCABULARY), "pad_token_id": 0, "eos_token_id": 1}
    config |= {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6}
    return {"config": config | {"feed_forward_proj": "relu"} | options, "vocabulary": VOCABULARY}


def prompt(length, name="t5-base"):
    return {"id": "prompt", "type": "t5", "config": {"t5_model_name": name, "max_length": length}}


def seconds(key, maximum):
    return {"id": key, "type": "number", "config": {"min_val": 0, "max_val": maximum}}


def model(conditioners, width, transformer, *, autoencoder, rate, size, cross, pooled, objective=None):
    channels = autoencoder["latent_dim"]
    diffusion = {"cross_attention_cond_ids": cross, "global_cond_ids": pooled}
    diffusion |= {"diffusion_objective": objective} if objective else {}
    network = {"io_channels": channels, "cond_token_dim": width, "global_cond_dim": width * len(pooled), **transformer}
    section = {
        "pretransform": {"type": "autoencoder", "iterate_batch": True, "config": autoencoder},
        "conditioning": {"configs": conditioners, "cond_dim": width},
        "diffusion": diffusion | {"type": "dit", "config": network},
        "io_channels": channels,
    }
    channels = autoencoder["io_channels"]
    head = {"model_type": "diffusion_cond", "sample_size": size, "sample_rate": rate, "audio_channels": channels}
    return head | {"model": section}


# ---- conditioners


def texts():
    """Prompts that need truncation, padding, an unknown letter; the empty prompt; seconds beyond the range."""
    autoencoder = oobleck(3, channels=2, mults=(1,), strides=(4,), audio=1)
    arguments = {
        "prompt": ["warm pad, 96 bpm", "", "Rain on a roof ③ ünd more words than the table has room for"],
        "seconds": [12, 7.5, 4000],
    }
    for name, encoder, t5_name in (
        ("text_t5", t5(768), "t5-base"),
        ("text_t5_gated", t5(512, feed_forward_proj="gated-gelu", num_layers=3), "google/flan-t5-small"),
    ):
        config = model(
            [prompt(15, t5_name), seconds("seconds_start", 300), seconds("seconds_total", 300)],
            40,
            {"embed_dim": 64, "depth": 1, "num_heads": 2},
            autoencoder=autoencoder,
            rate=8,
            size=96,
            cross=["prompt", "seconds_start", "seconds_total"],
            pooled=["seconds_start", "seconds_total"],
        )
        yield Case(name, config, [run("text", "text", **arguments)], text=encoder)


def tables():
    """Everything that is embedded by a table or a range."""
    conditioners = [
        {"id": "bars", "type": "number", "config": {"min_val": -4, "max_val": 12}},
        {"id": "tempo", "type": "int", "config": {"min_val": 0, "max_val": 30}},
        {"id": "genre", "type": "list", "config": {"options": ["house", "techno", "ambient"]}},
        {
            "id": "tags",
            "type": "lut",
            "config": {"tokenizer_name": "t5-base", "max_length": 9, "use_abs_pos_emb": True},
        },
        {"id": "mood", "type": "lut", "config": {"tokenizer_name": "t5-base", "max_length": 6, "project_out": True}},
    ]
    ids = [c["id"] for c in conditioners]
    config = model(
        conditioners,
        20,
        {"embed_dim": 64, "depth": 1, "num_heads": 2},
        autoencoder=oobleck(3, channels=2, mults=(1,), strides=(4,), audio=1),
        rate=8,
        size=96,
        cross=ids,
        pooled=["bars", "genre"],
    )
    metadata = [
        {"bars": 3.25, "tempo": 17, "genre": "techno", "tags": "warm drums", "mood": "no rain"},
        {"bars": 99, "tempo": 31, "genre": "polka", "tags": "", "mood": "a roof, a pad and a kicker"},
        {"bars": -7, "tempo": -2, "genre": "ambient", "tags": "kicking on a roof raining 123", "mood": "z"},
    ]
    yield Case("conditioners", config, [run("tables", "conditioner", metadata=metadata)], text=t5(768))


# ---- samplers and whole clips


def clip(name, sampler, steps, cfg=1.0, *, shape, draws=0, seconds=9, **options):
    """A run of ``generate``; with ``audio=True`` the decoded samples are recorded too."""
    args = {"prompt": "rain on a roof", "seconds": seconds, "steps": steps, "cfg_scale": cfg, "sampler": sampler}
    args["noise"] = noise(*shape)
    if draws:
        args["step_noise"] = noise(draws, *shape)
    return run(name, "generate", **args, **options)


def flow_clips():
    """stable-audio-open-small in small: rectified flow, qk norm, one number; every flow sampler and way of guiding."""
    autoencoder = oobleck(5, encoded=10, strides=(2, 4), mults=(1, 2), channels=4, bottleneck={"type": "vae"})
    config = model(
        [prompt(11), seconds("seconds_total", 60)],
        768,
        {"embed_dim": 72, "depth": 2, "num_heads": 2, "attn_kwargs": {"qk_norm": "ln"}},
        autoencoder=autoencoder,
        rate=16,
        size=168,
        cross=["prompt", "seconds_total"],
        pooled=["seconds_total"],
        objective="rf_denoiser",
    )
    one, two = (1, 5, 21), (2, 5, 21)
    init = audio(2, 150)
    runs = [
        clip("euler", "euler", 7, shape=two),
        clip("euler_cfg", "euler", 5, 4.0, shape=one, audio=True),
        clip("euler_negative", "euler", 6, 3.0, shape=one, negative_prompt="kick drum"),
        clip("euler_rescale", "euler", 5, 5.0, shape=one, cfg_rescale=0.7),
        clip("euler_interval", "euler", 8, 5.0, shape=one, cfg_interval=[0.3, 0.96]),
        clip("euler_variation", "euler", 6, 2.0, shape=one, init_audio=init, init_noise_level=0.65),
        clip("rk4", "rk4", 4, 2.5, shape=one),
        clip("rk4_variation", "rk4", 3, shape=one, init_audio=init, init_noise_level=0.8),
        clip("dpmpp", "dpmpp", 7, shape=one),
        clip("dpmpp_cfg", "dpmpp", 6, 3.0, shape=two),
        clip("dpmpp_variation", "dpmpp", 5, shape=one, init_audio=init, init_noise_level=0.5),
        clip("pingpong", "pingpong", 8, shape=two, draws=8, audio=True),
        clip("pingpong_cfg", "pingpong", 5, 2.0, shape=one, draws=5, negative_prompt="no pad"),
        clip("pingpong_variation", "pingpong", 4, shape=one, draws=4, init_audio=audio(1, 200), init_noise_level=0.7),
    ]
    yield Case("clips_flow", config, runs, text=t5(768))


def velocity_clips():
    """stable-audio-open-1.0 in small: v objective, grouped queries, two numbers; every sampler of the family."""
    autoencoder = oobleck(4, encoded=8, strides=(4, 2), mults=(1, 2), channels=4, bottleneck={"type": "vae"})
    config = model(
        [prompt(13), seconds("seconds_start", 200), seconds("seconds_total", 200)],
        48,
        {"embed_dim": 144, "depth": 2, "num_heads": 3, "project_cond_tokens": False},
        autoencoder=autoencoder,
        rate=16,
        size=144,
        cross=["prompt", "seconds_start", "seconds_total"],
        pooled=["seconds_start", "seconds_total"],
    )
    one, two = (1, 4, 18), (2, 4, 18)
    card = {"sigma_min": 0.3, "sigma_max": 500}
    near = {"sigma_min": 0.05, "sigma_max": 20}
    runs = [
        clip("dpmpp_3m_sde", "dpmpp-3m-sde", 9, 7.0, shape=one, draws=8, audio=True, **card),
        clip("dpmpp_3m_sde_batch", "dpmpp-3m-sde", 6, shape=two, draws=5, **near),
        clip("dpmpp_2m_sde", "dpmpp-2m-sde", 7, 4.0, shape=one, draws=6, **card),
        clip("dpmpp_2m", "dpmpp-2m", 8, 6.0, shape=one, negative_prompt="kick drum", **card),
        clip("dpmpp_2m_rescale", "dpmpp-2m", 6, 6.0, shape=one, cfg_rescale=0.5, cfg_interval=[0.2, 0.99], **near),
        clip("ancestral", "k-dpmpp-2s-ancestral", 6, 3.0, shape=one, draws=5, **card),
        clip("heun", "k-heun", 5, shape=one, **near),
        clip("dpm_2", "k-dpm-2", 5, 4.0, shape=one, **card),
        clip("lms", "k-lms", 8, 2.0, shape=one, **near),
        clip("dpm_fast", "k-dpm-fast", 8, 3.0, shape=one, **near),
        clip("dpm_fast_7", "k-dpm-fast", 7, shape=one, **card),
        clip("dpm_adaptive", "k-dpm-adaptive", 10, 2.0, shape=one, **near),
        clip("v_ddim", "v-ddim", 7, 5.0, shape=one, **card),
        clip("v_ddim_cfgpp", "v-ddim-cfgpp", 7, 2.5, shape=one, **card),
        clip(
            "variation",
            "dpmpp-2m",
            6,
            3.0,
            shape=one,
            sigma_min=0.3,
            init_audio=audio(2, 120),
            init_noise_level=4.0,
            audio=True,
        ),
        clip("ddim_variation", "v-ddim", 5, shape=one, init_audio=audio(2, 144), init_noise_level=0.6),
    ]
    yield Case("clips_v", config, runs, text=t5(768))


def inpainting():
    """A model that reads the kept part beside the noise: ranges, continuation, nothing kept."""
    autoencoder = oobleck(4, encoded=8, strides=(4, 2), mults=(1, 2), channels=4, bottleneck={"type": "vae"})
    config = model(
        [prompt(9), seconds("seconds_total", 60)],
        768,
        {"embed_dim": 64, "depth": 2, "num_heads": 2, "input_concat_dim": 5, "global_cond_type": "adaLN"},
        autoencoder=autoencoder,
        rate=16,
        size=160,
        cross=["prompt", "seconds_total"],
        pooled=["seconds_total"],
        objective="rectified_flow",
    )
    config["model_type"] = "diffusion_cond_inpaint"
    config["model"]["diffusion"]["input_concat_ids"] = ["inpaint_mask", "inpaint_masked_input"]
    size, sound = (1, 4, 20), audio(2, 160)
    runs = [
        clip("nothing_kept", "euler", 4, shape=size, seconds=10),
        clip("ranges", "euler", 5, 2.0, shape=size, seconds=10, inpaint=[[1.3, 3.0], [6.2, 8.9]], inpaint_audio=sound),
        clip("continued", "dpmpp", 4, shape=size, seconds=10, inpaint=[[4.4, 10]], inpaint_audio=audio(1, 70)),
    ]
    yield Case("clips_inpaint", config, runs, text=t5(768))


def shifted_clips():
    """A model whose time is shifted with the clip's length; rk4 alone follows it."""
    config = model(
        [seconds("seconds_total", 60)],
        32,
        {"embed_dim": 64, "depth": 1, "num_heads": 2},
        autoencoder=oobleck(4, channels=3, mults=(1,), strides=(8,), audio=1),
        rate=16,
        size=160,
        cross=["seconds_total"],
        pooled=["seconds_total"],
        objective="rectified_flow",
    )
    shift = {"base_shift": 0.4, "max_shift": 1.3, "min_length": 8, "max_length": 64}
    config["model"]["diffusion"]["distribution_shift_options"] = shift
    size = (1, 4, 20)
    runs = [clip("rk4", "rk4", 5, shape=size), clip("euler", "euler", 4, 2.0, shape=size)]
    yield Case("clips_shifted", config, runs)


def unconditional_clips():
    autoencoder = oobleck(4, channels=3, mults=(1,), strides=(8,), audio=1)
    network = {"in_channels": 4, "embed_dim": 64, "depth": 2, "num_heads": 2}
    section = {"type": "dit", "config": network, "pretransform": {"type": "autoencoder", "config": autoencoder}}
    head = {"model_type": "diffusion_uncond", "sample_size": 160, "sample_rate": 16, "audio_channels": 1}
    yield Case(
        "clips_unconditional", head | {"model": section}, [clip("v_ddim", "v-ddim", 6, shape=(2, 4, 20), audio=True)]
    )


def cases():
    yield from texts()
    yield from tables()
    yield from flow_clips()
    yield from velocity_clips()
    yield from inpainting()
    yield from shifted_clips()
    yield from unconditional_clips()
