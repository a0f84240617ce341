"""Import llvmlite when the first code is written, not before: the one door to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from particleflow._libraries import Later

if TYPE_CHECKING:
    from llvmlite import binding, ir
else:
    binding, ir = Later("llvmlite.binding"), Later("llvmlite.ir")

__all__ = ["binding", "ir"]
