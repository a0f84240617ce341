"""The paths given for settings, in the form that config.toml holds."""

from __future__ import annotations

from pathlib import Path

from particleflow._files import at_home
from particleflow._refusals import Argument, Refusal, RefusedValueError

# The file that repeats a run.
CONFIG = "config.toml"
# The folder within that of a run where it is kept while it is made.
CHECKPOINT = "checkpoint"


def is_kept(out: Path) -> bool:
    """Does the folder of a run hold a checkpoint?"""
    return (out / CHECKPOINT / "run.json").is_file()


def home(path: str, setting: str) -> Path:
    """The path given for a setting, with a leading ~ replaced by the home folder."""
    try:
        return at_home(path)
    except Refusal as error:
        raise error.renamed({"path": Argument(setting)}) from None


def absolute(path: str, setting: str) -> str:
    """The absolute path of a file, which config.toml holds: TOML is UTF-8.

    Raises
    ------
    RefusedValueError
        The path leads to no file, its name is not UTF-8, or it begins with the home of no user.
    """
    try:
        whole = str(home(path, setting).resolve())
    except RuntimeError:
        raise RefusedValueError(
            setting,
            "must be a file that exists",
            f"{path}, a link that leads nowhere",
            "name the file itself",
        ) from None
    except OSError as error:
        raise RefusedValueError(
            setting, "must be a file that exists", path, f"{error.strerror}: choose another"
        ) from None
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        said = whole.encode("utf-8", "backslashreplace").decode()
        raise RefusedValueError(
            setting,
            "must have a name in UTF-8, which config.toml can hold",
            said,
            "rename or link it",
        ) from None
    return whole
