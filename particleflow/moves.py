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
    r"""Add birth and death of particles to a flow: Wasserstein-Fisher-Rao.

    .. math::

        v = \nabla F, \qquad
        \frac{d}{dt} \log m_i = \text{rate}\, \bigl( F_i - \sum_j m_j F_j \bigr)

    F = h(w), for the flow's witness w and mobility h, and the masses m sum to one here. So mass
    jumps to where it is missing, and need not travel there. The total stays exactly (`FisherRao`).
    With MMD or KALE this is their flow for the spherical Hellinger-Kantorovich metric; with a log
    ratio and `Unit` it is that of KL, birth-death dynamics. Motion and reaction both lower that
    energy.

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

    Returns
    -------
    Flow
        The same, with the reaction `FisherRao` and, with `resample`, a `Resampling`. Its trajectory
        has masses, `path.log_mass`.

    Raises
    ------
    TypeError
        `flow` is no flow, or a number is none.
    ValueError
        `flow` has a reaction already, diffusion without a log ratio, or labels; `rate` is not > 0,
        `resample` not in (0, 1), or `jitter` negative.

    Cost: the witness's values beside its gradient; O(N) more for each step.

    Source: Gallouet and Monsaingeon (2017); Lu, Lu and Nolen (2019) for KL.

    Two particles, too far apart to feel each other, on a target with three quarters of its mass at
    0. The masses tend to the target's, and no particle moves:

    >>> flow = pf.unbalanced(pf.mmd_flow(pf.kernels.Gaussian(1.0)), resample=None)
    >>> x = torch.tensor([[0.0], [9.0]])
    >>> y = torch.tensor([[0.0], [0.0], [0.0], [9.0]])
    >>> path = pf.simulate(flow, x, y, steps=30, dt=0.5)
    >>> path.log_mass[-1].exp().round(decimals=2)
    tensor([0.7500, 0.2500])
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
    r"""Make the spherical interaction-force transport flow of half the squared MMD.

    .. math::

        \partial_t \mu = -\nabla \cdot (\mu \nabla w) - \text{rate}\, (\mu - p)

    w is the witness of MMD, p the target and mu the particles' distribution. On the particles it is
    MMD flow beside dm_i / dt = rate (m*_i - m_i), where the masses m* of the same total bring the
    particles nearest to the target in MMD (`ForceTransport`). The total mass stays exactly. The
    flow lowers MMD^2 / 2.

    Parameters
    ----------
    kernel : Kernel, FeatureKernel, or callable of the squared distance
        Positive definite at the particles. Its bandwidth is in the units of the coordinates.
    rate : float
        > 0, in 1 / time: without motion, the part of MMD^2/2 that masses can lower falls at least
        as exp(-rate t).
    noise : float, schedule or callable (clock) -> float, optional
        The standard deviation of noise injection, as for `mmd_flow`.
    pairwise : PairwiseSum
        The backend of the sums.
    resample : float or None
        The share of N below which the effective number of particles calls for a systematic
        resampling (`Resampling`). None: never.
    jitter : float
        Spread of the copies, in distances to the next place.

    Returns
    -------
    Flow
        `mmd_flow(kernel)` with the reaction `ForceTransport` and, with `resample`, a `Resampling`.

    Raises
    ------
    TypeError
        `kernel`, `noise` or `pairwise` is of another type.
    ValueError
        `rate` is not > 0, `resample` not in (0, 1), `noise` or `jitter` negative. In a run: more
        than 5000 particles, or a kernel that is not positive definite at them.

    Cost: beside the step of MMD flow, O(N^3) for each of 10 to 20 rounds, and 8 N^2 bytes.

    Source: Gladin, Dvurechensky, Mielke and Zhu, Interaction-force transport gradient flows (2024).

    Particles that are at rest on a target with three quarters of its mass at 0: the mass there is
    0.75 - 0.25 exp(-t).

    >>> flow = pf.ift_flow(pf.kernels.Gaussian(1.0), resample=None)
    >>> x = torch.tensor([[0.0], [9.0]])
    >>> y = torch.tensor([[0.0], [0.0], [0.0], [9.0]])
    >>> path = pf.simulate(flow, x, y, steps=10, dt=0.1)
    >>> path.log_mass[-1].exp()  # 0.658 = 0.75 - 0.25 / e
    tensor([0.6580, 0.3420])
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
    r"""Keep an eye on a flow's stragglers, particles beyond the reach of its kernel.

    .. math::

        \min_j \lVert x_i - y_j \rVert > \text{beyond}

    Such particles are counted at each fit, and told in the report of the trajectory:
    `report["stragglers"]`. On request they are pulled, v = grad w of the MMD flow of `pull` from
    the stragglers alone to the target, or reborn at other particles. The other particles move as in
    `flow`. Only without help does the flow stay conservative.

    Parameters
    ----------
    flow : Flow
        Needs a target.
    pull : kernel, optional
        Of the pull. `pf.kernels.Energy()` pulls from any distance, at a speed of about 1.
    reborn : bool
        After each step stragglers are placed at other particles, drawn by mass; the total mass
        stays (`Rebirth`).
    beyond : float, optional
        A distance. Left out, it is the distance at which the flow's kernel has fallen to 1 %: 3
        bandwidths of a Gaussian. An estimator that is not built from one kernel, and a kernel that
        reaches everywhere, need it.
    jitter : float
        Spread of the reborn, in distances to the next place.

    Returns
    -------
    Flow
        The same, with the estimator `Stragglers` around its own and, with `reborn`, a `Rebirth`.

    Raises
    ------
    TypeError
        `flow` is no flow, `pull` no kernel, `reborn` no bool, or `beyond` no number.
    ValueError
        `flow` has no target, has labels or looks for stragglers already; `beyond` is needed or not
        > 0; `pull` stands beside `reborn`, reaches no farther than `beyond`, or stands beside a
        mobility without a constant slope or a force transport.

    Cost: O(N M d) for the distances at each fit; with `pull` another fit and its queries.

    One of two particles is 9 away. It is counted, and the energy kernel pulls it at unit speed:

    >>> mmd = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    >>> flow = pf.stragglers(mmd, pull=pf.kernels.Energy())
    >>> x, y = torch.tensor([[1.0], [9.0]]), torch.zeros(3, 1)
    >>> fit = pf.fit(flow.estimator, x, y)
    >>> fit.report["stragglers"]
    1
    >>> flow.velocity(pf.Cloud(x), fit, pf.Clock())[0]
    tensor([[-0.6065],
            [-1.0000]])
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
    r"""Give the particles classes: they are compared with the target within their class.

    .. math::

        v(x_i) = \nabla w_{a(i)}(x_i), \qquad
        w_a = \text{the witness of the points of class } a

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

    Raises
    ------
    TypeError
        `flow` is no flow, labels are no whole numbers or texts, or `between` is given without MMD.
    ValueError
        `flow` has a reaction, renewals or a rule for its noise; a class has no particle or no
        target point; `between` is no similarity. In a run: the numbers of labels and points differ.

    Cost: about a C-th of the cost without labels, for C classes.

    Particle "b" passes the target of class "a" by:

    >>> mmd = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    >>> flow = pf.labelled(mmd, ["a", "b"], ["a", "a", "b"])
    >>> x, y = torch.tensor([[2.0], [0.0]]), torch.tensor([[1.0], [1.0], [2.0]])
    >>> path = pf.simulate(flow, x, y, steps=30, dt=0.5)
    >>> path.particles[-1].round(decimals=3)
    tensor([[1.],
            [2.]])
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
