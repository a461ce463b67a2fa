"""What the studio's server refuses: other sites, other hosts, paths, floods, nonsense."""

import socket
import threading
import time

import pytest

from stable_audio_mlx.web import handler, server, uploads
from stable_audio_mlx.web.guard import Guard, is_loopback

from . import studio
from .studio import QUICK


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outer")
    (folder / "secret.txt").write_text("secret")
    with studio.running(folder / "library") as client:
        yield client


def raw(client, data: bytes, timeout=10) -> bytes:
    """Everything that the server says to these bytes."""
    with socket.create_connection(("127.0.0.1", client.port), timeout) as connection:
        connection.sendall(data)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def test_the_page_and_its_headers(client):
    status, headers, body = client.ask("GET", "/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
    assert b"http://" not in body and b"https://" not in body  # nothing from elsewhere
    for path, kind in (("/static/main.js", "text/javascript"), ("/static/style.css", "text/css")):
        status, headers, _ = client.ask("GET", path)
        assert status == 200 and headers["Content-Type"].startswith(kind)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "", "192.168.0.1", "a b"]
)
def test_other_host_names_are_refused(client, host):
    assert client.refused("GET", "/v1/takes", headers={"Host": host})[0] == 421


@pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "127.0.0.1", "[::1]:9"])
def test_names_of_this_computer_are_known(client, host):
    assert client.ask("GET", "/health", headers={"Host": host})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_other_sites_are_refused(client, headers):
    for method, path, body in (("POST", "/v1/jobs", QUICK), ("GET", "/v1/takes", None), ("DELETE", "/v1/jobs/x", None)):
        assert client.refused(method, path, body, headers)[0] == 403
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.ask("GET", "/", headers=navigation)[0] == 200  # a link to the studio may be followed


def test_its_own_page_is_let_in(client):
    headers = {"Origin": f"http://127.0.0.1:{client.port}", "Sec-Fetch-Site": "same-origin"}
    assert client.ask("GET", "/v1/takes", headers=headers)[0] == 200


def test_forms_of_other_sites_cannot_be_json(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert client.refused("POST", "/v1/jobs", '{"prompt":"x"}', {"Content-Type": kind})[0] == 415
        assert client.refused("POST", "/v1/uploads", b"x", {"Content-Type": kind})[0] == 415


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/static/../../secret.txt",
        "/static/..%2f..%2fsecret.txt",
        "/static/%2e%2e/secret.txt",
        "/v1/takes/..%2F..%2Fsecret.txt/sound",
        "/v1/takes/../../secret.txt",
        "/v1/takes/%2Fetc%2Fpasswd/sound",
        "/v1/uploads/..\\..\\secret.txt/sound",
        "/etc/passwd",
        "//etc/passwd",
        "/v1/takes/take-000000000000.json/sound",
        "/static/",
        "/static/server.py",
    ],
)
def test_no_address_is_a_path(client, path):
    status, _, body = client.ask("GET", path)
    assert status == 404 and b"secret\n" not in body and b"root:" not in body


def test_links_in_the_library_are_not_followed(client, tmp_path):
    take = client.take()
    kept = client.studio.takes.get(take["id"])
    outside = tmp_path / "outside.wav"
    kept.sound.rename(outside)
    kept.sound.symlink_to(outside)
    again = type(client.studio.takes)(client.studio.takes.folder, "take")
    assert take["id"] not in [one.id for one in again.newest(200)[0]]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'{"prompt": NaN}', b'{"seconds": Infinity}', b"\xff\xfe", b"[" * 100_000, b'{"a":1}{'],
)
def test_what_is_no_json_object_is_refused(client, text):
    assert client.refused("POST", "/v1/jobs", text, {"Content-Type": "application/json"})[0] == 400


