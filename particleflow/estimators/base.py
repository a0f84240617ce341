"""The contract of an estimator: fit(x, y) -> Fit, whose witness w : R^d -> R the particles climb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.memo import cached_property
from particleflow.pairwise import Field, Promise


@runtime_checkable
class Witness(Protocol):
    """A function to climb. `log_ratio` is True where its values estimate log(target / current),
    False for a potential.
    """

    @property
    def log_ratio(self) -> bool: ...

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]: ...


class GradWitness(ABC):
    """A witness whose gradient alone is cheaper. It says so by inheriting: a method called `grad`
    may mean something else.
    """

    @abstractmethod
    def grad(self, z: Queries) -> Gradients: ...


@dataclass(frozen=True)
class Fit:
    """What an estimator found.

    Attributes
    ----------
    witness : Witness
    memory : mapping of tensors
        Where the next fit may start from (warm start, optimiser state). Flat, tensors only.
    report : mapping
        How it went: `converged`, a bool (absent means that there is nothing to converge); numbers
        gap and iterations; backend and why.
    objective : float, callable or None
        `value` itself where the fit has found it on the way, or what evaluates it, only when
        somebody asks.
    bound : callable or None
        Evaluates `promise`, likewise.
    energy_slope : float or None
        The constant c of this fit for which v = c grad w is minus the Wasserstein gradient of its
        `value`. To be told where c changes from fit to fit (the estimator's own is None then); the
        mobility `Descent` follows it.
    """

    witness: Witness = field(repr=False)
    memory: Memory = field(default_factory=dict, repr=False)
    report: Mapping[str, Any] = field(default_factory=dict)
    objective: Callable[[], float] | float | None = field(default=None, repr=False)
    bound: Callable[[], Promise | None] | None = field(default=None, repr=False)
    energy_slope: float | None = field(default=None, repr=False)

    @cached_property
    def value(self) -> float | None:
        """The divergence that this fit estimates, in the literature's normalisation (MMD^2/2; KALE
        with its 1 + lam). None: it has none.
        """
        with Supplied("Fit.objective", self.objective):
            return self.objective() if callable(self.objective) else self.objective

    def reported(self, name: str) -> float | None:
        """A number of the report; None where there is none of that name, or something else than a
        number.
        """
        found = self.report.get(name)
        return None if isinstance(found, bool) or not isinstance(found, Real) else float(found)

    @property
    def known(self) -> bool:
        """Is `value` at hand, at no cost?"""
        return self.objective is None or not callable(self.objective)

    @cached_property
    def promise(self) -> Promise | None:
        """A-priori bounds of the errors of the witness at the particles, where its sums are
        approximate (`particleflow.pairwise.promise`).
        """
        with Supplied("Fit.bound", self.bound):
            return None if self.bound is None else self.bound()


@runtime_checkable
class Estimator(Protocol):
    """Turns the current cloud x and the target's cloud y into a `Fit`.

    Attributes
    ----------
    deterministic : bool
        Is fit a deterministic function of (x, y)? Otherwise one-stage integrators only.
    log_ratio : bool
        What its witness estimates, known before any fit.
    needs_target : bool
        Does fit need y?
    energy_slope : float or None
        The constant c for which v = c grad w is minus the Wasserstein gradient of `Fit.value`, if
        there is one and it is the same for all fits.

    All four must be there, of these types. An estimator may declare a fifth fact, see
    `KnownSmoothness`.
    """

    @property
    def deterministic(self) -> bool: ...
    @property
    def log_ratio(self) -> bool: ...
    @property
    def needs_target(self) -> bool: ...
    @property
    def energy_slope(self) -> float | None: ...

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit: ...


@runtime_checkable
class KnownSmoothness(Estimator, Protocol):
    """An estimator that declares whether the flow of its witness has a fastest rate.

    Attributes
    ----------
    smooth_witness : bool
        False where the witness's gradient jumps, from place to place or as the particles move: then
        no rate is measured for `Flow.suggest_dt`. Of an estimator that declares nothing the smaller
        of both suggestions is taken.
    """

    @property
    def smooth_witness(self) -> bool: ...


class FlowDefaults(ABC):
    """An estimator whose defaults in a flow differ from those of a single ratio: a `Flow` takes
    `in_flow()` in its place. Declared by inheriting.
    """

    @abstractmethod
    def in_flow(self) -> Estimator: ...


@dataclass(frozen=True)
class FieldWitness(GradWitness):
    """A witness that is one weighted kernel sum: w(z) = sum_i w_i k(z, p_i)."""

    field: Field
    log_ratio: bool

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        return self.field.value_and_grad(z)

    def grad(self, z: Queries) -> Gradients:
        return self.field.grad(z)

    def laplacian(self, z: Queries) -> Values:
        return self.field.laplacian(z)


def missing_target(estimator: Estimator, name: str) -> ValueError:
    """The error of an estimator that needs a target and got none as its argument `name`."""
    return ValueError(
        f"`{name}` must be (M, d) points for {type(estimator).__name__}, got None: pass samples of"
        " the law to flow to"
    )


def fitted(estimator: Estimator, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
    """What `estimator.fit` returns, if it is a Fit."""
    with Supplied("estimator", estimator):
        fit: Any = estimator.fit(x, y, clock, memory)
        if not isinstance(fit, Fit):
            raise TypeError(
                f"`estimator` {type(estimator).__name__} must return a Fit from fit, got"
                f" {_checks.said(fit)}: return pf.Fit(witness)"
            )
    return fit


def smoothness_of(estimator: Estimator) -> bool | None:
    """What an estimator has declared of the gradient of its witness; None: nothing."""
    return estimator.smooth_witness if isinstance(estimator, KnownSmoothness) else None


def check_estimator(value: Any, name: str = "estimator") -> None:
    """Refuse what is no estimator as the argument `name`, and facts that are none: a method in the
    place of a bool would count as True.
    """
    if isinstance(value, type) or not isinstance(value, Estimator):
        what = (
            f"the class {value.__name__} without its parentheses"
            if isinstance(value, type)
            else type(value).__name__
        )
        raise TypeError(
            f"`{name}` must be an estimator, got {what}: e.g."
            " pf.estimators.KDE(pf.kernels.Gaussian(0.2))"
        )
    facts = {
        "deterministic": value.deterministic,
        "log_ratio": value.log_ratio,
        "needs_target": value.needs_target,
    }
    if isinstance(value, KnownSmoothness):
        facts["smooth_witness"] = value.smooth_witness
    for fact, told in facts.items():
        _checks.flag(told, fact, of=type(value).__name__)
    if value.energy_slope is not None:
        _checks.real(
            value.energy_slope,
            "energy_slope",
            remedy=f"the constant c of v = c grad w for {type(value).__name__}, or None",
        )
