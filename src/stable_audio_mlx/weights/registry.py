"""The models that have a name: repository, pinned revision, licence, and what a true copy looks like."""

from dataclasses import dataclass

STABILITY = "Stability AI Community License"
GEMMA = f"{STABILITY}; text encoder: Gemma Terms of Use"
# The official half-precision files for MLX, without a gate.
OPTIMIZED_NAME = "stable-audio-3-optimized"
OPTIMIZED_REPO = f"stabilityai/{OPTIMIZED_NAME}"
OPTIMIZED_REVISION = "da6edc54ddba10bfd79a077102ded687f80e882b"
OPTIMIZED_TEXT = "t5gemma_f16.npz"
# Transformer file -> model and its autoencoder.
DIT_FILES = {
    f"dit_{short}{base}_f16.npz": (f"stable-audio-3-{size}{base}", codec)
    for short, size, codec in (
        ("sm-music", "small-music", "same-s"),
        ("sm-sfx", "small-sfx", "same-s"),
        ("medium", "medium", "same-l"),
    )
    for base in ("", "-base")
}
# Autoencoder -> its encoder's and its decoder's file.
CODEC_PAIRS = {
    "same-s": ("same_s_encoder_f32.npz", "same_s_decoder_f32.npz"),
    "same-l": ("same_l_encoder_f32.npz", "same_l_decoder_f32.npz"),
}
CODEC_FILES = {file: codec for codec, files in CODEC_PAIRS.items() for file in files}


@dataclass(frozen=True)
class Known:
    """One known model; counts are those of the published model.safetensors, 0 or "" where nobody recorded them.

    ``parameters`` is without buffers.  ``files`` are the only ones wanted of a repository that holds several models,
    the first stands for all; ``inside`` names the models whose checkpoints contain this autoencoder.  ``objective`` and
    ``window``, the longest clip in samples, are those of the published config, "" and 0 for an autoencoder.  ``size``
    is that of a weights file that is not all float32.
    """

    name: str
    repo: str
    license: str
    gated: bool
    revision: str | None = None
    sha256: str = ""
    tensors: int = 0
    parameters: int = 0
    files: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    objective: str = ""
    window: int = 0
    size: int = 0


def stable_audio_3(size: str, revision: str, gated: bool) -> Known:
    large, base = size.startswith("medium"), size.endswith("-base")
    return Known(
        name=f"stable-audio-3-{size}",
        repo=f"stabilityai/stable-audio-3-{size}",
        license=GEMMA,
        gated=gated,
        revision=revision,
        tensors=997 if large else 685,
        parameters=2_305_495_393 if large else 567_573_553,
        objective="rectified_flow" if base else "rf_denoiser",
        window=16_777_216 if large else 5_324_800 if base else 5_292_032,
    )


def optimized(name: str, codec: str, dit: str | None = None) -> Known:
    """A model of the optimised folder, under the name that it has everywhere."""
    names = (dit, *CODEC_PAIRS[codec], OPTIMIZED_TEXT) if dit else CODEC_PAIRS[codec]
    return Known(
        name=name,
        repo=OPTIMIZED_REPO,
        license=GEMMA if dit else STABILITY,
        gated=False,
        revision=OPTIMIZED_REVISION,
        files=tuple(f"MLX/{file}" for file in names),
    )


MODELS = (
    Known(
        name="stable-audio-open-small",
        repo="stabilityai/stable-audio-open-small",
        license=STABILITY,
        gated=True,
        sha256="0ee8b9edbe3104cb079dd163b62589d67d9c321ea8942cbbd81e6f7d3f390be2",
        tensors=750,
        parameters=497_190_274,
        objective="rf_denoiser",
        window=524_288,
        size=1_676_829_212,
    ),
    Known(
        name="stable-audio-open-1.0",
        repo="stabilityai/stable-audio-open-1.0",
        license=STABILITY,
        gated=True,
        tensors=745,
        parameters=1_213_337_602,
        objective="v",
        window=2_097_152,
    ),
    stable_audio_3("small-music", "0fef1392cd842149a2b6d445e181c97608faac06", True),
    stable_audio_3("small-sfx", "ae12755283df9d62ca39a9b050a39a0b607b8c20", True),
    stable_audio_3("small-music-base", "eab5ceee5ad9c1ed38800aff30a8e49d1161c539", False),
    stable_audio_3("small-sfx-base", "cc5ddb990e30daa68336ac61c140c37c7033ab7c", False),
    stable_audio_3("medium", "27b5a21b791b1b033d193a9e1e3ce78493f102f9", True),
    stable_audio_3("medium-base", "b32993f73c3bdc3864043a72d8032606bba737c8", False),
    Known(
        name="same-s",
        repo="stabilityai/SAME-S",
        license=STABILITY,
        gated=False,
        revision="fbeb3dcf53a326e5682f38e22e7f740202d44232",
        tensors=244,
        parameters=108_244_529,  # 108,244,721 with the rotary frequencies
        inside=("stable-audio-3-small-music", "stable-audio-3-small-sfx"),
    ),
    Known(
        name="same-l",
        repo="stabilityai/SAME-L",
        license=STABILITY,
        gated=False,
        revision="41acf79dd242877d6499a1108ca5dba5d5eecfc5",
        tensors=472,
        parameters=852_127_073,  # 852,127,457 with the rotary frequencies
        inside=("stable-audio-3-medium",),
    ),
)
KNOWN = {model.name: model for model in MODELS}
REPOS = {model.repo.lower(): model for model in MODELS}
# "stable-audio-3-optimized/NAME" -> the same model, in half precision and without a gate.
OPTIMIZED = {
    **{name.removeprefix("stable-audio-3-"): optimized(name, codec, file) for file, (name, codec) in DIT_FILES.items()},
    **{codec: optimized(codec, codec) for codec in ("same-s", "same-l")},
}
# Short names that the models' own programs use.
ALIASES = {
    "small-music": "stable-audio-3-small-music",
    "small-sfx": "stable-audio-3-small-sfx",
    "medium": "stable-audio-3-medium",
    "stable-audio-open": "stable-audio-open-1.0",
}


def find(name: str) -> Known | None:
    """The known model with this name, short name or repository id; None for others."""
    key = name.lower()
    folder, slash, inner = key.removeprefix("stabilityai/").partition("/")
    if slash and folder == OPTIMIZED_NAME:
        return OPTIMIZED.get(inner.removeprefix("stable-audio-3-"))
    return KNOWN.get(ALIASES.get(key, key)) or REPOS.get(key)


def find_by_hash(digest: str) -> Known | None:
    """The known model whose published model.safetensors has this SHA-256."""
    return next((model for model in MODELS if model.sha256 and model.sha256 == digest), None)


def text_repository(item: dict) -> str:
    """The public repository of the text encoder that a ``conditioning`` item names."""
    config = item.get("config")
    config = config if isinstance(config, dict) else {}
    if item.get("type") == "t5gemma":
        return str(config.get("repo_id") or config.get("model_name") or "google/t5gemma-b-b-ul2")
    name = str(config.get("t5_model_name") or "t5-base")
    return name if "/" in name else f"google-t5/{name}"
