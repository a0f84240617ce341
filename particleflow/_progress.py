"""The progress bar of a run: on a terminal, and in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

# Columns of a bar of text in a notebook, which has no width of its own.
COLUMNS = 80


def in_notebook() -> bool:
    """Does this process run the cells of a notebook?"""
    shell = sys.modules.get("IPython")
    running = None if shell is None else shell.get_ipython()
    return running is not None and "IPKernelApp" in running.config


def bar(iterable: Iterable[Any] | None = None, *, total: int, unit: str, initial: int = 0) -> Any:
    """A bar of tqdm. There is none where the output is redirected.

    A notebook without ipywidgets gets a line of text. It is written to stdout, because a notebook
    shows stderr as an error.
    """
    settings: dict[str, Any] = {"total": total, "unit": unit, "initial": initial, "leave": False}
    if in_notebook() and find_spec("ipywidgets") is None:
        from tqdm.std import tqdm

        return tqdm(iterable, file=sys.stdout, ncols=COLUMNS, **settings)
    from tqdm.auto import tqdm

    return tqdm(iterable, disable=None, **settings)
