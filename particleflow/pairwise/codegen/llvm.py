"""The one door to llvmlite: it is imported when the first code is written, not before."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llvmlite import binding, ir
else:

    class Library:
        """A module that is imported when something of it is first asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            found = getattr(importlib.import_module(self._name), name)
            setattr(self, name, found)
            return found

    binding, ir = Library("llvmlite.binding"), Library("llvmlite.ir")

__all__ = ["binding", "ir"]
