"""The contract of an estimator: fit(x, y) -> Fit, whose witness w the particles climb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.kernels import Bandwidth, FeatureKernel, Kernel
from particleflow.memo import cached_property
from particleflow.pairwise import Field, Promise
from particleflow.pairwise.hessian import hessian


@runtime_checkable
class Witness(Protocol):
    r"""The function :math:`w : \mathbb{R}^d \to \mathbb{R}` that the particles climb.

    It belongs to one fit, does not change, and may be asked at any points, as often as wanted.

    Attributes
    ----------
    log_ratio : bool
        True where w estimates log(target / current). False where w is a potential.
    """

    @property
    def log_ratio(self) -> bool:
        """Whether w estimates log(target / current)."""

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        """w(z) (Q,) and grad w(z) (Q, d) at points z (Q, d), in the dtype of z.

        The value may be NaN where only the gradient is known, as of a score.
        """
        ...


class GradWitness(ABC):
    """A witness whose gradient alone is cheaper than value and gradient. Declared by inheriting."""

    @abstractmethod
    def grad(self, z: Queries) -> Gradients:
        """grad w(z) (Q, d) at points z (Q, d), in the dtype of z."""


class CurvedWitness(ABC):
    """A witness that knows its Hessian, in closed form and exact. Declared by inheriting.

    The density of a flow needs it: without it, `Trajectory.log_density` is refused.
    """

    @abstractmethod
    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        """The Hessian of w (Q, d, d) at points z (Q, d), in float64.

        Raises
        ------
        TypeError
            There is none, as where a kernel has a kink. The message says why.
        """


@dataclass(frozen=True)
class Fit:
    r"""The result of an estimator: a witness w, and what is known about it.

    .. math::

        v = \text{slope}(w)\, \nabla w

    is the velocity that a `Flow` makes of it. An estimator of your own returns `Fit(witness)`, and
    as much of the rest as it knows.

    Attributes
    ----------
    witness : Witness
        w, a function of points.
    memory : mapping of tensors
        Where the next fit may start from (warm start, optimiser state). Flat, tensors only.
    report : mapping
        How the fit went. `converged` is a bool; without it there is nothing to converge. `remedy`
        says what to change where `converged` is False. `gap` and `iterations` are numbers.
        `backend` and `why` name the sums over pairs.
    objective : float, callable or None
        What `value` returns, or a function that computes it when somebody asks.
    bound : callable or None
        Computes `promise` when somebody asks.
    advice : callable or None
        Computes `remark` when somebody asks.
    energy_slope : float or None
        The constant c for which v = c grad w is minus the Wasserstein gradient of `value`. An
        estimator whose c changes from fit to fit tells it here, and has None itself. The mobility
        `EnergySlope` follows it.
    """

    witness: Witness = field(repr=False)
    memory: Memory = field(default_factory=dict, repr=False)
    report: Mapping[str, Any] = field(default_factory=dict)
    objective: Callable[[], float] | float | None = field(default=None, repr=False)
    bound: Callable[[], Promise | None] | None = field(default=None, repr=False)
    advice: Callable[[], str] | None = field(default=None, repr=False)
    energy_slope: float | None = field(default=None, repr=False)

    @cached_property
    def value(self) -> float | None:
        """The divergence that this fit estimates; None where it estimates none.

        In the normalisation of the literature: MMD^2 / 2, KALE with its factor 1 + lam. It is
        computed at the first question, at the cost that the estimator tells, and kept.
        """
        with Supplied("Fit.objective", self.objective):
            return self.objective() if callable(self.objective) else self.objective

    def reported(self, name: str) -> float | None:
        """The report's number of this name; None where it has none."""
        found = self.report.get(name)
        return None if isinstance(found, bool) or not isinstance(found, Real) else float(found)

    @property
    def known(self) -> bool:
        """True where `value` costs nothing: it is a number, or None."""
        return self.objective is None or not callable(self.objective)

    @cached_property
    def promise(self) -> Promise | None:
        """Bounds of the witness's errors at the particles, before it is evaluated.

        None where no sum is approximate (`particleflow.pairwise.promise`).
        """
        with Supplied("Fit.bound", self.bound):
            return None if self.bound is None else self.bound()

    @property
    def remark(self) -> str:
        """The message of a run that ends with this fit, with the change that the estimator needs.

        Empty where there is nothing to tell. The run adds its dt, which may be lowered instead.
        """
        return "" if self.advice is None else self.advice()


