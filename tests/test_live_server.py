"""The live window's server over real sockets: who is answered, and with what."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from email.message import Message
from urllib.parse import urlsplit

import pytest

from particleflow._refusals import RefusedValueError
from particleflow.cli.live import Records
from particleflow.live import Server, Session
from particleflow.live.frames import HEAD
from particleflow.live.guard import MOST_BYTES, foreign
from particleflow.live.server import HEADERS, MOST_CONNECTIONS

N, M = 30, 45
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server():
    """A served session; its flow rests but for orders."""
    maker = Records({"n": N, "m": M})
    session = Session(maker, maker.first)
    made = Server(session)
    serving = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
    session.start()
    serving.start()
    session.order({"do": "pause"})
    yield made
    made.shutdown()
    made.server_close()
    serving.join(10)
    session.close()
    assert not serving.is_alive()


def answer(server, path, *, method="GET", body=None, headers=None, host=None):
    """Status, headers and body of the answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in (headers or {}):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        came = connection.getresponse()
        return came.status, came.headers, came.read()
    finally:
        connection.close()


def ordered(server, wish):
    """Status and JSON of the answer to an order."""
    body = wish if isinstance(wish, bytes) else json.dumps(wish).encode()
    path = f"/{server.token}/order"
    status, _, text = answer(server, path, method="POST", body=body, headers=JSON)
    return status, json.loads(text)


# ------------------------------------------------------------------ the page


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("", "text/html", b"live.js"),
        ("live.js", "text/javascript", b"use strict"),
        ("live.css", "text/css", b"--ground"),
        ("facts", "application/json", b'"bandwidth"'),
    ],
    ids=["page", "script", "style", "facts"],
)
def test_the_page_and_its_headers(server, name, kind, part):
    status, headers, body = answer(server, f"/{server.token}/{name}")
    assert status == 200
    assert headers["Content-Type"].startswith(kind)
    assert part in body
    for header, value in HEADERS.items():
        assert headers[header] == value
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


def test_frames_and_clouds(server):
    status, _, body = answer(server, f"/{server.token}/frame?after=0")
    assert status == 200
    number, facts, scene, step, count, zero = struct.unpack_from("<6I", body)
    assert (count, zero) == (N, 0)
    assert len(body) == HEAD.size + 8 * N
    assert (facts, scene) == (server.session.facts["facts"], server.session.facts["scene"])
    ordered(server, {"do": "step"})
    _, _, later = answer(server, f"/{server.token}/frame?after={number}")
    assert struct.unpack_from("<6I", later)[3] == step + 1
    for name, size in (("target", M), ("start", N)):
        status, _, body = answer(server, f"/{server.token}/{name}")
        assert (status, len(body)) == (200, 8 * size)


def test_a_known_frame_is_waited_for(server, monkeypatch):
    monkeypatch.setattr("particleflow.live.server.PATIENCE", 0.1)
    _, _, body = answer(server, f"/{server.token}/frame?after=0")
    number = struct.unpack_from("<I", body)[0]
    assert answer(server, f"/{server.token}/frame?after={number}")[0] == 204


@pytest.mark.parametrize("query", ["", "?after=", "?after=-1", "?after=x", "?after=" + "9" * 5000])
def test_a_frame_of_no_number_is_the_latest(server, query):
    assert answer(server, f"/{server.token}/frame{query}")[0] == 200


def test_orders_are_answered_with_the_facts_that_hold(server):
    status, facts = ordered(server, {"do": "set", "values": {"bandwidth": 0.31}})
    assert (status, facts["settings"]["bandwidth"]) == (200, 0.31)
    assert json.loads(answer(server, f"/{server.token}/facts")[2]) == facts
    status, facts = ordered(server, {"do": "set", "values": {"bandwidth": None}})
    assert "bandwidth" in facts["chosen"]


def test_one_connection_serves_many_requests(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    for _ in range(3):
        connection.request("GET", f"/{server.token}/facts")
        came = connection.getresponse()
        assert (came.status, came.read()[:1]) == (200, b"{")
    connection.close()


# ------------------------------------------------------------------ who is refused


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/live.js",
        "/x/",
        "/{token}x/",
        "/{short}/",
        "/%2e%2e/{token}/",
        "/?{token}",
    ],
)
def test_without_the_token_nothing_is_served(server, path):
    path = path.format(token=server.token, short=server.token[:-1])
    status, _, body = answer(server, path)
    assert status == 403
    assert "lacks its token" in json.loads(body)["message"]
    assert server.token.encode() not in body


