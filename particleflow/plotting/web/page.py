"""The player: one HTML file that shows flows in step, offline, in any browser."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from particleflow import _checks
from particleflow.plotting.drawing.labels import Classes, classed
from particleflow.plotting.scenes.records import named, writable, write
from particleflow.plotting.style import DARK, LIGHT, Theme
from particleflow.plotting.web.facts import packed
from particleflow.plotting.web.pack import plain
from particleflow.trajectory import Trajectory

# A page of more bytes is slow to send and to open: fewer records, then fewer particles.
LARGEST = 8_000_000
# The same within a notebook, which is saved with all its pages.
LARGEST_FRAME = 2_000_000


def player(
    paths: Trajectory | Mapping[str, Trajectory],
    file: str | Path,
    *,
    title: str = "",
    as_images: tuple[int, int] | None = None,
    labels: Sequence[Any] | np.ndarray | Tensor | None = None,
    python: str = "",
) -> Path:
    """Write one self-contained HTML page that plays one run, or several in step; returns its path.

    The page needs no network and no library. It shows panels beside or over each other, curves of
    the recorded metrics under one cursor, trails, colours by start, flow, speed, mass or witness,
    arrows (with `SaveAt(velocity=True)`), a heat map of the witness (with `SaveAt(witness=True)`),
    and the whole path of the particle under the pointer in every flow. In
    d = 1 the picture is space against time, in d = 3 it can be turned, in d > 3 it shows any pair
    of the target's first six principal axes. A page of more than about 8 MB would be slow to open:
    it shows fewer records, then fewer particles, and says so.

    Parameters
    ----------
    paths : Trajectory, or mapping of name to Trajectory
    file : str or Path
        Ends in .html.
    title : str
        Shown above, and as the name of the page.
    as_images : (height, width)
        Show each particle as a grey picture of so many pixels; height * width = d.
    labels : (N,) whole numbers or texts, optional
        A class of each particle, e.g. that of the point where it began; at most 32 classes. The
        page offers them as colours.
    python : str
        The lines that made this, Python or a command, which the page offers to copy.

    Raises
    ------
    TypeError, ValueError
        For what cannot be shown together, for pictures of another size than d, and for labels of
        another number than N.
    OSError
        The file cannot be written.
    """
    runs = named(paths)
    _checks.text(title, "title", remedy="e.g. 'Four flows'")
    _checks.text(python, "python", remedy="the lines that made the runs")
    path = writable(file, (".html", ".htm"), "pass e.g. 'flow.html'")
    if as_images is not None:
        _fits(as_images, next(iter(runs.values())).particles.shape[2])
    classes = classed(labels, runs)
    made = page(runs, title=title, as_images=as_images, classes=classes, python=python)
    write(path, made.encode())
    return path


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


def frame(runs: Mapping[str, Trajectory], *, height: int = 620) -> str:
    """The page within another one, as a notebook shows it."""
    _checks.count(height, "height", remedy="the height of the frame in pixels, e.g. 620")
    inside = html.escape(page(runs, largest=LARGEST_FRAME), quote=True)
    return (
        f'<iframe srcdoc="{inside}" title="particle flow" width="100%" height="{height}"'
        ' style="border:0" allow="fullscreen" loading="lazy"></iframe>'
    )


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