@runtime_checkable
class Estimator(Protocol):
    r"""Turns the current cloud x and the target's cloud y into a `Fit`.

    .. math::

        (x, y) \mapsto w, \qquad v(z) = \text{slope}(w(z))\, \nabla w(z)

    Attributes
    ----------
    deterministic : bool
        Whether fit is a deterministic function of (x, y). If not, only one-stage integrators take
        the estimator.
    log_ratio : bool
        What its witness estimates, known before any fit.
    needs_target : bool
        Whether fit needs y.
    energy_slope : float or None
        The constant c for which v = c grad w is minus the Wasserstein gradient of `Fit.value`.
        None where there is no such c, or where it changes from fit to fit.

    All four must be there, of these types. Further facts are optional: `KnownSmoothness`,
    `KernelWitness`, `KernelEnergy`, `OneKernel`, `Wrapping`, `SameBandwidth`, `FlowDefaults`.
    """

    @property
    def deterministic(self) -> bool:
        """Whether fit is a deterministic function of x and y."""

    @property
    def log_ratio(self) -> bool:
        """Whether the witness estimates log(target / current)."""

    @property
    def needs_target(self) -> bool:
        """Whether fit needs y."""

    @property
    def energy_slope(self) -> float | None:
        """The constant c for which c grad w is minus the gradient of `Fit.value`; None without."""

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        """The fit to the particles x (N, d) and the target y (M, d), at the time of `clock`.

        N and M may differ, and both clouds may have masses. y is None only where `needs_target` is
        False. `memory` is that of the fit before, empty at the first one. The result must be a
        function of the arguments alone: random numbers come from `clock.draws`. x and y must not
        be written to.
        """
        ...


@runtime_checkable
class KnownSmoothness(Estimator, Protocol):
    """An estimator that declares whether the flow of its witness has a fastest rate.

    Attributes
    ----------
    smooth_witness : bool
        False where the witness's gradient jumps from place to place or as the particles move.
        `Flow.suggest_dt` then measures no rate. Where nothing is declared, it takes the smaller of
        its two suggestions.
    """

    @property
    def smooth_witness(self) -> bool: ...


class KernelWitness:
    r"""An estimator whose witness is made of sums of one kernel. Declared by inheriting.

    .. math::

        w(z) = F \Bigl( \sum_i a_i\, k(z, p_i),\; \sum_j b_j\, k(z, q_j) \Bigr)

    F is the difference for `MMD`, and that of the logarithms for `KDE`. Where the kernel has a kink
    (`kernels.declared.has_kink`), the velocity jumps where a particle meets another point.
    `Flow.suggest_dt` then measures rates over a share of the points' spacing.

    Attributes
    ----------
    kernel : Kernel, FeatureKernel, Bandwidth or None
        A rule (`Bandwidth`) or None: a Gaussian, which has no kink.
    """

    kernel: Kernel | FeatureKernel | Bandwidth | None


class KernelEnergy(KernelWitness):
    """An estimator whose value is built from one kernel. Declared by inheriting.

    A run reads two facts off the kernel. Where it has a kink (`kernels.declared.has_kink`), the
    value may rise a little when particles meet. Where it is a `FeatureKernel`, particles are the
    features of a model, and are not compared with the target's points.

    Attributes
    ----------
    kernel : Kernel, FeatureKernel or None
        None: a Gaussian, chosen at the first fit.
    """

    kernel: Kernel | FeatureKernel | None


class HalfSquaredNorm(KernelEnergy):
    r"""An estimator whose value is half the squared norm of its witness. Declared by inheriting.

    .. math::

        \text{value} = \frac12 \lVert w \rVert_{\mathcal{H}}^2

    The norm is that of the kernel's Hilbert space. `MMD` is one. `particleflow.adaptive.Arbel`
    needs it, and so does `Labelled` with a similarity of classes, since w is linear in the clouds.

    Attributes
    ----------
    kernel : Kernel, FeatureKernel or None
        That of the Hilbert space.
    """


K = TypeVar("K", bound="OneKernel")


class OneKernel(KernelWitness):
    """An estimator that can be made anew with another kernel. Declared by inheriting.

    `Annealed` needs it. A frozen dataclass with a field `kernel` inherits `with_kernel` as it is.

    Attributes
    ----------
    kernel : Kernel, FeatureKernel, Bandwidth or None
        The kernel that is exchanged.
    """

    kernel: Any

    def with_kernel(self: K, kernel: Kernel) -> K:
        """The same estimator with another kernel; the work done for a target is not kept.

        Parameters
        ----------
        kernel : Kernel
            The new one.

        Returns
        -------
        OneKernel
            Of the same class.
        """
        made: K = replace(cast("Any", self), kernel=kernel)
        return made


