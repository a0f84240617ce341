"""The slopes h' of flows whose velocity is a constant times the gradient of their witness."""

from __future__ import annotations

from dataclasses import dataclass

from particleflow.mobilities import Linear, Mobility


@dataclass(frozen=True)
class EnergySlope:
    """The mobility h(d) = c d that makes v minus the Wasserstein gradient of `Fit.value`.

    v = c grad w, where c is the `energy_slope` of the estimator, or else of each fit. It serves
    where c changes during a run, as the 1 + lam(t) of KALE with a scheduled lam does. A flow asks
    `at` for the mobility of each fit.
    """

    def at(self, slope: float | None) -> Linear:
        if slope is None:
            told = "v is no constant times grad w; name a mobility, such as Unit()"
            raise ValueError(
                f"`mobility` EnergySlope() needs a fit with an energy slope, got None: {told}"
            )
        return Linear(slope)


def constant_slope(mobility: Mobility | EnergySlope) -> float | None:
    """The constant slope of `Linear`; None for every other mobility.

    A subclass of `Linear` counts if it has changed none of its methods.
    """
    own = isinstance(mobility, Linear) and all(
        vars(Linear)[name] is getattr(type(mobility), name) for name in ("h", "slope", "curvature")
    )
    return mobility.factor if isinstance(mobility, Linear) and own else None
