"""The page: its files are read once when the server starts, and nothing else of the disk is ever shown."""

from importlib.resources import files
from typing import TYPE_CHECKING

from .replies import TYPES, Reply

if TYPE_CHECKING:
    from .handler import Handler


def read() -> dict[str, Reply]:
    """Address -> reply for every file of the page."""
    found = {}
    for item in files(__package__).joinpath("static").iterdir():
        suffix = item.name[item.name.rfind(".") :]
        if suffix in TYPES:
            reply = Reply(item.read_bytes(), TYPES[suffix], 200, {"Cache-Control": "no-cache"})
            found["/" if item.name == "index.html" else f"/static/{item.name}"] = reply
    return found


STATIC = read()


def reply(request: "Handler") -> Reply | None:
    """A file of the page; for the token in its address, the cookie that stands for it from then on."""
    guard = request.server.guard
    if guard.token and request.path == "/" and "token" in request.query:
        return Reply(status=303, headers={"Location": "/", "Set-Cookie": guard.set_cookie()})
    return STATIC.get(request.path)