class Wrapping(ABC):
    """An estimator whose fits are those of other estimators. Declared by inheriting.

    `estimator` is one of them. A run reads the facts of a `KernelEnergy` off it.
    """

    estimator: Estimator

    @abstractmethod
    def held(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Estimator:
        """The estimator that makes the fit at these arguments. It changes no more."""


class SameBandwidth:
    """An estimator whose kernel has the bandwidth of another one's at every fit. Declared by
    inheriting.

    Whether that bandwidth changes in a run is read off `estimator`. Its memory is that of
    `estimator`, or it is a `ByRow`, whose parts have one each. `Labelled` and `Stragglers` are such
    estimators.

    Attributes
    ----------
    estimator : Estimator
        The other one.
    """

    estimator: Estimator


class ByRow(ABC):
    """An estimator whose witness goes by rows: row i of the queries belongs to particle i.

    Declared by inheriting. Its particles keep their rows: a `Flow` takes no reaction and no
    renewals beside it, a run no target whose rows change. At other points its witness is unknown.
    """

    @abstractmethod
    def parts(self, x: Cloud, y: Cloud | None) -> Sequence[tuple[Estimator, Cloud, Cloud | None]]:
        """Estimators and clouds whose flows are as fast as this one: they tell a time step."""

    @abstractmethod
    def memories(self, memory: Memory) -> Sequence[Memory]:
        """The memory of each part within that of a fit."""


def inner_of(estimator: Estimator) -> Estimator:
    """The estimator, or the one that it wraps."""
    return estimator.estimator if isinstance(estimator, Wrapping) else estimator


def energy_of(estimator: Estimator) -> KernelEnergy | None:
    """The estimator, or the one that it wraps, as a `KernelEnergy`; None for every other one."""
    inner = inner_of(estimator)
    return inner if isinstance(inner, KernelEnergy) else None


class FlowDefaults(ABC):
    """An estimator whose defaults in a flow differ from those of a single ratio.

    A `Flow` takes `in_flow()` in its place. Declared by inheriting.
    """

    @abstractmethod
    def in_flow(self) -> Estimator:
        """The estimator that a flow uses; itself where nothing differs."""


class SmoothRatio:
    """The facts of an estimator of log(target / current) that is smooth and deterministic."""

    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[None] = None


@dataclass(frozen=True)
class FieldWitness(GradWitness, CurvedWitness):
    r"""Make a witness of one weighted kernel sum.

    .. math::

        w(z) = \sum_i w_i\, k(z, p_i), \qquad
        \nabla w(z) = \sum_i w_i\, \nabla_z k(z, p_i)

    It is the witness of `MMD`, `KALE`, `Moreau` and `DrMMD`, and serves estimators of your own.
    Besides value and gradient it has the gradient alone, which is cheaper, the Laplacian, and the
    Hessian.

    Parameters
    ----------
    field : Field
        The sum, from `pairwise.sources(kernel, points).field(weights)`. Fields of one kernel add.
    log_ratio : bool
        Whether w estimates log(target / current), or is a potential.

    Raises
    ------
    TypeError
        The Hessian is asked of a kernel with a kink.

    Cost: O(Q P d) for Q queries and P points with exact sums.

    >>> points = torch.tensor([[1.0], [1.0], [0.0]])
    >>> sources = pf.pairwise.Auto().sources(pf.kernels.Gaussian(1.0), points)
    >>> field = sources.field(torch.tensor([0.5, 0.5, -1.0]))
    >>> w = pf.estimators.FieldWitness(field, log_ratio=False)
    >>> w.grad(torch.tensor([[0.0]]))  # exp(-1/2)
    tensor([[0.6065]])
    """

    field: Field
    log_ratio: bool

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        """w (Q,) and grad w (Q, d) at points z (Q, d)."""
        return self.field.value_and_grad(z)

    def grad(self, z: Queries) -> Gradients:
        """grad w (Q, d) at points z (Q, d)."""
        return self.field.grad(z)

    def laplacian(self, z: Queries) -> Values:
        """The Laplacian of w, sum_i w_i tr Hess k(z, p_i), (Q,) at points z (Q, d)."""
        return self.field.laplacian(z)

    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        """The Hessian of w (Q, d, d) at points z (Q, d), in float64; TypeError where the kernel
        has a kink.
        """
        return hessian(self.field, z)


def mean_descent(witness: Witness, x: Cloud) -> float:
    """-sum_i m_i w(x_i). For a log ratio, the plug-in estimate of KL(current || target)."""
    return -float(x.mean(witness.value_and_grad(x.points)[0]))


def remembered(number: float) -> Tensor:
    """A number as a fit's memory holds it: float64, on the CPU."""
    return torch.tensor(number, dtype=torch.float64, device="cpu")


def missing_target(estimator: Estimator, name: str) -> ValueError:
    """The error of an estimator that needs a target and got None as its argument `name`."""
    return ValueError(
        f"`{name}` must be (M, d) points for {type(estimator).__name__}, got None: pass samples of"
        " the target distribution"
    )


def fitted(estimator: Estimator, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
    """The fit that `estimator.fit` returns. Other types are refused."""
    with Supplied("estimator", estimator):
        fit: Any = estimator.fit(x, y, clock, memory)
        if not isinstance(fit, Fit):
            raise TypeError(
                f"`estimator` {type(estimator).__name__} must return a Fit from fit, got"
                f" {_checks.said(fit)}: return pf.Fit(witness)"
            )
    return fit


def smoothness_of(estimator: Estimator) -> bool | None:
    """The estimator's `smooth_witness`; None where it declares nothing."""
    return estimator.smooth_witness if isinstance(estimator, KnownSmoothness) else None


def check_estimator(value: Any, name: str = "estimator") -> None:
    """Refuse an argument `name` that is no estimator, or has a fact of another type.

    A method in the place of a bool would count as True.
    """
    if isinstance(value, type) or not isinstance(value, Estimator):
        raise TypeError(
            f"`{name}` must be an estimator, got {_checks.came(value)}: e.g."
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
