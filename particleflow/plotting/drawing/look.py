"""The options of pictures and films: how particles are coloured, and what is drawn beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.plotting.drawing.labels import Classes, classed
from particleflow.plotting.scenes.known import asked
from particleflow.plotting.style import Theme, theme
from particleflow.trajectory import Trajectory

# What may colour the particles.
COLOURED = ("flow", "start", "speed", "mass")


@dataclass(frozen=True)
class Look:
    """How runs are drawn. `asked` checks the options that users pass.

    Attributes
    ----------
    color : str
        "flow": one colour for each run. "start": by where a particle began. "speed": by |v|.
        "mass": by its mass over the mean, of unbalanced flows. "class": by `classes`.
    trails : float
        The share of the path's length, 0 ... 1, that is drawn behind each particle.
    arrows : bool
        Velocities of some particles as arrows.
    dark : bool
        A dark ground.
    classes : Classes or None
        The class of each particle, where they were asked for as colours.
    """

    color: str = "flow"
    trails: float = 0.0
    arrows: bool = False
    dark: bool = False
    as_images: tuple[int, int] | None = None
    classes: Classes | None = None

    @property
    def theme(self) -> Theme:
        return theme(self.dark)

    @classmethod
    def asked(
        cls,
        runs: Mapping[str, Trajectory],
        *,
        color: Any = "flow",
        trails: Any = False,
        arrows: Any = False,
        dark: Any = False,
        as_images: Any = None,
    ) -> Look:
        """Return the look that was asked for.

        Raises
        ------
        TypeError, ValueError
            An option has another type or value; color="mass" for runs whose masses are all equal;
            trails or arrows where points lie on a line or are shown as pictures.
        """
        d = next(iter(runs.values())).particles.shape[2]
        shape = pixels(as_images, d)
        classes = None
        if not isinstance(color, str) and isinstance(color, Iterable):
            color, classes = "class", classed(color, runs, "color")
        elif not isinstance(color, str) or color not in COLOURED:
            kinds = ", ".join(f"'{kind}'" for kind in COLOURED)
            raise RefusedValueError(
                "color", f"must be one of {kinds}", _checks.said(color), "pass e.g. color='start'"
            )
        if color == "mass" and (equal := [n for n, run in runs.items() if run.log_mass is None]):
            whose = f"equal masses in {', '.join(map(repr, equal))}" if any(equal) else "equal ones"
            remedy = "pass color='speed', or a flow with `reaction`"
            raise RefusedValueError("color", "'mass' needs a run with masses", whose, remedy)
        behind = share(trails, "trails")
        beside = _checks.flag(arrows, "arrows")
        plain = "particles are shown as pictures" if shape else "the points lie on a line (d = 1)"
        given = {"trails": behind, "arrows": beside, "color": shape and color != "flow"}
        for name, value in given.items():
            if value and (shape or d == 1):
                came = {"trails": trails, "arrows": arrows, "color": color}[name]
                raise RefusedValueError(name, f"cannot be shown: {plain}", came, "leave it out")
        return cls(color, behind, beside, _checks.flag(dark, "dark"), shape, classes)


def framed(
    runs: Mapping[str, Trajectory],
    look: Look,
    *,
    axes: Any = None,
    xlim: Any = None,
    ylim: Any = None,
    density: Any = None,
) -> dict[str, Any]:
    """Return the options of a `Scene` that were asked for: coordinates, limits and the density.

    Raises
    ------
    TypeError, ValueError
        An option has another type or value, or does not act on these runs.
    """
    d = next(iter(runs.values())).particles.shape[2]
    made = {
        "axes": coordinates(axes, d),
        "xlim": limits(xlim, "xlim"),
        "ylim": limits(ylim, "ylim"),
    }
    for name, value in made.items():
        why, remedy = "", "leave it out"
        if look.as_images:
            why = "particles are shown as pictures"
        elif name == "ylim" and d == 1:
            why, remedy = "the points lie on a line (d = 1)", "pass xlim for the coordinate"
        elif name != "axes" and d == 3 and axes is None:
            why, remedy = "d = 3 is seen in perspective", "pass axes=(0, 1) too, for a plane"
        if value is not None and why:
            raise RefusedValueError(name, f"cannot be used: {why}", value, remedy)
    return made | {"density": asked(density, runs)}


def pixels(value: Any, d: int) -> tuple[int, int] | None:
    """Height and width of pictures with d pixels; None where they are not given."""
    if value is None:
        return None
    remedy = "pass (height, width) with height * width = d, e.g. (8, 8) for d = 64"
    height, width = (
        _checks.count(side, "as_images", remedy=remedy)
        for side in _pair(value, "as_images", remedy)
    )
    if height * width != d:
        raise RefusedValueError("as_images", f"must fill d = {d} pixels", (height, width), remedy)
    return height, width


def share(value: Any, name: str) -> float:
    """A number from 0 to 1; False is 0 and True is 1."""
    remedy = "pass a share of the path from 0 to 1, e.g. 0.2, or False"
    if isinstance(value, bool | np.bool_):
        return float(value)
    number = _checks.non_negative(value, name, remedy=remedy)
    if number > 1:
        raise RefusedValueError(name, "must be at most 1", f"{number:g}", remedy)
    return number


def limits(value: Any, name: str) -> tuple[float, float] | None:
    """The two ends of an axis, the lower one first; None where they are not given."""
    if value is None:
        return None
    remedy = "pass (low, high), e.g. (-1.0, 2.5), or leave it out"
    ends = [_checks.real(end, name, remedy=remedy) for end in _pair(value, name, remedy)]
    if not ends[0] < ends[1]:
        raise RefusedValueError(name, "must increase", (ends[0], ends[1]), remedy)
    return ends[0], ends[1]


def coordinates(value: Any, d: int) -> tuple[int, int] | None:
    """Two different coordinates of points in d dimensions; None where they are not given."""
    if value is None:
        return None
    remedy = f"pass two different coordinates of 0 to {d - 1}, e.g. (0, 1), or leave it out"
    if d == 1:
        remedy = "leave it out: the points have one coordinate"
    i, j = (_checks.count(k, "axes", least=0, remedy=remedy) for k in _pair(value, "axes", remedy))
    if max(i, j) >= d or i == j:
        raise RefusedValueError("axes", f"must be two of {d} coordinates", (i, j), remedy)
    return i, j


def _pair(value: Any, name: str, remedy: str) -> Sequence[Any]:
    both = _checks.several(value, name, remedy=remedy)
    if len(both) != 2:
        raise RefusedTypeError(name, "must be two numbers", _checks.said(value), remedy)
    return both
