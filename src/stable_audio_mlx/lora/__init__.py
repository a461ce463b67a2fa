"""LoRA: small files that change a model's weights; read, merged with any strength, fused, converted."""
