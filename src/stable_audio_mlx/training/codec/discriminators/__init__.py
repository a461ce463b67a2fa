"""Discriminators that autoencoders are trained against, by ``loss_configs.discriminator.type``."""

from .base import Discriminator
from .dac import DACDiscriminator
from .encodec import EncodecDiscriminator
from .oobleck import OobleckDiscriminator

DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "encodec": EncodecDiscriminator,
    "oobleck": OobleckDiscriminator,
    "dac": DACDiscriminator,
}
