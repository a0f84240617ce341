"""Define `Auto`, the backend that picks another backend by a model of cost."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor

from particleflow import _checks
from particleflow.kernels import Kernel
from particleflow.memo import Memo, Same, cached_property
from particleflow.pairwise.base import PairwiseSum, Promise, Queries, Sources
from particleflow.pairwise.cost import Choice, Problem, Spanned, choose
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import checked_weights, held_points, kept_queries, points_of
from particleflow.pairwise.promise import Tolerances
from particleflow.pairwise.terms import What


@dataclass(frozen=True)
class Auto(Tolerances):
    r"""The backend that picks, for every sum, the cheapest backend that can keep a promise.

    .. math::

        S(z) = \sum_{i=1}^{N} w_i\, k(z, x_i) , \qquad \nabla S(z) .

    Every row keeps

    .. math::

        \left| \text{error of } S(z) \right| \le \mathrm{rtol}\, \left| S(z) \right|
        + \mathrm{atol} \sum_i \left| w_i \right| \max \left| k \right| ,

    .. math::

        \left| \text{error of } \nabla S(z) \right| \le \mathrm{rtol}\, \left| \nabla S(z) \right|
        + \mathrm{atol} \sum_i \left| w_i \right| \max \left| \nabla k \right| .

    Estimators and metrics take it unless another backend is given. Small problems are summed
    exactly. The choice is a pure function of the problem (kernel, numbers of sources, queries and
    coordinates, extent, dtype, device) and of the installed packages: a resumed run chooses alike.
    ``field.explain(z)`` and a fit's report tell the choice and its reason. For d > 3 sums are exact
    below atol = 1e-4.

    Parameters
    ----------
    rtol : float
        Tolerance relative to the sum and, without `atol`, to its scale. Sums with 1e-8 and below
        are mostly exact.
    atol : float, optional
        Tolerance relative to the sum's scale; `rtol` unless given.
    max_pairs : float
        Most pairs of points of an exact sum on the CPU; so many take a core some minutes. A sum is
        exact where no fast sum keeps the promise, and refused above this number.

    Raises
    ------
    TypeError
        An argument is no number.
    ValueError
        An argument is not positive and finite. Later: an exact sum needs more than `max_pairs`
        pairs.

    Cost: that of the backend that it picks: O(N + Q) for many points in d <= 3, O(Q N d) at most.

    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sources = pf.pairwise.Auto().sources(pf.kernels.Gaussian(1.0), x)
    >>> field = sources.field(torch.ones(2))
    >>> z = torch.zeros(1, 1)
    >>> field.value(z)  # 1 + e^-1/2
    tensor([1.6065])
    >>> field.explain(z)["backend"]
    'Dense'
    """

    rtol: float = 1e-5
    atol: float | None = None
    max_pairs: float = 5e10

    def __post_init__(self) -> None:
        self.check_tolerances()
        _checks.positive(self.max_pairs, "max_pairs")

    def sources(self, kernel: Kernel, points: Tensor) -> AutoSources:
        return AutoSources(kernel, held_points(points, kernel), self)


@dataclass(frozen=True)
class AutoQueries:
    """Query points with the chosen backends' preparations and the choices already made.

    `choices` holds the choice for `sources` alone, by the number of columns.
    """

    points: Tensor
    sources: AutoSources
    made: Memo[Queries] = field(default_factory=Memo)
    choices: Memo[Choice] = field(default_factory=Memo)

    def through(self, backend: PairwiseSum) -> Queries:
        return self.made.get(backend, lambda: self.sources.through(backend).prepare(self.points))


@dataclass(frozen=True, eq=False)
class AutoSources:
    kernel: Kernel
    points: Tensor
    auto: Auto
    made: Memo[Sources] = field(default_factory=Memo)

    @cached_property
    def spanned(self) -> Spanned:
        return Spanned(self.points)

    def field(self, w: Tensor) -> AutoField:
        return AutoField(((self, checked_weights(w, self.points)),), (Memo(),))

    def prepare(self, z: Tensor) -> AutoQueries:
        return AutoQueries(kept_queries(z, self.points), self)

    def through(self, backend: PairwiseSum) -> Sources:
        return self.made.get(backend, lambda: backend.sources(self.kernel, self.points))


@dataclass(frozen=True, eq=False)
class AutoField(SumField):
    """A field whose backend is chosen at evaluation.

    `kept` holds each part's fields by backend: a target's field, and with it the grid, outlives the
    step. `choices` holds the last choice and the whole field, for queries that recur within a step.
    """

    parts: tuple[tuple[AutoSources, Tensor], ...]
    kept: tuple[Memo[SumField], ...] = ()
    choices: Memo[tuple[Choice, SumField]] = field(default_factory=lambda: Memo(1))

    def __add__(self, other: SumField) -> AutoField:
        assert isinstance(other, AutoField)
        return AutoField(self.parts + other.parts, self.kept + other.kept)

    def log(self, z: Tensor | Queries) -> tuple[Tensor, Tensor]:
        z = self._seen(z, What.GRAD)
        _, whole, z = self._through(z)
        return whole.log(z)

    def promise(self, z: Tensor | Queries) -> Promise | None:
        z = self._seen(z)
        _, whole, z = self._through(z)
        return whole.promise(z)

    def explain(self, z: Tensor | Queries) -> Mapping[str, object]:
        z = self._seen(z)
        choice, whole, z = self._through(z)
        told = whole.explain(z)
        return (
            {**told, "why": choice.why}
            if told["backend"] == type(choice.backend).__name__
            else told
        )

    def sums(self, what: What, z: Tensor | Queries) -> Tensor:
        _, whole, z = self._through(z)
        return whole.sums(what, z)

    def _through(self, z: Tensor | Queries) -> tuple[Choice, SumField, Tensor | Queries]:
        """Return the choice, the chosen backend's whole field, and its prepared queries."""
        points = points_of(z)

        def make() -> tuple[Choice, SumField]:
            sources = self.parts[0][0]
            clouds = [part.spanned for part, _ in self.parts]
            auto = sources.auto
            problem = Problem(
                sources.kernel, clouds, points, self._columns, auto.rtol, auto.atol, auto.max_pairs
            )
            alone = (
                z.choices
                if isinstance(z, AutoQueries) and len(clouds) == 1 and z.sources is sources
                else Memo[Choice]()
            )
            choice = alone.get(self._columns, lambda: choose(problem))
            made = [
                _made(part, kept, choice.backend)
                for part, kept in zip(self.parts, self.kept, strict=True)
            ]
            return choice, functools.reduce(operator.add, made)

        choice, whole = self.choices.get(Same(points, written=True), make)
        if isinstance(z, AutoQueries):
            return choice, whole, z.through(choice.backend)
        # A backend recognises its own points by its own copy.
        own = next((k for k, (part, _) in enumerate(self.parts) if part.points is z), None)
        return choice, whole, z if own is None else whole.parts[own][0].points


def _made(part: tuple[AutoSources, Tensor], kept: Memo[SumField], backend: PairwiseSum) -> SumField:
    sources, w = part

    return kept.get(backend, lambda: cast("SumField", sources.through(backend).field(w)))
