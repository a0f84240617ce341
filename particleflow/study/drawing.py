"""The figure of a study: the metric over its floor, a panel a task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from particleflow.study.result import Result


def curves(
    result: Result, file: str | Path | None, against: str, tasks: Sequence[str] | None, role: str
) -> Figure:
    """Draw the median and a band for each contender."""
    raise NotImplementedError
