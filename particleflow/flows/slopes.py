"""The slopes h' of flows whose velocity is a constant times the gradient of their witness."""

from __future__ import annotations

from dataclasses import dataclass

from particleflow.mobilities import Linear, Mobility


@dataclass(frozen=True)
class EnergySlope:
    r"""Give v the factor that makes it minus the Wasserstein gradient of `Fit.value`.

    .. math::

        v = c\, \nabla w, \qquad h(d) = c\, d

    c is the `energy_slope` of the estimator, or else of each fit. Take it where c changes during a
    run, as the :math:`1 + \lambda(t)` of `KALE` and `DrMMD` with a scheduled :math:`\lambda` does.
    For a fixed c, `Linear(c)` is the same.

    >>> pf.flows.EnergySlope().at(1.5)
    Linear(factor=1.5)
    """

    def at(self, slope: float | None) -> Linear:
        """The mobility h(d) = c d of a fit, where c is `slope`. A flow asks for it.

        Raises
        ------
        ValueError
            `slope` is None: the estimator's velocity is no constant times grad w.
        """
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
