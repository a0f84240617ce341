"""Libraries that backends need and that may be missing.

They are imported where they are used. A missing one is refused with the remedy.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


def library(module: str, backend: str) -> ModuleType:
    """The module of a library, for a backend that was asked for by name.

    Raises
    ------
    ImportError
        The library is not installed, or does not load.
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
    """The name under which pip installs a module."""
    return module.partition(".")[0]


class Later:
    """A module imported at the first use of one of its names: `fft = Later("scipy.fft")`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self._name), name)
        setattr(self, name, found)
        return found
