"""JSON documents that hold their own SHA-256, and the reading of files that nobody vouches for.

A document is one line of JSON whose last entry is "sha256", the digest of all bytes before that
entry. It is checked before anything is parsed. Numbers that are not finite are written as Python's
json module does it: NaN, Infinity, -Infinity.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from particleflow.checkpoint.errors import DamageError

# Most bytes of a document: the scalars of a million records. A parsed document takes ten times
# the memory.
MOST = 64 * 2**20
# Bytes that are read and hashed at once.
CHUNK = 2**20
# The end of a document.
SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n\Z')
# The number of bytes of that end.
SEAL_BYTES = len(b',"sha256":""}\n') + 64


def sealed(body: Mapping[str, Any]) -> tuple[bytes, str]:
    """The bytes of a document with the entries of `body`, and its SHA-256."""
    text = json.dumps(body, separators=(",", ":"))[:-1].encode()
    digest = hashlib.sha256(text).hexdigest()
    data = text + f',"sha256":"{digest}"}}\n'.encode()
    if len(data) > MOST:
        raise ValueError(
            f"a commit may hold {MOST // 2**20} MB of scalars and facts, got {len(data) // 2**20}:"
            " commit more often"
        )
    return data, digest


def unsealed(data: bytes) -> tuple[dict[str, Any], str]:
    """The entries of a document, and its SHA-256.

    Raises
    ------
    DamageError
        The digest differs, or the text is no JSON object.
    """
    seal = SEAL.search(data, max(0, len(data) - SEAL_BYTES))
    if seal is None:
        raise DamageError("has lost its end")
    digest = seal.group(1).decode()
    if hashlib.sha256(data[: seal.start()]).hexdigest() != digest:
        raise DamageError("has another SHA-256 than it says")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"holds no JSON ({error})") from None
    if not isinstance(body, dict):
        raise DamageError("holds no JSON object")
    del body["sha256"]
    return body, digest


def document(path: Path) -> tuple[dict[str, Any], str]:
    """The entries and the SHA-256 of the document in a file; see `unsealed`."""
    with regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST:
            raise DamageError(f"is {size} bytes long, more than any that is written")
        return unsealed(file.readall())


def regular(path: Path, *, write: bool = False) -> FileIO:
    """An existing file, opened without a buffer; the file itself, and not what a link leads to.

    Raises
    ------
    DamageError
        It is a link, a folder, a pipe or a device, or it does not exist.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | getattr(os, "O_NOFOLLOW", 0)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would be waited for
            raise DamageError("is no plain file")
        place = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):  # it may go between the two
        raise DamageError("is missing") from None
    return FileIO(place, "r+b" if write else "rb")


def plain_folder(path: Path) -> bool:
    """Is it a folder, and no link to one?"""
    return path.is_dir() and not path.is_symlink()


def hashed(file: FileIO, length: int) -> str:
    """The SHA-256 of the next `length` bytes of a file.

    Raises
    ------
    DamageError
        The file ends before.
    """
    digest = hashlib.sha256()
    left = length
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise DamageError(f"is {left} bytes too short")
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


def whole(entry: Any, least: int = 0) -> int:
    """A whole number read from a document.

    Raises
    ------
    DamageError
        It is something else, or less than `least`.
    """
    if not isinstance(entry, int) or isinstance(entry, bool) or entry < least:
        raise DamageError(f"has {str(entry)[:40]} in the place of a whole number")
    return entry


def fingerprint(entry: Any) -> str:
    """A SHA-256 read from a document."""
    if not isinstance(entry, str) or not re.fullmatch(r"[0-9a-f]{64}", entry):
        raise DamageError(f"has {str(entry)[:40]} in the place of a SHA-256")
    return entry
