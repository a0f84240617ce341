"""An estimator with a kernel whose bandwidth changes in a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

from particleflow import _checks
from particleflow._supplied import Supplied
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import (
    Estimator,
    Fit,
    FlowDefaults,
    OneKernel,
    Wrapping,
    fitted,
    smoothness_of,
)
from particleflow.kernels import Gaussian, ScaledKernel
from particleflow.kernels.declared import bandwidth_of
from particleflow.memo import Memo

# The names of a rule's memory within the memory of a fit begin with it.
PREFIX = "rule/"


@runtime_checkable
class BandwidthRule(Protocol):
    r"""A rule for the bandwidth :math:`\ell_n > 0` of each fit of a run.

    `at` gets the clouds and the clock of the fit, and the memory that it returned at the fit
    before (empty at the first). It returns the bandwidth, > 0, and its next memory: flat, tensors
    only. It must be a function of its arguments alone, for then a run resumes bit for bit.
    """

    def at(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> tuple[float, Memory]:
        """The bandwidth, in the units of the coordinates, and the memory for the next fit."""
        ...


@runtime_checkable
class Ending(Protocol):
    """A rule whose bandwidth has an end that a run should reach."""

    def unfinished(self, clock: Clock, memory: Memory) -> str:
        """What is left at a fit, and the remedy; empty where the end is reached."""
        ...


BandwidthSchedule: TypeAlias = Callable[[Clock], float]


@dataclass(frozen=True)
class Annealed(Wrapping, FlowDefaults):
    r"""Let a schedule or a rule choose the bandwidth of an estimator's kernel at each fit.

    .. math::

        w_n = w[k_{\ell_n}], \qquad k_\ell(z, y) = k_1(z / \ell, y / \ell)

    Each fit is that of `estimator` with the kernel `kernel.with_bandwidth(l)`: its witness, its
    value, its certificates and its promise. `Fit.report` adds `bandwidth`.

    The value is of another functional at each l, and need not decrease. So `energy_slope` is None,
    and no flow is conservative. Each fit tells its own constant c, which the mobility `EnergySlope`
    follows. Stage fits of Runge-Kutta schemes take the bandwidth at the stage's time. The longest
    stable dt falls with l.

    Parameters
    ----------
    estimator : Estimator
        `MMD`, `KALE`, `Moreau`, `DrMMD`, `KDE`, `ULSIF`, `RuLSIF`, `KLIEP` or `KernelLogistic`, or
        another `OneKernel`. Its kernel has a bandwidth; this bandwidth is not used. None: a
        Gaussian.
    bandwidth : callable (clock) -> float, or BandwidthRule
        l > 0, in the units of the coordinates. A schedule of `particleflow.schedules`, or a rule of
        `particleflow.adaptive`, which also sees the clouds.

    Raises
    ------
    TypeError
        `estimator` has no kernel with a bandwidth, or `bandwidth` is no schedule and no rule.
    ValueError
        At a fit: the bandwidth is not a number > 0.

    Cost: that of `estimator`. While l stays the same, the work done for a target is kept. Each
    change of l costs that work again, O(M^2 d) for MMD and KALE with exact sums.

    Source: Blake and Zisserman (1987), Visual Reconstruction, for the continuation from coarse to
    fine.

    A bandwidth of 2 that is halved every 100 steps, for a particle at 0 and a target at 2:

    >>> narrower = pf.schedules.Geometric(2.0, ratio=0.5, every=100)
    >>> mmd = pf.estimators.MMD(pf.kernels.Gaussian(1.0))
    >>> annealed = pf.estimators.Annealed(mmd, bandwidth=narrower)
    >>> x, y = pf.Cloud([[0.0]]), pf.Cloud([[2.0], [2.0]])
    >>> for step in (0, 100):
    ...     fit = annealed.fit(x, y, pf.Clock(step=step), {})
    ...     print(fit.report["bandwidth"], round(fit.value, 4))
    2.0 0.3935
    1.0 0.8647
    """

    estimator: Estimator
    bandwidth: BandwidthRule | BandwidthSchedule
    _made: Memo[Estimator] = field(
        default_factory=partial(Memo, 1), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimator", _with_scale(self.estimator))
        _check_rule(self.bandwidth)

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
    def energy_slope(self) -> None:
        return None

    def in_flow(self) -> Annealed:
        """The same, with the defaults of `estimator` in a flow."""
        inner = self.estimator
        return replace(self, estimator=inner.in_flow()) if isinstance(inner, FlowDefaults) else self

    def held(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Estimator:
        return self._with(self._chosen(x, y, clock, memory)[0])

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        length, later = self._chosen(x, y, clock, memory)
        inner = self._with(length)
        found = fitted(inner, x, y, clock, _without(memory))
        return replace(
            found,
            memory={**found.memory, **later},
            report={**found.report, "bandwidth": length},
            energy_slope=found.energy_slope if inner.energy_slope is None else inner.energy_slope,
        )

    def unfinished(self, clock: Clock, memory: Memory) -> str:
        """What is left of the rule at the fit whose memory this is; empty where nothing is."""
        rule = self.bandwidth
        return rule.unfinished(clock, _own(memory)) if isinstance(rule, Ending) else ""

    def _with(self, length: float) -> Estimator:
        """The estimator with this bandwidth; the last one is kept, with its work for a target."""

        def make() -> Estimator:
            inner = cast("OneKernel", self.estimator)
            return cast("Estimator", inner.with_kernel(inner.kernel.with_bandwidth(length)))

        return self._made.get(length, make)

    def _chosen(
        self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory
    ) -> tuple[float, Memory]:
        """The bandwidth of a fit, and the memory of the rule under its prefix."""
        rule, later = self.bandwidth, {}
        with Supplied("bandwidth", rule):
            if isinstance(rule, BandwidthRule):
                given: Any = rule.at(x, y, clock, _own(memory))
                if not (
                    isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping)
                ):
                    raise TypeError(
                        f"`bandwidth` {type(rule).__name__} must return a bandwidth and its memory,"
                        f" got {_checks.said(given)}: return length, {{}}"
                    )
                length, own = given
                later = {PREFIX + name: value for name, value in own.items()}
            else:
                length = rule(clock)
        remedy = f"it came at step {clock.step}, t = {clock.t:g}; keep it above 0 there"
        return _checks.positive(length, "bandwidth", remedy=remedy), later


def _own(memory: Memory) -> Memory:
    """The memory of the rule alone."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in memory.items()
        if name.startswith(PREFIX)
    }


