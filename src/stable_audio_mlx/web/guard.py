"""Who may ask: the Host and Origin of a request, and its token.

A page of any other site can make the browser send requests to this computer.  What tells them apart: their Host is
another name (DNS rebinding), or their Origin is.  Beyond this computer a token is needed as well.
"""

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Mapping
from email.message import Message
from http.cookies import CookieError, SimpleCookie

from .replies import Refused

SAFE = ("GET", "HEAD")


class Guard:
    """What requests to the server at ``host`` must show; ``token``: None where none is asked for."""

    def __init__(self, host: str, token: str | None):
        self.loopback, self.token = is_loopback(host), token
        here = socket.gethostname().lower()
        self.names = {"localhost", "127.0.0.1", "::1"}
        if not self.loopback:
            self.names |= {host.lower(), here, f"{here}.local", f"{here.partition('.')[0]}.local"}
        self.port = 0  # known once the server listens

    def check(self, method: str, path: str, query: Mapping[str, str], headers: Message) -> None:
        """Refused for a request that comes from elsewhere or lacks the token."""
        host = one(headers, "Host")
        if not self.known(host):
            raise Refused(421, "this server does not answer under that host name; use the address that it printed")
        origin, site = one(headers, "Origin"), one(headers, "Sec-Fetch-Site")
        if origin and origin not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, "requests from other sites are refused")
        navigation = method in SAFE and one(headers, "Sec-Fetch-Mode") == "navigate" and path == "/"
        if site not in ("", "same-origin", "none") and not navigation:
            raise Refused(403, "requests from other sites are refused")
        opening = method in SAFE and path == "/" and self.matches(query.get("token", ""))
        if self.token and path != "/health" and not opening and not self.shown(headers):
            raise Refused(
                401, "a token is needed: open the address that the server printed", {"WWW-Authenticate": "Bearer"}
            )

    def known(self, host: str) -> bool:
        """Whether a ``Host`` header names this server; names that others control never do."""
        name = host_name(host)
        return name in self.names or (not self.loopback and is_address(name))

    def shown(self, headers: Message) -> bool:
        scheme, _, bearer = one(headers, "Authorization").partition(" ")
        if scheme.lower() == "bearer" and self.matches(bearer.strip()):
            return True
        try:
            cookie = SimpleCookie(one(headers, "Cookie")).get(self.cookie)
        except CookieError:
            return False
        return cookie is not None and self.matches(cookie.value)

    def matches(self, token: str) -> bool:
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    @property
    def cookie(self) -> str:
        """Browsers share cookies between the ports of a host: the port is in the name."""
        return f"studio-{self.port}"

    def set_cookie(self) -> str:
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"


def new_token() -> str:
    return secrets.token_urlsafe(24)


def one(headers: Message, name: str) -> str:
    """The header's value; Refused where it is given twice."""
    values = headers.get_all(name, [])
    if len(values) > 1:
        raise Refused(400, f"the header {name} is given twice")
    return values[0].strip() if values else ""


def host_name(host: str) -> str:
    """A ``Host`` header without its port, which a tunnel may change; IPv6 addresses without their brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
