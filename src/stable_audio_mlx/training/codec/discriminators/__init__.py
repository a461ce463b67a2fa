"""Discriminators that autoencoders are trained against, by ``loss_configs.discriminator.type``."""

from .dac import DACDiscriminator
from .encodec import EncodecDiscriminator
from .oobleck import OobleckDiscriminator

DISCRIMINATORS = {"encodec": EncodecDiscriminator, "oobleck": OobleckDiscriminator, "dac": DACDiscriminator}
