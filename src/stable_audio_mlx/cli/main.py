"""``stable-audio-mlx COMMAND ...``: the list of commands; a command's module is imported only when it is chosen."""

import difflib
import sys
from importlib import import_module

from .. import __version__

COMMANDS = {
    "generate": "text in, sound out",
    "serve": "a page to make sounds with, and an HTTP API",
    "convert": "a PyTorch checkpoint into a model folder",
    "encode": "sounds into latents or codes",
    "decode": "latents or codes into sounds",
    "roundtrip": "sounds through an autoencoder and back: what it loses",
    "make-data": "captioned sounds made by code, to train on",
    "pre-encode": "a folder of sounds with captions into latents to train on",
    "info": "what sound files are and how they were made",
    "train": "a diffusion model on sounds of your own",
    "train-lora": "a LoRA on sounds of your own",
    "models": "what is on this computer and what can be had",
    "verify": "check a converted model",
    "doctor": "is everything here, and what to do if not",
    "lora": "LoRA files: info, fuse into a model, convert",
    "completion": "a script for bash, zsh or fish",
}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else "--help"
    if name in COMMANDS:
        return import_module(f".{name.replace('-', '_')}", __package__).main(arguments[1:])
    if name in ("-h", "--help"):
        print("usage: stable-audio-mlx COMMAND [options]\n\ncommands (each has --help):")
        for command, text in COMMANDS.items():
            print(f"  {command:<12}{text}")
        return 0
    if name in ("-V", "--version"):
        print(f"stable-audio-mlx {__version__}")
        return 0
    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(COMMANDS)}"
    print(f"error: no command {name!r}, {hint}", file=sys.stderr)
    return 2
