"""Files that are written whole or not at all, and the paths that users give."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from particleflow._refusals import RefusedValueError

# The byte that is locked on Windows, beyond all that a lock file says.
FAR = 2**30


def at_home(path: str | Path) -> Path:
    """The path with a leading ~ replaced by the home folder.

    Raises
    ------
    ValueError
        No user of this name has a home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise RefusedValueError(
            "path",
            f"must be a path on this machine, and {user} is nobody's home",
            path,
            f"write ./{path} for one here",
        ) from None


def misread(path: str | Path, error: Exception) -> str:
    """What a file that numpy could not read holds; numpy's own message advises to trust it."""
    try:
        with open(path, "rb") as file:
            begins = file.read(6)
    except OSError as unread:
        return f"nothing that can be read ({unread.strerror})"
    if not begins:
        return "an empty file"
    if not begins.startswith((b"\x93NUMPY", b"PK")):
        return "a file of another kind"
    if "allow_pickle" in str(error):
        return "Python objects"
    return (
        f"something else ({error})"
        if isinstance(error, (KeyError, TypeError))
        else f"a damaged file ({error})"
    )


def refuse_unless_writable(path: Path, name: str) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    `name` is that of the argument.
    """
    refuse_a_folder(path, name)
    trial = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        trial.open("xb").close()
        trial.unlink()
    except OSError as error:
        raise not_written(path, name, error.strerror or error) from error


def refuse_a_folder(path: Path, name: str) -> None:
    """Refuse the path of a folder in the place of a file's."""
    if path.is_dir():
        told = f"`{name}` '{path}' could not be written: it is a folder: choose another name"
        raise IsADirectoryError(told)


def not_written(path: Path, name: str, why: object) -> OSError:
    """The error of a file that cannot be written."""
    told = f"`{name}` '{path}' could not be written: {why}: choose a folder that is writable"
    return OSError(told)


@contextmanager
def replacing(path: Path, *, durable: bool = False, name: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `path` once all is written.

    An error leaves the old file as it was, and no partial file. Two processes that write the same
    path do not disturb each other: the last file written stays, whole. With `durable` the file
    outlives a power failure once the block is left. Without `name` its new name does so only with
    the next durable file of the folder.
    """
    part = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            if durable:
                file.flush()
                to_disk(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    if durable and name:
        folder_to_disk(path.parent)


def to_disk(place: int) -> None:
    """Return once the disk itself holds what was written to a file, given its descriptor."""
    if sys.platform == "darwin":
        import fcntl

        try:  # fsync leaves the data in the drive's own memory there
            fcntl.fcntl(place, fcntl.F_FULLFSYNC)
            return
        except OSError:  # a file system without it
            pass
    os.fsync(place)


def folder_to_disk(folder: Path) -> None:
    """Return once the disk holds the names of a folder's files."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def replace_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; see `replacing`."""
    with replacing(path, durable=durable) as file:
        file.write(data)


def replace_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, in UTF-8."""
    replace_bytes(path, text.encode("utf-8"))


@contextmanager
def alone(folder: Path, argument: str) -> Iterator[None]:
    """Keep other runs out of the folder within the block.

    The results of two runs would be mixed, under the settings of one. `argument` is the name of the
    folder in messages. Nobody is kept out where the
    system or the file system has no locks.

    Raises
    ------
    RefusedValueError
        Another run uses the folder.
    """
    if sys.platform == "win32":  # a folder cannot be opened there
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        if locked(place) is False:
            raise RefusedValueError(
                argument,
                f"must be a folder of one run, and another one writes to {folder}",
                remedy="wait for it, or choose another",
            )
        yield
    finally:
        os.close(place)


def locked(place: int) -> bool | None:
    """Lock a file for this process until it is closed, given its descriptor.

    False where another process has it; None where the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(place, FAR, os.SEEK_SET)  # the locked byte cannot be read by others
        try:
            msvcrt.locking(place, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(place, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
