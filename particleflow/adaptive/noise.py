"""The contract of a rule that chooses the injected noise at each step."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from particleflow.clouds import Clock, Cloud
from particleflow.estimators import Estimator, Fit
from particleflow.estimators.base import energy_of
from particleflow.kernels import FeatureKernel, Kernel, ScaledKernel


@runtime_checkable
class NoiseRule(Protocol):
    """A rule for the standard deviation beta of the injected noise, from the particles and the
    fit.

    It must be a function of its arguments alone: stages and resumed runs then see the same noise. A
    flow takes it as `noise=`, queries its witness at x + beta u, u standard normal, and asks `at`
    at each stage of a step.
    """

    def check(self, estimator: Estimator) -> None:
        """Refuse (TypeError) an estimator for which the rule has no meaning. A `Flow` calls it
        once.
        """
        ...

    def at(self, x: Cloud, fit: Fit, clock: Clock, estimator: Estimator) -> float:
        """beta >= 0, in units of the coordinates, at the particles x, on which `estimator` has
        made `fit`.
        """
        ...


def kernel_of(estimator: Estimator, fit: Fit | None = None) -> Kernel | None:
    """The radial kernel of an estimator, with the bandwidth of the fit; None without one."""
    energy = energy_of(estimator)
    kernel = None if energy is None else energy.kernel
    if kernel is None or isinstance(kernel, FeatureKernel):
        return None
    width = None if fit is None else fit.reported("bandwidth")
    return kernel.with_bandwidth(width) if width and isinstance(kernel, ScaledKernel) else kernel
