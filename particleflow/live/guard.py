"""Who is answered: requests with the token, from this machine's own page, of a sane size.

A page of another site can send requests to this address, and can point its own name at it (DNS
rebinding). Host, Origin and Sec-Fetch-Site are written by the browser and give such a page away.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from urllib.parse import urlsplit

# Bytes of an order at most; a painting of 20000 points has 0.8 MB.
MOST_BYTES = 1_000_000
# The port of addresses that name none.
HTTP = 80


@dataclass(frozen=True)
class Answer:
    """Why a request is refused."""

    status: HTTPStatus
    message: str


def split(path: str) -> tuple[str, str, str]:
    """The token, the name and the query of a request's path, /TOKEN/NAME?QUERY."""
    parts = urlsplit(path)
    token, _, name = parts.path.removeprefix("/").partition("/")
    return token, name, parts.query


def same(token: str, other: str) -> bool:
    """Are two tokens the same? The time does not tell how far they agree."""
    return hmac.compare_digest(token.encode("utf-8", "replace"), other.encode())


def foreign(headers: Message, port: int) -> Answer | None:
    """The refusal of a request that does not come from the page itself."""
    names = {"127.0.0.1", "localhost"}
    # browsers leave out the port of http itself
    hosts = {f"{name}:{port}" for name in names} | (names if port == HTTP else set())
    if set(headers.get_all("Host", [])) - hosts or len(headers.get_all("Host", [])) != 1:
        return Answer(HTTPStatus.FORBIDDEN, "the host is not this machine's address: open that")
    origins = {f"http://{host}" for host in hosts}
    if set(headers.get_all("Origin", [])) - origins:
        return Answer(HTTPStatus.FORBIDDEN, "the request comes from another page: use this one's")
    if set(headers.get_all("Sec-Fetch-Site", [])) - {"same-origin", "none"}:
        return Answer(HTTPStatus.FORBIDDEN, "the request comes from another site: use this page")
    return None


def length(headers: Message) -> int | Answer:
    """The number of bytes of an order, or its refusal."""
    if headers.get_content_type() != "application/json":
        return Answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an order must be application/json")
    sizes = headers.get_all("Content-Length", [])
    if "Transfer-Encoding" in headers or len(sizes) != 1 or not sizes[0].isdecimal():
        return Answer(HTTPStatus.LENGTH_REQUIRED, "an order must have one Content-Length")
    # an int of many digits is refused by Python itself
    if len(sizes[0]) > len(str(MOST_BYTES)) or int(sizes[0]) > MOST_BYTES:
        told = f"an order must have at most {MOST_BYTES} bytes: paint less"
        return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)
    return int(sizes[0])
