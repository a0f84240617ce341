"""Labels of particles: the class of each, their names and their colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.plotting.style import DARK, LIGHT, WHEEL, toned
from particleflow.trajectory import Trajectory

# Most classes: the page sorts particles into so many shades.
MOST = 32


@dataclass(frozen=True)
class Classes:
    """The class of each particle.

    Attributes
    ----------
    of : (N,)
        A number from 0 on.
    names : the name of each number.
    """

    of: Int[np.ndarray, "N"]
    names: tuple[str, ...]

    @property
    def colours(self) -> list[list[str]]:
        """The colour of each class on a light and on a dark ground.

        Few classes have the colours of runs, more have hues around the circle.
        """
        count = len(self.names)
        if count <= len(LIGHT.runs):
            return [[LIGHT.runs[k], DARK.runs[k]] for k in range(count)]
        around = toned(np.arange(count) / count, WHEEL)
        return [[_hex(rgb)] * 2 for rgb in around]


def classed(labels: Any, runs: Mapping[str, Trajectory], name: str = "labels") -> Classes | None:
    """The classes that the argument `name` tells; None where there are none.

    Raises
    ------
    TypeError, ValueError
        No whole numbers or texts, not one for each particle of every run, or too many classes.
    """
    if labels is None:
        return None
    remedy = f"pass a whole number or a text for each particle, e.g. {name}=digits.target"
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    several = _checks.several(labels, name, remedy=remedy)
    try:
        given = np.asarray(several)
    except ValueError:  # lists of different lengths
        given = np.asarray(several, dtype=object)
    if given.dtype.kind not in "biuU":
        raise RefusedTypeError(
            name, "must be whole numbers or texts", f"{given.dtype} numbers", remedy
        )
    for run_name, run in runs.items():
        count = run.particles.shape[1]
        if given.shape != (count,):
            whose = f" of {run_name!r}" if run_name else ""
            wanted = f"must be one for each of the {count} particles{whose}"
            raise RefusedValueError(name, wanted, f"shape {given.shape}", remedy)
    names, of = np.unique(given, return_inverse=True)
    if len(names) > MOST:
        fewer = "join some, or leave them out"
        raise RefusedValueError(name, f"must be of at most {MOST} classes", len(names), fewer)
    return Classes(of, tuple(str(name) for name in names))


def _hex(rgb: Any) -> str:
    return "#" + "".join(f"{round(255 * channel):02X}" for channel in rgb)
