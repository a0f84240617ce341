"""Libraries that backends need and that may be missing: imported where they are used, refused with
the remedy.
"""

from __future__ import annotations

import importlib
from typing import Any


def library(module: str, backend: str) -> Any:
    """A library's module, for a backend that was asked for by name.

    Raises
    ------
    ImportError
        It is not installed, or does not load.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        name = package(module)
        raise ImportError(
            f"`{backend}` needs the package {name}, which cannot be imported ({error}): install it"
            f" with `pip install {name}`, or take particleflow.pairwise.Auto, which does with what"
            " is there, or Dense, which needs nothing"
        ) from error


def package(module: str) -> str:
    """What pip installs it with."""
    return module.partition(".")[0]


class Later:
    """A module that is imported when something of it is first used: `fft = Later("scipy.fft")`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self._name), name)
        setattr(self, name, found)
        return found
