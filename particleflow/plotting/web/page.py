"""The player: one HTML file that shows flows in step, offline, in any browser."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, overload

import numpy as np
from torch import Tensor

from particleflow import _checks
from particleflow.plotting.drawing.labels import Classes, classed
from particleflow.plotting.notebook import Frame, Page
from particleflow.plotting.scenes.records import named, writable, write
from particleflow.plotting.style import DARK, LIGHT, Theme
from particleflow.plotting.web.facts import packed
from particleflow.plotting.web.pack import plain
from particleflow.trajectory import Trajectory

# A page of more bytes is slow to send and to open: fewer records, then fewer particles.
LARGEST = 8_000_000
# The same within a notebook, which is saved with all its pages.
LARGEST_FRAME = 2_000_000


@overload
def player(
    paths: Trajectory | Mapping[str, Trajectory],
    file: str | Path,
    *,
    title: str = ...,
    as_images: tuple[int, int] | None = ...,
    labels: Sequence[Any] | np.ndarray | Tensor | None = ...,
    python: str = ...,
) -> Page: ...
@overload
def player(
    paths: Trajectory | Mapping[str, Trajectory],
    file: None = ...,
    *,
    title: str = ...,
    as_images: tuple[int, int] | None = ...,
    labels: Sequence[Any] | np.ndarray | Tensor | None = ...,
    python: str = ...,
) -> Frame: ...
def player(
    paths: Trajectory | Mapping[str, Trajectory],
    file: str | Path | None = None,
    *,
    title: str = "",
    as_images: tuple[int, int] | None = None,
    labels: Sequence[Any] | np.ndarray | Tensor | None = None,
    python: str = "",
) -> Page | Frame:
    """Make one self-contained HTML page that plays one run, or several in step; return its path.

    The page needs no network and no library. It shows panels beside or over each other, curves of
    the recorded metrics under one cursor, trails, colours by start, flow, speed, mass or witness,
    arrows (with `SaveAt(velocity=True)`), a heat map of the witness (with `SaveAt(witness=True)`),
    and the whole path of the particle under the pointer in every flow.

    - d = 1: space against time.
    - d = 2: the plane.
    - d = 3: a view that can be turned.
    - d > 3: any pair of the target's first six principal axes.

    A page of more than about 8 MB would be slow to open: it shows fewer records, then fewer
    particles, and says so.

    Parameters
    ----------
    paths : Trajectory, or mapping of name to Trajectory
        Runs in one dimension.
    file : str or Path, optional
        Where to write it; ends in .html. Without it the page is returned unwritten, with at most
        about 2 MB, for a notebook.
    title : str
        Shown above, and as the name of the page.
    as_images : (height, width), optional
        Show each particle as a grey picture of so many pixels; height * width = d.
    labels : (N,) whole numbers or texts, optional
        A class of each particle, e.g. that of the point where it began; at most 32 classes. The
        page offers them as colours.
    python : str
        The lines that made this, Python or a command, which the page offers to copy.

    Returns
    -------
    Path or Frame
        The path of the page, or the page in no file. A notebook shows either, where the call is the
        last line of a cell.

    Raises
    ------
    TypeError
        `paths` is no Trajectory and no mapping to them, `labels` are neither whole numbers nor
        texts, or an option has another type.
    ValueError
        There is no run, the runs have different dimensions, `file` has another suffix, pictures
        have another size than d, or labels another number than N.
    OSError
        The file cannot be written, or its folder does not exist.

    Cost: about 10 ms for 1000 particles and a few records; 2 s and 7 MB for five records of a
    million.

    >>> x0 = pf.samplers.Gaussian(dim=2, std=0.1).sample(30, seed=0)
    >>> y = pf.samplers.Rings().sample(40, seed=1)
    >>> path = pf.simulate(pf.mmd_flow(pf.kernels.Gaussian(0.2)), x0, y, steps=20)
    >>> page = pf.plotting.player({"MMD flow": path}, "flow.html", title="Rings")
    >>> page.stat().st_size < 200_000
    True
    """
    runs = named(paths)
    _checks.text(title, "title", remedy="e.g. 'Four flows'")
    _checks.text(python, "python", remedy="the lines that made the runs")
    path = None if file is None else writable(file, (".html", ".htm"), "pass e.g. 'flow.html'")
    if as_images is not None:
        _fits(as_images, next(iter(runs.values())).particles.shape[2])
    classes = classed(labels, runs)
    largest = LARGEST_FRAME if path is None else LARGEST
    made = page(
        runs, title=title, as_images=as_images, classes=classes, python=python, largest=largest
    )
    if path is None:
        return Frame(made)
    write(path, made.encode())
    return Page(path)


def page(
    runs: Mapping[str, Trajectory],
    *,
    title: str = "",
    as_images: tuple[int, int] | None = None,
    classes: Classes | None = None,
    python: str = "",
    largest: int = LARGEST,
) -> str:
    """The text of the page, of about `largest` bytes at most. See `player`."""
    facts, arrays = packed(runs, as_images, largest, classes)
    facts |= {"title": title or " and ".join(filter(None, runs)) or "particle flow"}
    facts |= {"python": python, "copies": _kind(python)}
    here = files("particleflow.plotting.web")
    template, style, *scripts = (
        here.joinpath(name).read_text(encoding="utf-8")
        for name in (
            "template.html",
            "player.css",
            "points.js",
            "unpack.js",
            "axes.js",
            "saving.js",
            "pointer.js",
            "player.js",
        )
    )
    parts = {
        "TITLE": html.escape(str(facts["title"])),
        "STYLE": f":root {{ {_variables(LIGHT)} }}\n.dark {{ {_variables(DARK)} }}\n{style}",
        "SCRIPT": _short("\n".join(scripts)),
        "FACTS": json.dumps(plain(facts), separators=(",", ":")).replace("<", "\\u003c"),
        "ARRAYS": arrays,
    }
    return re.sub(r"%([A-Z]+)%", lambda found: parts[found.group(1)], template)


def _fits(as_images: tuple[int, int], d: int) -> None:
    remedy = "pass (height, width) with height * width = d, e.g. (8, 8) for d = 64"
    sides = _checks.several(as_images, "as_images", remedy=remedy)
    for side in sides:
        _checks.count(side, "as_images", remedy=remedy)
    if len(sides) != 2 or sides[0] * sides[1] != d:
        raise ValueError(f"`as_images` must fill d = {d} pixels, got {as_images}: {remedy}")


def _kind(lines: str) -> str:
    """What lines to copy are: Python, or a command of the shell."""
    try:
        ast.parse(lines)
    except (SyntaxError, ValueError):
        return "command"
    return "Python"


def _short(script: str) -> str:
    """The script without its comments and its indentation: the page is for browsers."""
    lines = (line.strip() for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _variables(theme: Theme) -> str:
    """The colours of a theme as the style sheet's variables."""
    named = {
        "ground": theme.ground,
        "ink": theme.ink,
        "quiet": theme.faint,
        "line": theme.spine,
        "target": theme.target,
    }
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())