def test_an_order_without_the_token_changes_nothing(server):
    before = server.session.facts
    for path in ("/order", "/x/order"):
        status, *_ = answer(server, path, method="POST", body=b'{"do":"run"}', headers=JSON)
        assert status == 403
    assert server.session.facts == before


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("evil.example", {}),
        ("127.0.0.1", {}),
        ("127.0.0.1:1", {}),
        ("127.0.0.1.evil.example:{port}", {}),
        (None, {"Origin": "http://evil.example"}),
        (None, {"Origin": "null"}),
        (None, {"Origin": "https://127.0.0.1:{port}"}),
        (None, {"Origin": "http://127.0.0.1"}),
        (None, {"Sec-Fetch-Site": "cross-site"}),
        (None, {"Sec-Fetch-Site": "same-site"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites_are_refused(server, method, host, headers):
    """A rebound name shows in Host, another page in Origin and Sec-Fetch-Site."""
    port = server.server_port
    before = server.session.facts
    status, _, body = answer(
        server,
        f"/{server.token}/" + "order" * (method == "POST"),
        method=method,
        body=b'{"do": "run"}' if method == "POST" else None,
        headers={**JSON, **{name: value.format(port=port) for name, value in headers.items()}},
        host=host and host.format(port=port),
    )
    assert status == 403
    assert json.loads(body)["message"]
    assert server.session.facts == before


@pytest.mark.parametrize(
    ("port", "host", "kept"), [(80, "localhost", True), (8000, "localhost", False)]
)
def test_only_the_port_of_http_may_be_left_out(port, host, kept):
    headers = Message()
    headers["Host"], headers["Origin"] = host, f"http://{host}"
    assert (foreign(headers, port) is None) == kept


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_page_itself_is_answered(server, name):
    own = f"{name}:{server.server_port}"
    headers = {"Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
    assert answer(server, f"/{server.token}/facts", headers=headers, host=own)[0] == 200


def test_two_hosts_are_refused(server):
    lines = f"GET /{server.token}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    said = raw(server, f"{lines}Host: evil.example\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 403 ")
    assert raw(server, f"GET /{server.token}/ HTTP/1.1\r\n\r\n".encode()).startswith(
        b"HTTP/1.1 403 "
    )


def test_a_token_of_other_letters_is_refused(server):
    host = f"Host: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    for path in ("/é/", "/\u20ac/", "/\udcff/"):
        line = f"GET {path} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        assert raw(server, line + host).startswith(b"HTTP/1.1 403 ")


def raw(server, request):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n",
        b"nonsense\r\n\r\n",
        b"PUT / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 99,
    ],
    ids=["empty", "a word", "a method", "a version", "zeros"],
)
def test_what_is_no_request_ends_nothing(server, request_):
    said = raw(server, request_)
    assert b"200 OK" not in said
    assert server.token.encode() not in said
    assert answer(server, f"/{server.token}/facts")[0] == 200


# ------------------------------------------------------------------ orders that are refused


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the order is not JSON"),
        (b"{", "the order is not JSON"),
        (b"[1, 2]", "it is no table"),
        (b'{"do": NaN}', "NaN is no number"),
        (b"[" * 100_000, "the order is not JSON"),
        (b"\xff\xfe\x00", "the order is not JSON"),
        (b'{"do": "set", "values": {"n": ' + b"9" * 5000 + b"}}", "the order is not JSON"),
        (b'{"do": "set", "values": {"bandwidth": 1e999}}', "bandwidth must be finite"),
        (b'{"do": "set", "values": {"flow": "kael"}}', "did you mean 'kale'?"),
        (b'{"do": "set", "values": {"target": "../../etc/passwd"}}', "target must be one of"),
        (b'{"do": "set", "values": {"target": "x.csv"}}', "target must be one of"),
        (b'{"do": "set", "values": {"strokes": [[[0, 1e300]]]}}', "at most 1e+06"),
        (b'{"do": "end"}', "do must be one of set, run, pause, step, restart"),
    ],
    ids=[
        "nothing",
        "half",
        "a list",
        "nan",
        "deep",
        "bytes",
        "digits",
        "infinite",
        "a slip",
        "a path",
        "a file",
        "far",
        "unknown",
    ],
)
def test_a_bad_order_is_told_and_changes_nothing(server, body, words):
    before = server.session.facts
    status, said = ordered(server, body)
    assert status == 400
    assert words in said["message"]
    assert server.session.facts == before


@pytest.mark.parametrize(
    ("size", "status"),
    [(str(MOST_BYTES + 1), 413), ("9" * 5000, 413), ("-1", 411), ("1, 2", 411), ("x", 411)],
    ids=["large", "digits", "negative", "two", "a word"],
)
def test_the_size_of_an_order_is_limited(server, size, status):
    """Before its bytes are read."""
    path = f"/{server.token}/order"
    headers = {**JSON, "Content-Length": size}
    came = answer(server, path, method="POST", body=b'{"do": "run"}', headers=headers)
    assert came[0] == status
    assert not server.session.facts["running"]


