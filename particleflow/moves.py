"""Flows made from flows: masses that change, help for stragglers, particles with classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from particleflow import _checks
from particleflow._refusals import Keyword, RefusedValueError
from particleflow.estimators import MMD, Labelled
from particleflow.estimators.base import ByRow, KernelEnergy
from particleflow.estimators.stragglers import KernelStragglers, Stragglers
from particleflow.flows import Flow
from particleflow.flows.slopes import constant_slope
from particleflow.kernels import FeatureKernel, Kernel
from particleflow.kernels.declared import as_kernel
from particleflow.kernels.explicit import as_summable
from particleflow.kernels.reach import reach_of
from particleflow.mobilities import Mobility
from particleflow.pairwise import Auto, PairwiseSum
from particleflow.reactions import FisherRao, ForceTransport
from particleflow.renewals import HALF, SPREAD, Rebirth, Renewal, Resampling
from particleflow.schedules import Schedule


def unbalanced(
    flow: Flow, rate: float = 1.0, *, resample: float | None = HALF, jitter: float = SPREAD
) -> Flow:
    """The flow with birth and death of particles: Wasserstein-Fisher-Rao.

    Beside the flow's motion v = grad F, masses change by

        d log m_i / dt = rate (F_i - sum_j m_j F_j / sum_j m_j),

    so that mass jumps to where it is missing, and need not travel there. The total stays exactly
    (`FisherRao`). With MMD or KALE this is their flow for the spherical Hellinger-Kantorovich
    metric; with a log ratio and `Unit` it is that of KL, birth-death dynamics.

    Parameters
    ----------
    flow : Flow
        Any flow without reaction whose witness has values. A flow with diffusion is refused where
        its witness is no log ratio: log p alone would put all mass on the mode.
    rate : float
        > 0, in 1 / (time x the unit of F). dt times the largest difference of rate F should be
        below about 1.
    resample : float or None
        The share of N below which the effective number of particles calls for a systematic
        resampling (`Resampling`). None: never.
    jitter : float
        Spread of the copies, in distances to the next place.

    Source: Gallouet and Monsaingeon (2017); Lu, Lu and Nolen (2019) for KL.

    >>> flow = pf.unbalanced(pf.mmd_flow(pf.kernels.Gaussian(0.5)))         # doctest: +SKIP
    """
    _without_reaction(flow)
    if flow.diffusion is not None and not flow.estimator.log_ratio:
        raise ValueError(
            "`flow` must have a log ratio as its witness where it has diffusion, got"
            f" {type(flow.estimator).__name__}: birth and death by log p alone put all mass on the"
            " mode: use pf.mono_flow(pf.estimators.KDE()), whose motion is that of Langevin"
            " dynamics"
        )
    return replace(
        flow, reaction=FisherRao(rate), renewals=flow.renewals + _resampling(resample, jitter)
    )


def ift_flow(
    kernel: Kernel | FeatureKernel | Callable[[Tensor], Tensor],
    rate: float = 1.0,
    *,
    noise: Schedule | float | None = None,
    pairwise: PairwiseSum = Auto(),
    resample: float | None = HALF,
    jitter: float = SPREAD,
) -> Flow:
    """The spherical interaction-force transport flow of MMD^2/2 (Gladin et al. 2024).

    d mu / dt = -div(mu grad w) - rate (mu - target), w the witness of MMD, on the particles:
    MMD flow beside dm_i / dt = rate (m*_i - m_i), where the masses m* of the same total bring the
    particles nearest to the target in MMD (`ForceTransport`). The total mass stays exactly.

    Parameters
    ----------
    kernel, noise, pairwise
        As for `mmd_flow`.
    rate : float
        > 0, in 1 / time: without motion, the part of MMD^2/2 that masses can lower falls at least
        as exp(-rate t).
    resample, jitter
        As for `unbalanced`.

    Source: Gladin, Dvurechensky, Mielke and Zhu, Interaction-force transport gradient flows (2024).
    """
    kernel = as_summable(kernel)
    return Flow(
        MMD(kernel, pairwise=pairwise),
        noise=noise,
        reaction=ForceTransport(kernel, rate),
        renewals=_resampling(resample, jitter),
    )


def stragglers(
    flow: Flow,
    *,
    pull: Kernel | None = None,
    reborn: bool = False,
    beyond: float | None = None,
    jitter: float = SPREAD,
) -> Flow:
    """The flow with an eye on its stragglers, particles beyond the reach of its kernel.

    A straggler is farther than `beyond` from every target point. Stragglers are counted at each
    fit, and told in the report of the trajectory: `report["stragglers"]`. On request they are
    pulled or reborn.

    Parameters
    ----------
    flow : Flow
        Needs a target.
    pull : kernel, optional
        Stragglers move as in the MMD flow of this kernel from the stragglers alone to the target;
        others move as in `flow`. `pf.kernels.Energy()` pulls from any distance, at a speed of
        about 1.
    reborn : bool
        After each step stragglers are placed at other particles, drawn by mass; the total mass
        stays (`Rebirth`).
    beyond : float, optional
        A distance. Left out, it is the distance at which the flow's kernel has fallen to 1 %: 3
        bandwidths of a Gaussian. An estimator that is not built from one kernel, and a kernel that
        reaches everywhere, need it.
    jitter : float
        Spread of the reborn, in distances to the next place.

    >>> flow = pf.stragglers(pf.mmd_flow(pf.kernels.Gaussian(0.2)), reborn=True)   # doctest: +SKIP
    """
    _is_flow(flow)
    _checks.flag(reborn, "reborn")
    if pull is not None and reborn:
        raise ValueError(
            f"`pull` and `reborn` act on the same particles, got pull={pull} and reborn=True: pass"
            " one"
        )
    if isinstance(flow.estimator, Stragglers):
        raise ValueError(
            "`flow` must be without stragglers, got one that looks for them already: pass the flow"
            " that it was made from"
        )
    if isinstance(flow.estimator, ByRow):
        raise ValueError(
            "`flow` must be without labels, got one with classes: label last,"
            " pf.labelled(pf.stragglers(flow), x_labels, y_labels)"
        )
    if not flow.estimator.needs_target:
        raise ValueError(
            f"`flow` must have a target, got {type(flow.estimator).__name__}, which takes none:"
            " nothing is near or far"
        )
    distance = _beyond(flow, beyond)
    companion, factor = None, None
    if pull is not None:
        _checks_of_pull(flow, pull, distance)
        factor = constant_slope(flow.mobility)
        if factor is None and isinstance(flow.mobility, Mobility):
            raise RefusedValueError(
                "pull",
                "needs a flow whose mobility has a constant slope",
                flow.mobility,
                ("its slope would rescale the pull: use ", Keyword("reborn", True)),
            )
        companion = MMD(pull)
    kind = KernelStragglers if isinstance(flow.estimator, KernelEnergy) else Stragglers
    estimator = kind(flow.estimator, distance, companion, factor)
    renewals: tuple[Renewal, ...] = (Rebirth(distance, jitter),) if reborn else ()
    return replace(flow, estimator=estimator, renewals=renewals + flow.renewals)


def labelled(flow: Flow, x_labels: Any, y_labels: Any = None, *, between: Any = 0.0) -> Flow:
    """The flow of particles with a class, which are compared with the target within it.

    Without `between` each class flows as it would by itself, and all in one run. With it classes
    also feel each other, as a product kernel on pairs of class and point says: see
    `particleflow.estimators.Labelled`.

    Parameters
    ----------
    flow : Flow
        Without reaction, renewals and rules for its noise. Label last: of a flow with stragglers
        that are pulled, pass that flow.
    x_labels, y_labels : (N,), (M,)
        The class of each particle and target point, whole numbers or texts.
    between : float or (C, C)
        How similar two classes are, from 0 to 1; `MMD` only.

    Returns
    -------
    Flow
        For N particles in the order of `x_labels` and a fixed target in that of `y_labels`.
        Distances in the report and in metrics do not look at classes.

    >>> flow = pf.labelled(pf.mmd_flow(kernel), x_labels, y_labels)         # doctest: +SKIP
    >>> path = pf.simulate(flow, x0, y, steps=200)                          # doctest: +SKIP
    >>> path.plot("classes.png", color=x_labels)                            # doctest: +SKIP
    """
    _is_flow(flow)
    return replace(flow, estimator=Labelled(flow.estimator, x_labels, y_labels, between))


def _beyond(flow: Flow, beyond: float | None) -> float:
    estimator = flow.estimator
    kernel = estimator.kernel if isinstance(estimator, KernelEnergy) else None
    if isinstance(kernel, FeatureKernel):
        raise ValueError(
            "`flow` must have particles in the space of the target, got a kernel of features: no"
            " particle is near or far"
        )
    if beyond is not None:
        return _checks.positive(beyond, "beyond", remedy="a distance in the coordinates' unit")
    reach = reach_of(kernel)
    if reach is None:
        name = type(estimator).__name__ if kernel is None else repr(kernel)
        raise ValueError(
            f"`beyond` must be given where no kernel states its reach, got None with {name}: pass a"
            " distance to the nearest target point"
        )
    return reach


def _checks_of_pull(flow: Flow, pull: Kernel, beyond: float) -> None:
    """Refuse a pull that does not reach the stragglers, or that nothing needs."""
    reach = reach_of(as_kernel(pull))
    if reach is not None and reach <= beyond:
        raise ValueError(
            f"`pull` must reach farther than {beyond:g}, got {pull}, whose reach is {reach:g}: e.g."
            " pf.kernels.Energy()"
        )
    if isinstance(flow.reaction, ForceTransport):
        raise RefusedValueError(
            "pull",
            "is of no use beside force transport",
            pull,
            "mass reaches any distance already: leave it out",
        )


def _resampling(resample: float | None, jitter: float) -> tuple[Renewal, ...]:
    return () if resample is None else (Resampling(resample, jitter),)


def _is_flow(flow: Flow) -> None:
    if not isinstance(flow, Flow):
        raise TypeError(
            f"`flow` must be a Flow, got {_checks.came(flow)}: e.g."
            " pf.mmd_flow(pf.kernels.Gaussian(0.2))"
        )


def _without_reaction(flow: Flow) -> None:
    _is_flow(flow)
    if flow.reaction is not None:
        raise ValueError(
            f"`flow` must have no reaction, got {flow.reaction!r:.80}: masses would change twice"
        )
