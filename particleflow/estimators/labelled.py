"""An estimator that compares particles with the target within each class alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud, FixedCloud
from particleflow.estimators.base import (
    ByRow,
    Estimator,
    Fit,
    FlowDefaults,
    GradWitness,
    HalfSquaredNorm,
    SameBandwidth,
    Witness,
    Wrapping,
    check_estimator,
    fitted,
    smoothness_of,
)
from particleflow.estimators.classes import NAMED, classes_of, labels_of, similarity
from particleflow.kept import Kept
from particleflow.pairwise import Promise

Rows: TypeAlias = Int[Tensor, "n"]


@dataclass(frozen=True, eq=False, repr=False)
class Labelled(Wrapping, SameBandwidth, ByRow):
    r"""Compare particles that have a class with the target within their class.

    .. math::

        w_a = \sum_b \sqrt{p_b / p_a}\, L_{ab}\, f_b

    w_a is the witness of a particle of class a. L is the similarity of classes, f_b the witness of
    `estimator` for the particles and target points of class b alone, and p_b the share of the
    particles' mass in class b. Without similarity, L = I, that is w_a = f_a: each class flows as it
    would by itself, whatever its share. `Fit.value` is

    .. math::

        E = \frac12 \sum_{ab} \sqrt{p_a p_b}\, L_{ab} \langle f_a, f_b \rangle
        \qquad \text{or} \qquad E = \sum_a p_a E_a

    the latter without similarity. The former is that of the product kernel L_ab k(z, y) on pairs of
    class and point, where each class has the weight 1 / sqrt(p_a p_b) that makes it as fast as
    alone. Masses within a class are normalised: the shares of the target's classes do not matter,
    and masses do not cross between classes.

    Row i of the particles, and row i of the queries, has the class x_labels[i]. `witness.of(label)`
    is the witness of one class at any points.

    Parameters
    ----------
    estimator : Estimator
        A fit of its own for each class: its memory, warm start and bandwidth.
    x_labels : (N,)
        Whole numbers or texts, the class of each particle.
    y_labels : (M,)
        That of each target point: the same classes. None where `estimator` needs no target.
    between : float or (C, C)
        The similarity of two classes, 0 <= L_ab <= 1, where L_aa = 1: one number for all pairs, or
        a matrix in the sorted order of the labels, symmetric and positive semidefinite. Other than
        0 for `MMD` only, whose witness is linear in the clouds.

    Raises
    ------
    TypeError
        `estimator` is no estimator, or has labels already; labels are no whole numbers or texts;
        `between` is given with another estimator than MMD.
    ValueError
        A class has no particles, target points or mass; `between` is no similarity. At a fit: the
        numbers of labels and points differ.

    Cost: that of `estimator` for each class, so about a C-th of that for all particles with C
    classes.

    Each particle sees its own class alone. At the distance 1, half a squared MMD is 1 - exp(-1/2):

    >>> mmd = pf.estimators.MMD(pf.kernels.Gaussian(1.0))
    >>> estimator = pf.estimators.Labelled(mmd, ["a", "b"], ["a", "a", "b"])
    >>> x, y = [[0.0], [9.0]], [[1.0], [1.0], [8.0]]
    >>> fit = pf.fit(estimator, x, y)
    >>> round(fit.value, 4)
    0.3935
    >>> fit.witness.value_and_grad(torch.tensor(x))[1]
    tensor([[ 0.6065],
            [-0.6065]])
    """

    estimator: Estimator
    x_labels: Any
    y_labels: Any = None
    between: Any = 0.0
    names: tuple[str, ...] = field(default=(), init=False)
    _x: Int[np.ndarray, "N"] = field(init=False)
    _y: Int[np.ndarray, "M"] | None = field(init=False)
    _similar: Float[np.ndarray, "C C"] = field(init=False)
    _each: tuple[Estimator, ...] = field(init=False)
    _targets: Kept = field(default_factory=Kept, init=False)

    def __post_init__(self) -> None:
        check_estimator(self.estimator)
        if isinstance(self.estimator, ByRow):
            raise RefusedTypeError(
                "estimator", "must be without labels", type(self.estimator).__name__, "label once"
            )
        if isinstance(self.estimator, FlowDefaults):
            object.__setattr__(self, "estimator", self.estimator.in_flow())
        for name, given in (("x_labels", self.x_labels), ("y_labels", self.y_labels)):
            if given is not None or name == "x_labels":
                object.__setattr__(self, name, labels_of(given, name))
        names, x, y = classes_of(self.x_labels, self.y_labels, needed=self.estimator.needs_target)
        similar = similarity(self.between, len(names))
        off = similar - np.eye(len(names))
        if off.any() and not isinstance(self.estimator, HalfSquaredNorm):
            raise RefusedTypeError(
                "between",
                "must be 0 where the witness is not linear in the clouds",
                type(self.estimator).__name__,
                "leave it out, or take pf.mmd_flow",
            )
        for name, value in (
            ("names", names),
            ("_x", x),
            ("_y", y),
            ("_similar", similar),
            ("_each", tuple(_another(self.estimator) for _ in names)),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        counts = np.bincount(self._x, minlength=len(self.names))
        told = [f"{name}: {n}" for name, n in zip(self.names, counts, strict=True)]
        some = ", ".join(told[:NAMED]) + (", ..." if len(told) > NAMED else "")
        same = np.array_equal(self._similar, np.eye(len(self.names)))
        return (
            f"Labelled({self.estimator!r}, {some}{'' if same else f', between={self.between!r}'})"
        )

    @property
    def deterministic(self) -> bool:
        return self.estimator.deterministic

    @property
    def smooth_witness(self) -> bool:
        """False also where `estimator` declares nothing."""
        return smoothness_of(self.estimator) is True

    @property
    def log_ratio(self) -> bool:
        return self.estimator.log_ratio

    @property
    def needs_target(self) -> bool:
        return self.estimator.needs_target

    @property
    def energy_slope(self) -> float | None:
        return self.estimator.energy_slope

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        particles, rows = self._split(x, self._x, "x_labels")
        targets = None if y is None else self._targets.get(y, partial(self._split_target, y))
        mass = x.mass / x.mass.sum()
        share = [float(mass[row].sum()) for row in rows]
        fits = []
        for k, each in enumerate(self._each):
            clouds = [self._mixed(k, part, share) for part in (particles, targets)]
            assert clouds[0] is not None
            fits.append(fitted(each, clouds[0], clouds[1], clock, _own(memory, k)))
        witnesses = tuple(fit.witness for fit in fits)
        kind = (
            _GradByClass if all(isinstance(w, GradWitness) for w in witnesses) else ByClassWitness
        )
        slopes = {fit.energy_slope for fit in fits}
        values = [partial(self._value, k, fit, particles, targets) for k, fit in enumerate(fits)]
        total = partial(_weighted, share, values)
        return Fit(
            kind(witnesses, tuple(rows), self.names, len(x)),
            memory={
                f"class/{k}/{name}": value
                for k, fit in enumerate(fits)
                for name, value in fit.memory.items()
            },
            report=_joined([fit.report for fit in fits], self.names),
            objective=total if any(not fit.known for fit in fits) else total(),
            bound=partial(_largest, fits),
            advice=lambda: next((fit.remark for fit in fits if fit.remark), ""),
            energy_slope=slopes.pop() if len(slopes) == 1 else None,
        )

    def held(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Labelled:
        made = replace(self)
        parts = [
            each.held(cloud, target, clock, _own(memory, k)) if isinstance(each, Wrapping) else each
            for k, (each, cloud, target) in enumerate(self.parts(x, y))
        ]
        object.__setattr__(made, "_each", tuple(parts))
        return made

    @property
    def classes(self) -> tuple[tuple[Int[np.ndarray, "n"], Int[np.ndarray, "m"] | None], ...]:
        """The rows of the particles and of the target points of each class, in their order.

        None in the place of the latter where every class has the whole target.
        """
        return tuple(
            (
                np.flatnonzero(self._x == k),
                None if self._y is None else np.flatnonzero(self._y == k),
            )
            for k in range(len(self.names))
        )

    def parts(self, x: Cloud, y: Cloud | None) -> Sequence[tuple[Estimator, Cloud, Cloud | None]]:
        particles, _ = self._split(x, self._x, "x_labels")
        targets = [None] * len(particles) if y is None else self._split_target(y)
        return list(zip(self._each, particles, targets, strict=True))

    def memories(self, memory: Memory) -> Sequence[Memory]:
        return [_own(memory, k) for k in range(len(self.names))]

    def _split_target(self, y: Cloud) -> list[Cloud]:
        if self._y is None:
            return [y] * len(self.names)
        clouds, _ = self._split(y, self._y, "y_labels")
        return [FixedCloud(cloud.points, log_mass=cloud.log_mass) for cloud in clouds]

    def _split(
        self, cloud: Cloud, classes: Int[np.ndarray, "N"], name: str
    ) -> tuple[list[Cloud], list[Rows]]:
        """The cloud of each class, with the whole cloud's total mass, and its rows."""
        if len(classes) != len(cloud):
            whose = "particles" if name == "x_labels" else "points of the target"
            raise RefusedValueError(
                name,
                f"must be one for each of the {len(cloud)} {whose}",
                f"{len(classes)}",
                "pass as many, in the order of the rows",
            )
        clouds, rows, log_mass = [], [], cloud.log_mass
        for k, label in enumerate(self.names):
            row = torch.from_numpy(np.flatnonzero(classes == k)).to(cloud.points.device)
            rows.append(row)
            if log_mass is None:
                clouds.append(Cloud(cloud.points[row]))
                continue
            share = log_mass[row].logsumexp(0)
            if not math.isfinite(float(share)):
                raise RefusedValueError(
                    name, "must name classes that have mass", f"none in {label}", "leave it out"
                )
            within = log_mass[row] - share + log_mass.logsumexp(0)
            clouds.append(Cloud(cloud.points[row], log_mass=within))
        return clouds, rows

    def _mixed(self, k: int, clouds: list[Cloud] | None, share: list[float]) -> Cloud | None:
        """The cloud of class k, and those of similar classes with their weights beside it."""
        if clouds is None:
            return None
        mates = np.flatnonzero(self._similar[k])
        if len(mates) == 1:
            return clouds[k]
        weights = [self._similar[k, b] * math.sqrt(share[b] / share[k]) for b in mates]
        return Cloud(
            torch.cat([clouds[b].points for b in mates]),
            log_mass=torch.cat(
                [clouds[b].mass.log() + math.log(w) for b, w in zip(mates, weights, strict=True)]
            ),
        )

    def _value(
        self, k: int, fit: Fit, particles: list[Cloud], targets: list[Cloud] | None
    ) -> float | None:
        """The part of class k in the value, over its share."""
        if targets is None or np.count_nonzero(self._similar[k]) == 1:
            return fit.value
        y, x = (
            float(cloud.mean(fit.witness.value_and_grad(cloud.points)[0]))
            for cloud in (targets[k], particles[k])
        )
        return 0.5 * (y - x)


