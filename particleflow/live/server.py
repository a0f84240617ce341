"""The page's server: on the loopback address, for those who know the token."""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from socketserver import TCPServer
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from particleflow._refusals import RefusedValueError
from particleflow.live.guard import MOST_BYTES, Answer, foreign, length, same, split
from particleflow.live.session import BusyError, Session, in_words

# The address that is served: only this machine reaches it.
LOOPBACK = "127.0.0.1"
# Seconds that a request for a frame waits; the page then asks again.
PATIENCE = 5.0
# Seconds that a silent client keeps its connection.
SILENCE = 30.0
# Connections at a time; a browser opens six.
MOST_CONNECTIONS = 32
# Bytes of a refused order that are read, so that the client reads the answer: more is cut off.
DRAINED = 4 * MOST_BYTES
# Seconds that are waited for the next bytes of a refused order.
DRAINING = 1.0
# The files of the page, and their types.
FILES = {
    "": ("page.html", "text/html; charset=utf-8"),
    "live.js": ("live.js", "text/javascript; charset=utf-8"),
    "live.css": ("live.css", "text/css; charset=utf-8"),
}
# Said with every answer. The page may load and send nothing but to this server, and no other page
# may hold it, read it, or learn its address.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src"
        " data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves the page of a session on 127.0.0.1, under a secret address.

    Parameters
    ----------
    session : Session
    port : int
        0 takes a free one.

    Raises
    ------
    RefusedValueError
        The port is taken, or may not be used.
    """

    daemon_threads = True
    # a browser opens all its connections at once
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe()
        self._once = ""
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.page = {
            name: (files("particleflow.live").joinpath(file).read_bytes(), kind)
            for name, (file, kind) in FILES.items()
        }
        try:
            super().__init__((LOOPBACK, port), Requests)
        except OSError as error:
            raise RefusedValueError(
                "port", f"{port} cannot be used: {error.strerror}", remedy="leave it out"
            ) from None

    def server_bind(self) -> None:
        """Bind without a look-up of the machine's name, which may ask the network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    @property
    def address(self) -> str:
        """The page's address, with its token."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def once(self) -> str:
        """An address that leads to the page one time.

        A browser that is started shows its command line to all users of the machine: the token must
        not stand there.
        """
        self._once = secrets.token_urlsafe()
        return f"http://{LOOPBACK}:{self.server_port}/{self._once}"

    def spends(self, token: str) -> bool:
        """Is this the token of `once`? It is spent now."""
        if not self._once or not same(token, self._once):
            return False
        self._once = ""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients who leave; others' errors are the program's own faults."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Requests(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = SILENCE
    disable_nagle_algorithm = True
    # head and body of an answer go out together
    wbufsize = -1

    def do_GET(self) -> None:
        name = self._admitted()
        if name is None:
            return
        session, (_, _, query) = self.server.session, split(self.path)
        if not name and not urlsplit(self.path).path.endswith("/"):
            # the page's own files are named beside it: /TOKEN leads to /TOKEN/
            self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", Location=self.server.address)
            return
        if name in self.server.page:
            self._send(HTTPStatus.OK, *self.server.page[name])
        elif name == "facts":
            self._send_json(HTTPStatus.OK, session.facts)
        elif name in ("target", "start"):
            self._send(HTTPStatus.OK, session.cloud(name), "application/octet-stream")
        elif name == "frame":
            after = parse_qs(query).get("after", ["0"])[0]
            frame = session.frame(
                int(after) if after.isdecimal() and len(after) < 16 else 0, PATIENCE
            )
            status = HTTPStatus.OK if frame else HTTPStatus.NO_CONTENT
            self._send(status, frame, "application/octet-stream")
        else:
            self._refuse(Answer(HTTPStatus.NOT_FOUND, "there is no such page"))

    def do_POST(self) -> None:
        name = self._admitted()
        if name is None:
            return
        size = length(self.headers)
        if isinstance(size, Answer) or name != "order":
            refusal = size if isinstance(size, Answer) else None
            self._refuse(refusal or Answer(HTTPStatus.NOT_FOUND, "orders go to `order`"))
            return
        try:
            wish = json.loads(self.rfile.read(size), parse_constant=_no_number)
            if not isinstance(wish, dict):
                raise ValueError("it is no table")
        except (ValueError, RecursionError) as error:
            told = f"the order is not JSON: {error}"
            self._send_json(HTTPStatus.BAD_REQUEST, {"message": told})
            return
        try:
            self._send_json(HTTPStatus.OK, self.server.session.order(wish))
        except BusyError as error:
            self._send_json(HTTPStatus.SERVICE_UNAVAILABLE, {"message": str(error)})
        except Exception as error:  # a refusal, or a part that raises: the page says it
            self._send_json(HTTPStatus.BAD_REQUEST, {"message": in_words(error)})

    def _admitted(self) -> str | None:
        """The name that is asked for; None for a request that has been refused or led on."""
        refusal = foreign(self.headers, self.server.server_port)
        token, name, _ = split(self.path)
        if refusal is None and not same(token, self.server.token):
            if self.command == "GET" and not name and self.server.spends(token):
                self._send(HTTPStatus.SEE_OTHER, b"", "text/plain", Location=self.server.address)
                return None
            told = "the address lacks its token: open the one that the program printed"
            refusal = Answer(HTTPStatus.FORBIDDEN, told)
        if refusal is not None:
            self._refuse(refusal)
        return name if refusal is None else None

    def _refuse(self, refusal: Answer) -> None:
        """Refuse a request, and end its connection."""
        self.close_connection = True
        self._send_json(refusal.status, {"message": refusal.message})
        self.wfile.flush()
        if self.command != "POST":
            return
        # a client that still sends its order hears the answer only if somebody reads
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(DRAINING)
        left, block = DRAINED, b" "
        while left > 0 and block:
            block = self.rfile.read1(65536)
            left -= len(block)

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        text = json.dumps(value, allow_nan=False)
        self._send(status, text.encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str, **more: str) -> None:
        self.close_connection |= self.server.session.closed
        self.send_response(status)
        for name, value in {**HEADERS, **more, "Content-Type": kind}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request, in the words of the others."""
        self.close_connection = True
        self._send_json(HTTPStatus(code), {"message": message or HTTPStatus(code).phrase})

    def version_string(self) -> str:
        return "particleflow"

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal holds the address alone."""


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")
