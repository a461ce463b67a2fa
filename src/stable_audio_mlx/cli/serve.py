"""``stable-audio-mlx serve``: the studio page and the HTTP API behind it."""

import argparse
import gc
import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OptionError
from .common import DTYPES, OUTPUT, Parser, default_model, note, run

if TYPE_CHECKING:
    from ..web.server import StudioServer

TOKEN = "STABLE_AUDIO_MLX_TOKEN"
EPILOG = """\
The address of the page is the only thing on stdout.  Takes are kept as files in the library, with their settings.
On this computer alone no token is needed; with --host for others it is part of the address that is printed.
Exit code: 130 when it is interrupted (Ctrl-C), which keeps what is finished."""


def parser() -> argparse.ArgumentParser:
    p = Parser(
        "stable-audio-mlx serve",
        description="A page to make sounds with, and the HTTP API behind it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("-m", "--model", metavar="NAME|DIR", help="the one to begin with; default: the best model in model/")
    add("--port", type=int, default=8420, metavar="N", help="default 8420; 0 takes a free one")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="another one lets other computers in, with a token")
    add("--token", action="store_true", help=f"ask for a token on this computer too; ${TOKEN} chooses it")
    add("--library", type=Path, metavar="DIR", help=f"where takes are kept; default {OUTPUT}/studio")
    add("--loras", type=Path, metavar="DIR", help="a folder of LoRAs to offer")
    add("--dtype", choices=("auto", *DTYPES), default="auto", help="of the weights in memory")
    add("--low-memory", action="store_true", help="smaller pieces at a time: the same sound in less memory")
    add("--no-browser", action="store_true", help="do not open the page")
    return p


def main(argv: list[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    return run(lambda: serve(arguments))


def serve(arguments: argparse.Namespace) -> int:
    """Listen until interrupted; then cancel what is being made and keep what is finished."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = open_server(arguments)
    gc.freeze()  # what has been imported stays: no collection, in which nobody is answered, goes through it again
    studio, guard = server.studio, server.guard
    try:
        studio.ready()
        address = f"http://{shown_host(arguments.host)}:{guard.port}/"
        address += f"?token={guard.token}" if guard.token else ""
        print(address, flush=True)
        note(f"takes are kept in {studio.takes.folder}; Ctrl-C ends the studio")
        if not arguments.no_browser and can_open():
            open_page(address)
        server.serve_forever()
    finally:
        stop(server)
    return 0


def open_server(arguments: argparse.Namespace) -> "StudioServer":
    """OptionError for an address that cannot be listened at, WeightsError where there is no model."""
    if not 0 <= arguments.port < 65536:
        raise OptionError(f"--port {arguments.port}: must be from 0 to 65535")
    if arguments.loras is not None and not arguments.loras.is_dir():
        raise OptionError(f"--loras {arguments.loras}: is no folder")
    token = chosen_token(arguments)

    from ..web.catalogue import Loras, Models
    from ..web.guard import Guard
    from ..web.server import StudioServer
    from ..web.studio import Studio

    models = Models(arguments.model or default_model(), arguments.dtype, arguments.low_memory)
    studio = Studio(arguments.library or Path(OUTPUT) / "studio", models, Loras(arguments.loras), note)
    try:
        return StudioServer(arguments.host, arguments.port, studio, Guard(arguments.host, token), note)
    except OSError as error:
        studio.close()
        where = f"{arguments.host} port {arguments.port}"
        raise OptionError(f"{where}: cannot listen there ({error.strerror or error}); --port chooses another") from None


def chosen_token(arguments: argparse.Namespace) -> str | None:
    """What clients must show; None where nobody else can reach the server."""
    from ..web.guard import is_loopback, new_token

    if not arguments.token and is_loopback(arguments.host):
        return None
    token = os.environ.get(TOKEN) or new_token()
    if not re.fullmatch(r"[\w-]{8,200}", token, re.ASCII):
        raise OptionError(f"${TOKEN}: must be 8 or more letters, digits, - and _")
    return token


def shown_host(host: str) -> str:
    """A name to open: what listens everywhere is reached at this computer's own address."""
    if host in ("0.0.0.0", "::", ""):
        import socket

        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def open_page(address: str) -> None:
    """In a thread: some browsers only return when they are closed."""
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def can_open() -> bool:
    """Whether there are a screen and a person in front of it."""
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def stop(server: "StudioServer") -> None:
    """Wait for the step that is being made; who cannot wait interrupts again."""
    try:
        server.server_close()
        server.studio.close()
    except KeyboardInterrupt:
        note("interrupted")
        os._exit(130)