@dataclass(frozen=True, eq=False)
class ByClassWitness:
    r"""The witness of each class at the queries of this class: row i is of the class of particle i.

    .. math::

        w(z_i) = w_{a(i)}(z_i), \qquad a(i) = \text{the class of particle } i

    Queries have as many rows as there are particles; other numbers are refused with a ValueError.
    `of` gives the witness of one class, at any points. `Labelled` makes it.

    Attributes
    ----------
    witnesses : tuple of Witness
        That of each class, in the order of `names`.
    rows : tuple of (n,) tensors
        The rows of each class.
    names : tuple of str
        The classes, sorted.
    count : int
        N, the particles.
    """

    witnesses: tuple[Witness, ...]
    rows: tuple[Rows, ...]
    names: tuple[str, ...]
    count: int

    @property
    def log_ratio(self) -> bool:
        return self.witnesses[0].log_ratio

    def of(self, label: object) -> Witness:
        """The witness of one class, at any points.

        Parameters
        ----------
        label : str or int
            The class, as in `x_labels`.

        Returns
        -------
        Witness
            That of `estimator` for this class, with those of similar classes.

        Raises
        ------
        ValueError
            There is no such class.
        """
        if str(label) not in self.names:
            raise RefusedValueError(
                "label", f"must be one of {', '.join(self.names[:NAMED])}", _checks.said(label)
            )
        return self.witnesses[self.names.index(str(label))]

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        self._check(z)
        value, grad = z.new_empty(len(z)), torch.empty_like(z)
        for witness, rows in zip(self.witnesses, self.rows, strict=True):
            value[rows], grad[rows] = witness.value_and_grad(z[rows])
        return value, grad

    def _check(self, z: Queries) -> None:
        if len(z) != self.count:
            raise ValueError(
                f"the witness of labelled particles needs {self.count} queries, one of the class of"
                f" each particle, got {len(z)}: ask fit.witness.of(label), a class's own witness"
            )


