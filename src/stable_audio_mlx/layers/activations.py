"""Gates of the gated feed-forward layers."""

import math

import mlx.core as mx
import mlx.nn as nn


def silu_gate(value: mx.array, gate: mx.array) -> mx.array:
    """value, gate: (B, T, C) -> value * silu(gate)"""
    return value * nn.silu(gate)


def sin_gate(value: mx.array, gate: mx.array) -> mx.array:
    """value, gate: (B, T, C) -> value * sin(pi * gate)"""
    return value * mx.sin(math.pi * gate)


GATES = {"silu": silu_gate, "sin": sin_gate}
