"""Padding truly masked, as Stable Audio 3 does where flash-attention is installed."""

import torch.nn.functional as F


def masked_attention(original):
    def apply_attn(self, q, k, v, *args, padding_mask=None, **kwargs):
        if padding_mask is None:
            return original(self, q, k, v, *args, **kwargs)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=padding_mask[:, None, None, :])

    return apply_attn
