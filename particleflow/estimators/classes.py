"""Check the classes of particles and target points, and the similarity of two classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError

# The negative eigenvalue, by class, that is rounding.
ROUNDED = 1e-10
# Classes that are named in a message or a repr.
NAMED = 6


def classes_of(
    x_labels: Any, y_labels: Any, *, needed: bool
) -> tuple[tuple[str, ...], Int[np.ndarray, "N"], Int[np.ndarray, "M"] | None]:
    """The names of the classes, in sorted order, and the number of each row's class."""
    x = labels_of(x_labels, "x_labels")
    if y_labels is None:
        if needed:
            raise RefusedValueError(
                "y_labels", "must name the class of each target point", "None", "pass (M,) labels"
            )
        names, codes = np.unique(x, return_inverse=True)
        return tuple(map(str, names)), codes, None
    y = labels_of(y_labels, "y_labels")
    if (x.dtype.kind == "U") != (y.dtype.kind == "U"):
        raise RefusedTypeError(
            "y_labels", "must be of the kind of `x_labels`", f"{y.dtype} for {x.dtype}", "convert"
        )
    names = np.unique(np.concatenate([x, y]))
    for one, other, name, lacks in (
        (x, y, "x_labels", "target point"),
        (y, x, "y_labels", "particle"),
    ):
        alone = np.setdiff1d(one, other)
        if len(alone):
            told = ", ".join(map(str, alone[:NAMED])) + (", ..." if len(alone) > NAMED else "")
            raise RefusedValueError(
                name, f"must name classes that have a {lacks} too", told, "leave their rows out"
            )
    return tuple(map(str, names)), np.searchsorted(names, x), np.searchsorted(names, y)


def labels_of(value: Any, name: str) -> np.ndarray:
    """Labels as an array of whole numbers or texts, which files can hold."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    remedy = "pass a whole number or a text for each row"
    given = np.asarray(_checks.several(value, name, remedy=remedy))
    if given.dtype.kind not in "biuU" or given.ndim != 1 or not len(given):
        came = f"{given.dtype} of shape {given.shape}"
        raise RefusedTypeError(name, "must be whole numbers or texts", came, remedy)
    return given


def similarity(between: Any, count: int) -> Float[np.ndarray, "C C"]:
    """The checked similarity of classes, as a matrix."""
    remedy = "pass one number from 0 to 1, or a matrix with ones on its diagonal"
    if isinstance(between, Tensor):
        between = between.detach().cpu().numpy()
    try:
        given = np.asarray(between, dtype=np.float64)
    except (TypeError, ValueError):
        raise RefusedTypeError(
            "between", "must be numbers", _checks.said(between), remedy
        ) from None
    if given.ndim == 0:
        made = np.full((count, count), float(given))
        np.fill_diagonal(made, 1.0)
    elif given.shape == (count, count):
        made = given
    else:
        wanted = f"must be one number or ({count}, {count}), for {count} classes"
        raise RefusedValueError("between", wanted, f"shape {given.shape}", remedy)
    if not ((made >= 0) & (made <= 1)).all() or not (np.diagonal(made) == 1).all():
        raise RefusedValueError(
            "between", "must be from 0 to 1, and 1 on the diagonal", _checks.said(between), remedy
        )
    if not np.array_equal(made, made.T) or np.linalg.eigvalsh(made)[0] < -ROUNDED * count:
        raise RefusedValueError(
            "between",
            "must be symmetric and positive semidefinite",
            _checks.said(between),
            "lower what is beside the diagonal",
        )
    return made