def test_a_large_order_that_is_sent_whole_is_answered(server):
    status, said = ordered(server, b" " * (MOST_BYTES + 1))
    assert status == 413
    assert "paint less" in said["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({**JSON, "Transfer-Encoding": "chunked"}, 411),
    ],
    ids=["no type", "a form's type", "chunks"],
)
def test_an_order_is_json_of_a_known_length(server, headers, status):
    """A form of another site can send text/plain, and not application/json."""
    path = f"/{server.token}/order"
    assert answer(server, path, method="POST", body=b"{}", headers=headers)[0] == status


def test_names_that_are_not_there(server):
    assert answer(server, f"/{server.token}/../../etc/passwd")[0] == 404
    assert answer(server, f"/{server.token}/page.html")[0] == 404
    assert (
        answer(server, f"/{server.token}/facts", method="POST", body=b"{}", headers=JSON)[0] == 404
    )


def test_more_connections_than_a_browser_opens_are_cut(server):
    lines = [
        socket.create_connection(("127.0.0.1", server.server_port), timeout=20)
        for _ in range(MOST_CONNECTIONS + 1)
    ]
    try:
        assert lines[-1].recv(1) == b""
    finally:
        for line in lines:
            line.close()
    for _ in range(100):
        try:
            assert answer(server, f"/{server.token}/facts")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            continue


def test_the_address_for_a_browser_leads_to_the_page_once(server):
    path = urlsplit(server.once()).path
    assert server.token not in path
    status, headers, _ = answer(server, path)
    assert (status, headers["Location"]) == (303, server.address)
    assert answer(server, path)[0] == 403


@pytest.mark.parametrize("query", ["", "?x=1"])
def test_an_address_without_its_last_slash_leads_to_the_page(server, query):
    status, headers, body = answer(server, f"/{server.token}{query}")
    assert (status, headers["Location"], body) == (303, server.address, b"")
    assert answer(server, f"/{server.token[:-1]}")[0] == 403


# ------------------------------------------------------------------ beginning and end


def test_it_listens_on_the_loopback_address_alone(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{43}/", server.address)


def test_a_taken_port_is_refused(server):
    with pytest.raises(RefusedValueError, match="cannot be used") as error:
        Server(server.session, server.server_port)
    assert error.value.argument == "port"


LIVE = ["-m", "particleflow", "live", "--n", "30", "--m", "45", "--no-browser"]
COMMAND = [sys.executable, *LIVE]


def test_the_command_prints_one_line_and_ends_with_ctrl_c():
    """The port is free afterwards."""
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            address = urlsplit(re.fullmatch(r"particleflow live: (\S+) \(Ctrl-C .*\)\n", line)[1])
            connection = http.client.HTTPConnection(address.netloc, timeout=20)
            connection.request("GET", address.path + "frame?after=0")
            assert connection.getresponse().read()
            # one more waits for the next frame at the end
            connection.request("POST", address.path + "order", b'{"do": "pause"}', JSON)
            number = connection.getresponse().read() and 10**9
            connection.request("GET", f"{address.path}frame?after={number}")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            connection.close()
            assert (process.stdout.read(), process.stderr.read()) == ("", "")
        finally:
            process.kill()
    with socket.socket() as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port.bind((address.hostname, address.port))


@pytest.mark.skipif(sys.platform != "linux", reason="BROWSER and DISPLAY are of Linux")
def test_a_browser_is_started_with_an_address_that_leads_to_the_page_once(tmp_path):
    """Others see the command line of a browser: it has not the token."""
    note, script = tmp_path / "address", tmp_path / "open.sh"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > {note}.part && mv {note}.part {note}\n')
    script.chmod(0o755)
    environment = os.environ | {"BROWSER": f"{script} %s", "DISPLAY": ":9"}
    command = [word for word in COMMAND if word != "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = re.search(r"http\S+", process.stdout.readline()).group()
            deadline = time.monotonic() + 20
            while not note.exists():
                assert time.monotonic() < deadline, "no browser was started"
                time.sleep(0.02)
            opened = urlsplit(note.read_text())
            assert opened.netloc == urlsplit(address).netloc
            assert opened.path not in address
            connection = http.client.HTTPConnection(opened.netloc, timeout=20)
            connection.request("GET", opened.path)
            assert connection.getresponse().headers["Location"] == address
            connection.close()
        finally:
            process.kill()


def test_other_signals_have_their_exit_codes(python):
    with python.start(*LIVE) as process:
        try:
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 128 + signal.SIGTERM
        finally:
            process.kill()


def test_bad_input_ends_it_before_anything_is_served(tmp_path, python):
    def said(*flags):
        done = python.run(*LIVE, *flags)
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    assert said("--flow", "kael").endswith("did you mean 'kale'?\n")
    assert "--port must be <= 65535" in said("--port", "70000")
    assert "unknown argument '--gif'" in said("--gif")
    (tmp_path / "a.csv").write_text("1,2,3\n" * 3 + "4,5,6\n")
    assert "add --pca 2" in said("--target", str(tmp_path / "a.csv"))