class _GradByClass(ByClassWitness, GradWitness):
    """The same, where each class's gradient alone is cheaper."""

    def grad(self, z: Queries) -> Gradients:
        self._check(z)
        grad = torch.empty_like(z)
        for witness, rows in zip(self.witnesses, self.rows, strict=True):
            grad[rows] = cast("GradWitness", witness).grad(z[rows])
        return grad


def _own(memory: Memory, k: int) -> Memory:
    """The memory of the fit of class k."""
    prefix = f"class/{k}/"
    return {
        name.removeprefix(prefix): value
        for name, value in memory.items()
        if name.startswith(prefix)
    }


def _weighted(share: list[float], values: Sequence[Any]) -> Any:
    """sum_a p_a E_a; None where a class has no value."""
    found = [value() for value in values]
    if any(value is None for value in found):
        return None
    return sum(p * value for p, value in zip(share, found, strict=True))


def _largest(fits: Sequence[Fit]) -> Promise | None:
    """The largest of the bounds of the classes' witnesses; None where all are exact."""
    made = [fit.promise for fit in fits if fit.promise is not None]
    if not made:
        return None
    return Promise(max(one.value for one in made), max(one.grad for one in made), made[0].how)


def _joined(reports: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """One report: what all classes tell alike, sums of counts, the worst gap, the first failure."""
    found: dict[str, Any] = {
        name: value
        for name, value in reports[0].items()
        if all(name in other and other[name] == value for other in reports[1:])
    }
    for name, join in (("iterations", sum), ("stragglers", sum), ("gap", max)):
        told = [report[name] for report in reports if name in report]
        if told:
            found[name] = join(told)
    if "backend" in reports[0]:
        found |= {name: reports[0][name] for name in ("backend", "why") if name in reports[0]}
    for label, report in zip(names, reports, strict=True):
        if not report.get("converged", True):
            return {**found, **report, "class": label}
    return found


def _another(estimator: Estimator) -> Estimator:
    """The same estimator with caches of its own; one that is no dataclass is shared."""
    return replace(cast("Any", estimator)) if is_dataclass(estimator) else estimator
