"""Golden cases of the autoencoders: every network, every bottleneck."""

from tests.parity.case import Case

RATE = 6000


def oobleck(
    latent, *, channels=3, mults=(1, 3), strides=(2, 6), audio=2, encoded=None, encoder=None, decoder=None, **model
):
    """A model section; ``encoded``: channels before the bottleneck."""
    shape = {"channels": channels, "c_mults": list(mults), "strides": list(strides)}
    snake = {"use_snake": True}
    ratio = 1
    for s in strides:
        ratio *= s
    ins, outs = model.get("in_channels", audio), model.get("out_channels", audio)
    return {
        "encoder": {
            "type": "oobleck",
            "config": {"in_channels": ins, "latent_dim": encoded or latent}
            | shape
            | (snake if encoder is None else encoder),
        },
        "decoder": {
            "type": "oobleck",
            "config": {"out_channels": outs, "latent_dim": latent}
            | shape
            | (snake | {"final_tanh": False} if decoder is None else decoder),
            **model.pop("decoder_options", {}),
        },
        "latent_dim": latent,
        "downsampling_ratio": ratio,
        "io_channels": audio,
        **model,
    }


def tiny(latent, bottleneck, encoded=None, **config):
    """The smallest network around a bottleneck: one block, mono."""
    section = oobleck(latent, channels=4, mults=(2,), strides=(4,), audio=1, encoded=encoded)
    return section | {"bottleneck": {"type": bottleneck} | ({"config": config} if config else {})}


def codec(name, model, *runs):
    config = {
        "model_type": "autoencoder",
        "sample_size": 4800,
        "sample_rate": RATE,
        "audio_channels": model["io_channels"],
        "model": model,
    }
    return Case(name, config, list(runs))


def run(name, kind, **args):
    return {"name": name, "kind": kind, "args": args}


def audio(*shape):
    return {"normal": list(shape), "scale": 0.4}


def noise(*shape):
    return {"normal": list(shape)}


VAE = {"bottleneck": {"type": "vae"}}


def networks():
    yield codec(
        "oobleck_stereo",
        oobleck(5, encoded=10, **VAE),
        run("encode", "encode", audio=audio(2, 2, 252)),
        run("sampled", "encode", audio=audio(1, 2, 96), noise=noise(1, 5, 8)),
        run("clips", "encode", audio=[audio(2, 151), audio(1, 83)]),
        run("decode", "decode", latents=noise(2, 5, 13)),
        run("one_latent", "decode", latents=noise(1, 5, 1)),
        run("decode_chunks", "decode", latents=noise(1, 5, 29), chunked=True, chunk_size=10, overlap=4),
        run("encode_chunks", "encode", audio=audio(1, 2, 300), chunked=True, chunk_size=11, overlap=4),
        run("decode_covered", "decode", latents=noise(1, 5, 61), chunked=True, chunk_size=44, overlap=30),
    )
    yield codec(
        "oobleck_mono_elu_tanh",
        oobleck(4, encoded=8, audio=1, strides=(4, 2), mults=(1, 2), channels=5, encoder={}, decoder={}, **VAE),
        run("encode", "encode", audio=audio(1, 1, 120)),
        run("decode", "decode", latents=noise(2, 4, 11)),
        run("roundtrip", "roundtrip", audio=audio(1, 1, 88)),
    )
    yield codec(
        "oobleck_odd_strides",
        oobleck(4, encoded=8, strides=(3, 5), mults=(1, 2), **VAE),
        run("encode", "encode", audio=audio(1, 2, 210)),
        run("decode", "decode", latents=noise(1, 4, 17)),
    )
    nearest = {"use_snake": True, "use_nearest_upsample": True, "final_tanh": False}
    yield codec(
        "oobleck_nearest_soft_clip",
        oobleck(4, encoded=8, decoder=nearest, decoder_options={"soft_clip": True}, **VAE),
        run("decode", "decode", latents=noise(2, 4, 9)),
    )
    smooth = {"use_snake": True, "antialias_activation": True}
    yield codec(
        "oobleck_antialias",
        oobleck(4, encoded=8, encoder=smooth, decoder=smooth | {"final_tanh": False}, **VAE),
        run("encode", "encode", audio=audio(1, 2, 144)),
        run("decode", "decode", latents=noise(1, 4, 12)),
    )
    yield codec(
        "oobleck_mono_to_stereo",
        oobleck(6, mults=(1, 2), strides=(2, 4), in_channels=1, out_channels=2),
        run("encode", "encode", audio=audio(2, 1, 104)),
        run("decode", "decode", latents=noise(1, 6, 10)),
    )
    dac = {
        "encoder": {"type": "dac", "config": {"in_channels": 2, "latent_dim": 12, "d_model": 3, "strides": [2, 3, 4]}},
        "decoder": {
            "type": "dac",
            "config": {"out_channels": 2, "latent_dim": 6, "channels": 24, "rates": [4, 3, 2]},
        },
        "bottleneck": {"type": "vae"},
        "latent_dim": 6,
        "downsampling_ratio": 24,
        "io_channels": 2,
    }
    yield codec(
        "dac_stereo",
        dac,
        run("encode", "encode", audio=audio(1, 2, 240)),
        run("decode", "decode", latents=noise(2, 6, 7)),
    )


