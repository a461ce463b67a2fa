"""Golden cases of the diffusion transformer: one evaluation for each family of options."""

from tests.parity.case import Case

from .codecs import noise, run

RATE = 6000
SECONDS = {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 90}}


def dit(name, *, channels=5, width=64, heads=2, depth=2, cross=48, pooled=None, ids=None, objective="v", **options):
    """A conditional model with one number conditioner; ``cross``, ``pooled``: widths of its two kinds of conditions."""
    pooled = cross if pooled is None else pooled
    config = {"io_channels": channels, "embed_dim": width, "depth": depth, "num_heads": heads}
    config |= {
        "cond_token_dim": cross,
        "global_cond_dim": pooled,
        "transformer_type": "continuous_transformer",
        **options,
    }
    diffusion = {"type": "dit", "diffusion_objective": objective, "config": config}
    diffusion |= {"cross_attention_cond_ids": ["seconds_total"] if cross else [], **(ids or {})}
    diffusion |= {"global_cond_ids": ["seconds_total"] if pooled else []}
    model = {
        "io_channels": channels,
        "diffusion": diffusion,
        "conditioning": {"configs": [SECONDS], "cond_dim": cross or pooled or 48},
    }
    config = {
        "model_type": "diffusion_cond",
        "sample_size": 4800,
        "sample_rate": RATE,
        "audio_channels": 2,
        "model": model,
    }
    args = {"x": noise(2, channels, 13), "t": {"normal": [2], "scale": 0.4}}
    if cross:
        args["cross_attn_cond"] = noise(2, 7, cross)
    if pooled:
        args["global_embed"] = noise(2, pooled)
    return Case(name, config, [run("velocity", "velocity", **args)])


def cases():
    yield dit("dit_prepend_qk_ln", width=80, attn_kwargs={"qk_norm": "ln"})
    yield dit("dit_grouped_queries", width=96, heads=3, cross=32, project_cond_tokens=False)
    adaln = dit(
        "dit_adaln_memory_patch_l2_concat",
        global_cond_type="adaLN",
        num_memory_tokens=3,
        patch_size=2,
        input_concat_dim=6,
        attn_kwargs={"qk_norm": "l2"},
        ids={"input_concat_ids": ["inpaint_mask", "inpaint_masked_input"]},
        objective="rectified_flow",
    )
    adaln.config["model_type"] = "diffusion_cond_inpaint"
    adaln.runs[0]["args"] |= {"x": noise(2, 5, 14), "input_concat_cond": noise(2, 6, 14)}
    yield adaln
    yield dit(
        "dit_differential", cross=32, project_cond_tokens=False, attn_kwargs={"differential": True, "qk_norm": "ln"}
    )
    yield dit("dit_differential_plain", attn_kwargs={"differential": True})
    yield dit("dit_dynamic_tanh", remove_norms=True, attn_kwargs={"qk_norm": "dyt"}, global_cond_type="adaLN")
    yield dit("dit_layer_scale_conformer", layer_scale=True, conformer=True, attn_kwargs={"feat_scale": True})
    prepend = dit(
        "dit_prepend_tokens", prepend_cond_dim=48, cross=0, pooled=48, ids={"prepend_cond_ids": ["seconds_total"]}
    )
    prepend.runs[0]["args"]["prepend_cond"] = noise(2, 3, 48)
    yield prepend
    yield dit("dit_time_only", cross=0, pooled=0, num_memory_tokens=2)
    yield dit("dit_last_cross", depth=3, final_cross_attn_ix=1, project_global_cond=False, cross=64)
    yield dit(
        "dit_norms",
        norm_kwargs={"bias": True, "eps": 1e-3, "fix_scale": True},
        ff_kwargs={"mult": 2.5, "no_bias": True},
    )
    yield dit(
        "dit_plain_feed_forward", ff_kwargs={"glu": False, "mult": 2}, use_abs_pos_emb=True, abs_pos_emb_max_length=40
    )
    yield dit(
        "dit_sinusoidal", rotary_pos_emb=False, use_sinusoidal_emb=True, ff_kwargs={"glu": False, "use_conv": True}
    )
    yield dit("dit_block_rotary", rotary_pos_emb=False, add_rope=True)
    uncond = {
        "model_type": "diffusion_uncond",
        "sample_size": 208,
        "sample_rate": RATE,
        "audio_channels": 5,
        "model": {"type": "dit", "config": {"in_channels": 5, "embed_dim": 64, "depth": 2, "num_heads": 2}},
    }
    arguments = {"x": noise(2, 5, 12), "t": {"normal": [2], "scale": 0.4}}
    yield Case("dit_unconditional", uncond, [run("velocity", "velocity", **arguments)])
