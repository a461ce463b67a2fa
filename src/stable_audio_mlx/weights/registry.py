"""The models that have a name: repository, pinned revision, licence, and what a true copy looks like."""

from dataclasses import dataclass

STABILITY = "Stability AI Community License"


@dataclass(frozen=True)
class Known:
    """One known model; counts are those of the published model.safetensors, 0 or "" where nobody recorded them."""

    name: str
    repo: str
    license: str
    gated: bool
    revision: str | None = None
    weights_bytes: int = 0
    sha256: str = ""
    tensors: int = 0
    parameters: int = 0
    summary: str = ""


def stable_audio_3(size: str, revision: str, gated: bool, summary: str) -> Known:
    large = size.startswith("medium")
    return Known(
        name=f"stable-audio-3-{size}",
        repo=f"stabilityai/stable-audio-3-{size}",
        license=f"{STABILITY}; text encoder: Gemma Terms of Use",
        gated=gated,
        revision=revision,
        weights_bytes=9_222_116_660 if large else 2_270_384_940,
        tensors=997 if large else 685,
        summary=summary,
    )


MODELS = (
    Known(
        name="stable-audio-open-small",
        repo="stabilityai/stable-audio-open-small",
        license=STABILITY,
        gated=True,
        weights_bytes=1_676_829_212,
        sha256="0ee8b9edbe3104cb079dd163b62589d67d9c321ea8942cbbd81e6f7d3f390be2",
        tensors=750,
        parameters=497_190_274,
        summary="text to 11 s of stereo, 8 steps",
    ),
    Known(
        name="stable-audio-open-1.0",
        repo="stabilityai/stable-audio-open-1.0",
        license=STABILITY,
        gated=True,
        weights_bytes=4_853_889_016,
        tensors=745,
        parameters=1_213_337_602,
        summary="text to 47 s of stereo, 100 steps",
    ),
    stable_audio_3("small-music", "0fef1392cd842149a2b6d445e181c97608faac06", True, "music, up to 120 s"),
    stable_audio_3("small-sfx", "ae12755283df9d62ca39a9b050a39a0b607b8c20", True, "sound effects, up to 120 s"),
    stable_audio_3("small-music-base", "eab5ceee5ad9c1ed38800aff30a8e49d1161c539", False, "for fine-tuning"),
    stable_audio_3("small-sfx-base", "cc5ddb990e30daa68336ac61c140c37c7033ab7c", False, "for fine-tuning"),
    stable_audio_3("medium", "27b5a21b791b1b033d193a9e1e3ce78493f102f9", True, "music and sound, up to 380 s"),
    stable_audio_3("medium-base", "b32993f73c3bdc3864043a72d8032606bba737c8", False, "for fine-tuning"),
    Known(
        name="same-s",
        repo="stabilityai/SAME-S",
        license=STABILITY,
        gated=False,
        revision="fbeb3dcf53a326e5682f38e22e7f740202d44232",
        weights_bytes=433_007_588,
        tensors=244,
        parameters=108_244_529,  # 108,244,721 with the rotary frequencies
        summary="autoencoder of the small models",
    ),
    Known(
        name="same-l",
        repo="stabilityai/SAME-L",
        license=STABILITY,
        gated=False,
        revision="41acf79dd242877d6499a1108ca5dba5d5eecfc5",
        weights_bytes=3_408_566_892,
        tensors=472,
        parameters=852_127_073,  # 852,127,457 with the rotary frequencies
        summary="autoencoder of the medium models",
    ),
)
KNOWN = {model.name: model for model in MODELS}
REPOS = {model.repo.lower(): model for model in MODELS}
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
