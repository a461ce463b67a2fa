"""Every failure that a user can cause: one line (or two) that says what, where and what to do, and an exit code."""


class StableAudioError(Exception):
    """Base of all our errors; ``exit_code`` is what the command line returns."""

    exit_code = 1


class OptionError(StableAudioError, ValueError):
    """A generation or conversion option that cannot be honoured."""

    exit_code = 2


class ConfigError(StableAudioError, ValueError):
    """A model_config.json that we cannot build; the message starts with the JSON path."""

    exit_code = 3


class WeightsError(StableAudioError):
    """Weights that are missing, gated, offline, damaged or do not fit the config."""

    exit_code = 3


class AudioError(StableAudioError, ValueError):
    """An input audio file or array that cannot be used."""

    exit_code = 4


class SanityError(StableAudioError):
    """A result that is not finite, silent, or of the wrong length: never written as success."""

    exit_code = 5
