"""What ``encode``, ``decode`` and ``roundtrip`` share: their options, their files, one item after the other."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioError, OptionError
from ..files import check_output
from .common import DTYPES, Parser, default_model, free_paths, is_folder, note, progress

if TYPE_CHECKING:
    from ..codec import AutoencoderModel

EPILOG = """\
{} go to stdout; progress and notes go to stderr.
Exit codes: 0 ok, 1 failure, 2 usage, 3 weights, 4 input, 5 the result is broken, 130 interrupted."""


def parser(name: str, description: str, files: str, output: str, result: str = "Only the paths") -> Any:
    """A parser with the options of all three commands."""
    p = Parser(
        f"stable-audio-mlx {name}",
        description=description,
        epilog=EPILOG.format(result),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("files", nargs="+", metavar="FILE", help=files)
    add("-o", "--output", "--out", metavar="FILE|DIR", help=output)
    add("-m", "--model", metavar="NAME|DIR", help="the autoencoder, or a model with one; default: the best in model/")
    add("--overwrite", action="store_true", help="replace existing files")
    add("--dtype", choices=("auto", *DTYPES), default="auto", help="of the weights in memory")
    add("--low-memory", action="store_true", help="smaller pieces at a time: the same numbers in less memory")
    add("--json", action="store_true", help="one line of JSON for each file")
    chunks = p.add_argument_group("in chunks, as stable-audio-tools does (memory is bounded without, too)")
    chunks.add_argument("--chunked", action="store_true")
    chunks.add_argument("--chunk-size", type=int, metavar="N", help="latents in a chunk, default 128")
    chunks.add_argument("--overlap", type=int, metavar="N", help="latents that neighbours share, default 32")
    return p


def chunk_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of the Python API; OptionError for sizes of chunks that nobody asked for."""
    given = {k: v for k in ("chunk_size", "overlap") if (v := getattr(arguments, k)) is not None}
    if given and not arguments.chunked:
        raise OptionError(f"--{next(iter(given)).replace('_', '-')} needs --chunked")
    return {"chunked": True, **given} if arguments.chunked else {}


def check_given(arguments: argparse.Namespace, extensions: Sequence[str]) -> None:
    """OptionError for an --output that cannot be written, before anything is read."""
    if is_folder(arguments.output):
        return
    if len(arguments.files) > 1:
        raise OptionError(f"{arguments.output}: {len(arguments.files)} files need a folder as --output, ending in /")
    check_output(arguments.output, arguments.overwrite, extensions)


def output_paths(arguments: argparse.Namespace, extension: str, extensions: Sequence[str]) -> list[Path]:
    """One path for each input: the one given, or the input's name with ``extension`` in the folder given."""
    if not is_folder(arguments.output):
        return [Path(arguments.output)]
    names = [Path(file).stem + extension for file in arguments.files]
    if arguments.output is None or not arguments.overwrite:
        return free_paths(arguments.output, names, extensions)
    if len(set(names)) < len(names):
        raise OptionError(f"{arguments.output}: two of the inputs have the same name; leave --overwrite out")
    return [check_output(Path(arguments.output) / name, True, extensions) for name in names]


def load(arguments: argparse.Namespace) -> "AutoencoderModel":
    from ..codec import AutoencoderModel

    return AutoencoderModel.from_pretrained(arguments.model or default_model(), arguments.dtype, arguments.low_memory)


def probe(files: Sequence[str]) -> None:
    """AudioError for the first file that is no sound, before the model is read."""
    from ..audio import probe as probe_audio

    for file in files:
        probe_audio(file)


def read_sound(file: str, model: "AutoencoderModel") -> tuple[Any, int]:
    """(audio (C, L), rate) of a file; says what the model will not take as it is."""
    from ..audio import read

    audio, rate = read(file)
    if rate != model.sample_rate:
        note(f"{file}: resampled from {rate} to {model.sample_rate} Hz")
    if len(audio) > model.in_channels > 1:
        note(f"{file}: {len(audio)} channels, the model takes the first {model.in_channels}")
    return audio, rate


def each(files: Sequence[str], paths: Sequence[Any], work: Callable[[str, Any], None]) -> int:
    """Call ``work`` for every file and its path, under a bar; an input error names the file."""
    with progress(len(files), "file") as bar:
        for file, path in zip(files, paths, strict=True):
            try:
                work(file, path)
            except AudioError as error:
                named = str(error).startswith(str(Path(file)))
                raise error if named else AudioError(f"{file}: {error}") from None
            bar.update()
    return 0