def quantisers():
    dac = {
        "encoder": {"type": "dac", "config": {"d_model": 4, "strides": [4, 2]}},
        "decoder": {"type": "dac", "config": {"latent_dim": 16, "channels": 12, "rates": [2, 4]}},
        "bottleneck": {
            "type": "dac_rvq",
            "config": {"input_dim": 16, "n_codebooks": 5, "codebook_size": 20, "codebook_dim": 6},
        },
        "latent_dim": 16,
        "downsampling_ratio": 8,
        "io_channels": 1,
    }
    yield codec(
        "dac_rvq",
        dac,
        run("codes", "codes", audio=audio(2, 1, 136)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 5, 11], "high": 20}),
        run("decode", "decode", latents=noise(1, 16, 6)),
    )
    sizes = {"input_dim": 6, "n_codebooks": 4, "codebook_size": 12, "codebook_dim": [3, 4, 5, 4]}
    yield codec(
        "dac_rvq_dims",
        tiny(6, "dac_rvq", **sizes),
        run("codes", "codes", audio=audio(1, 1, 96)),
        run("decode_codes", "decode_codes", codes={"integers": [2, 4, 7], "high": 12}),
    )
    yield codec(
        "dac_rvq_vae",
        tiny(6, "dac_rvq_vae", encoded=12, **(sizes | {"codebook_dim": 4})),
        run("codes", "codes", audio=audio(1, 1, 108)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 4, 9], "high": 12}),
    )
    vq = {"dim": 6, "codebook_size": 14, "num_quantizers": 3}
    yield codec(
        "rvq",
        tiny(6, "rvq", **vq),
        run("codes", "codes", audio=audio(2, 1, 100)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 3, 8], "high": 14}),
    )
    yield codec(
        "rvq_vae",
        tiny(6, "rvq_vae", encoded=12, **vq),
        run("codes", "codes", audio=audio(1, 1, 92)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 3, 6], "high": 14}),
    )
    yield codec(
        "fsq",
        tiny(6, "fsq", levels=[5, 4, 7], num_codebooks=2, dim=6),
        run("codes", "codes", audio=audio(1, 1, 100)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 2, 8], "high": 140}),
    )
    yield codec(
        "dithered_fsq",
        tiny(4, "dithered_fsq", dim=4, levels=[5, 4, 3, 6]),
        run("codes", "codes", audio=audio(1, 1, 104)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 1, 9], "high": 360}),
    )
    yield codec(
        "dithered_fsq_books",
        tiny(6, "dithered_fsq", dim=3, levels=9, num_codebooks=2),
        run("codes", "codes", audio=audio(1, 1, 88)),
        run("decode_codes", "decode_codes", codes={"integers": [1, 2, 7], "high": 729}),
    )


def continuous():
    pair = (run("encode", "encode", audio=audio(1, 1, 88)), run("decode", "decode", latents=noise(1, 5, 8)))
    yield codec("tanh", tiny(5, "tanh", scale=1.7), *pair)
    yield codec("l2_norm", tiny(5, "l2_norm"), *pair)
    yield codec("wasserstein", tiny(5, "wasserstein", use_tanh=True, tanh_scale=2.0), *pair)
    noisy = tiny(5, "wasserstein", noise_augment_dim=3)
    noisy["decoder"]["config"]["latent_dim"] = 8
    yield codec(
        "wasserstein_noise",
        noisy,
        run("decode", "decode", latents=noise(1, 5, 8), noise=noise(1, 3, 8)),
        run("quiet", "decode", latents=noise(1, 5, 9)),
    )
    patched = oobleck(5, encoded=10, audio=2, strides=(2, 3), mults=(1, 2), **VAE)
    patched |= {
        "pretransform": {"type": "patched", "config": {"channels": 2, "patch_size": 4}},
        "downsampling_ratio": 24,
    }
    patched["encoder"]["config"]["in_channels"] = patched["decoder"]["config"]["out_channels"] = 8
    yield codec(
        "patched",
        patched,
        run("encode", "encode", audio=audio(1, 2, 192)),
        run("decode", "decode", latents=noise(2, 5, 6)),
    )


def cases():
    yield from networks()
    yield from quantisers()
    yield from continuous()
