"""Into latents, mixed there, and back: halfway between two sounds.

python examples/through_the_autoencoder.py a.wav b.wav halfway.wav
"""

import sys

import numpy as np

from stable_audio_mlx import AutoencoderModel, Sound, audio


def main(first: str, second: str, output: str = "halfway.wav") -> None:
    autoencoder = AutoencoderModel.from_pretrained("tiny")
    latents = [autoencoder.encode(*audio.read(file)) for file in (first, second)]
    frames = min(z.shape[2] for z in latents)
    mixed = sum(z[:, :, :frames] for z in latents) / 2
    sound = Sound(np.array(autoencoder.decode(mixed)[0]), autoencoder.sample_rate)
    print(f"{frames} latents of {autoencoder.latent_dim} numbers: {sound.save(output, overwrite=True).path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