def _without(memory: Memory) -> Memory:
    """The memory of the estimator alone."""
    return {name: value for name, value in memory.items() if not name.startswith(PREFIX)}


def _with_scale(estimator: Any) -> Estimator:
    """The estimator with a kernel that has a bandwidth; a Gaussian where it has no kernel yet."""
    if isinstance(estimator, type) or not (
        isinstance(estimator, OneKernel) and isinstance(estimator, Estimator)
    ):
        raise TypeError(
            f"`estimator` must have a kernel to anneal, got {_checks.came(estimator)}: e.g."
            " pf.estimators.MMD(pf.kernels.Gaussian(1.0))"
        )
    if estimator.kernel is None:
        # its bandwidth is never used
        return cast("Estimator", estimator.with_kernel(Gaussian(1.0)))
    if not isinstance(estimator.kernel, ScaledKernel) or bandwidth_of(estimator.kernel) is None:
        raise TypeError(
            f"`estimator` must have a kernel with a bandwidth, got {estimator.kernel}: e.g."
            " pf.kernels.Gaussian(1.0), or your own with a method with_bandwidth"
        )
    return estimator


def _check_rule(rule: Any) -> None:
    wanted = (
        "`bandwidth` must be a schedule of the clock, or have"
        " at(x, y, clock, memory) -> (bandwidth, memory)"
    )
    if isinstance(rule, type) or not (isinstance(rule, BandwidthRule) or callable(rule)):
        raise TypeError(
            f"{wanted}, got {_checks.came(rule)}: e.g. pf.schedules.Geometric(2.0, every=100); a"
            " bandwidth that stays belongs to the kernel"
        )
    if isinstance(rule, BandwidthRule):
        try:
            inspect.signature(rule.at).bind(None, None, None, None)
        except TypeError:
            raise TypeError(
                f"{wanted}, got {_checks.came(rule)}, whose `at` takes other arguments: give it"
                " these four"
            ) from None
        except ValueError:  # a builtin without a signature
            pass
