"""Stable Audio on Apple's MLX: text in, sound out, on your own computer."""

__version__ = "0.1.0"