def test_methods(client):
    status, headers, _ = client.ask("PUT", "/v1/jobs")
    assert status == 405 and headers["Allow"] == "POST, GET"
    assert client.ask("OPTIONS", "/v1/jobs")[0] == 405
    assert client.ask("BREW", "/health")[0] == 405


def test_sizes(client):
    json_type = {"Content-Type": "application/json"}
    assert client.refused("POST", "/v1/jobs", b" " * (handler.MOST_JSON + 1), json_type)[0] == 413
    head = b"POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nContent-Length: %d\r\n\r\n"
    assert raw(client, head % (uploads.MOST_BYTES + 1)).startswith(b"HTTP/1.1 413 ")
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    assert b" 431 " in raw(client, get + b"X: " + b"y" * 70_000 + b"\r\n\r\n")
    assert b" 431 " in raw(client, get + b"".join(b"X%d: %s\r\n" % (i, b"y" * 900) for i in range(60)) + b"\r\n")
    assert b" 431 " in raw(client, b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "data, status",
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 400),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"GET /?a=%zz&b=1&&&=%ff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"GET //[x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"\x00\x01\x02\xff\r\n\r\n", 400),
    ],
)
def test_broken_requests_are_answered_and_closed(client, data, status):
    assert raw(client, data).split(b" ", 2)[1] == str(status).encode()


def test_a_client_that_stops_in_the_middle_is_let_go(client):
    for data in (b"GET /health HT", b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"):
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            connection.sendall(data)
    assert client.ask("GET", "/health")[0] == 200


def test_slow_clients_are_cut_off(client, monkeypatch):
    monkeypatch.setattr(handler, "IDLE", 0.3)
    monkeypatch.setattr(handler, "HEADERS", 0.3)
    assert raw(client, b"") == b""
    assert raw(client, b"GET /health HTTP/1.1\r\nX: ") == b""
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    assert raw(client, head) == b""


def test_connections_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    with studio.running(tmp_path) as client:
        open_ones = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(3)]
        for connection in open_ones:  # each has been given its thread once it has an answer
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(20).startswith(b"HTTP/1.1 200")
        assert raw(client, b"GET /health HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 503 ")
        for connection in open_ones:
            connection.close()
        while raw(client, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")[9:12] != b"200":
            time.sleep(0.01)


def test_nobody_waits_until_the_thread_of_another_connection_runs(client, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", None)  # it would wait
    assert client.json("GET", "/health")["status"] == "ok"


def test_a_token_lets_in(tmp_path):
    with studio.running(tmp_path, token="a-secret") as client:
        assert client.ask("GET", "/health")[0] == 200
        for path in ("/", "/static/main.js", "/v1/takes", "/v1/events"):
            assert client.refused("GET", path)[0] == 401
        assert client.refused("POST", "/v1/jobs", QUICK)[0] == 401
        for wrong in ("Bearer wrong", "Bearer", "Basic a-secret", "Bearer \xe9"):
            assert client.refused("GET", "/v1/takes", headers={"Authorization": wrong})[0] == 401
        assert client.refused("GET", "/?token=wrong")[0] == 401
        assert client.ask("GET", "/v1/takes", headers={"Authorization": "Bearer a-secret"})[0] == 200
        status, headers, _ = client.ask("GET", "/?token=a-secret")
        assert status == 303 and headers["Location"] == "/"
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert client.ask("GET", "/", headers={"Cookie": cookie.partition("; Path")[0]})[0] == 200
        assert client.refused("GET", "/", headers={"Cookie": f"{client.server.guard.cookie}=wrong"})[0] == 401


def test_beyond_this_computer_addresses_are_known_and_names_of_others_are_not():
    guard = Guard("0.0.0.0", "x")
    assert guard.known("192.168.0.7:8420") and guard.known("[fe80::1]:8420") and guard.known("localhost")
    assert not guard.known("evil.example:8420")
    assert is_loopback("127.0.0.5") and is_loopback("::1") and not is_loopback("0.0.0.0") and not is_loopback("studio")
