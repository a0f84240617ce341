"""A flow with every number chosen from the clouds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from particleflow import _checks
from particleflow._refusals import RefusedValueError
from particleflow.adaptive import Continuation
from particleflow.arrival import Arrived
from particleflow.clouds import Cloud, Randomness, as_clouds, extent
from particleflow.estimators import KALE, KDE, MMD, Annealed, Estimator
from particleflow.flows import EnergySlope, Flow
from particleflow.kernels import IMQ, Gaussian, ScaledKernel
from particleflow.kernels.bandwidth import ScaleError, default_bandwidth
from particleflow.mobilities import Mobility, Unit
from particleflow.pairwise import Auto, PairwiseSum

# The flows that `auto_flow` makes, the recommended one first: what they are, and the kernel that
# each has unless another is given.
FLOWS: Mapping[str, tuple[str, type[IMQ] | type[Gaussian]]] = {
    "auto": ("MMD", IMQ),
    "mmd": ("MMD", Gaussian),
    "kale": ("KALE", Gaussian),
    "mono": ("MonoFlow of kernel density estimates", Gaussian),
}
KINDS = tuple(FLOWS)
# Steps in which the bandwidth falls by a factor of e. A third as many leave outliers behind that
# lie at 30 standard deviations (5 % of the mass).
PER_FOLD = 80
# The share of the planned steps in which the bandwidth falls; in the others it stays.
SHARE = 0.6
# The least number of planned steps.
FEWEST = 200
# The most steps, in planned steps: where W2 still falls, a run goes on.
MOST = 4
# The bandwidth of a target in one place, in extents of both clouds.
ONE_PLACE = 0.1
# The distance by which particles in one place are moved apart, in last bandwidths.
SPREAD = 0.01
# The ratio of the columns' standard deviations from which they are said to differ.
UNLIKE = 10.0
# What `print` says of a number that the caller gave.
GIVEN = "given"
# KALE's penalty: between MMD (large) and KL (small, stiff).
LAM = 0.1


@dataclass(frozen=True)
class AutoFlow(Flow):
    """A flow with the steps that it needs; `print` shows its numbers, chosen or given.

    `auto_flow` makes it. `simulate` without `steps` takes at least `steps`, and ends where the
    particles have arrived or come no nearer (`Arrived`), after at most `most`.

    Attributes
    ----------
    estimator : Estimator
        `Annealed`, whose rule is `Continuation`.
    mobility : Mobility or EnergySlope
        That of the kind: `EnergySlope`, or the given one of a MonoFlow.
    noise : None
        As in `Flow`; not used.
    diffusion : None
        As in `Flow`; not used.
    reaction : None
        As in `Flow`; not used.
    renewals : tuple of Renewal
        As in `Flow`; empty.
    steps : int
        The planned steps. The bandwidth falls in the first three fifths of them.
    spread : float
        Particles that share a place are moved apart by N(0, spread^2 I) before the first step: no
        flow of their distribution would separate them. In the units of the coordinates.
    chosen : tuple of (name, value, reason)
        The reason is "given" for the caller's own numbers.
    notes : tuple of str
        What the clouds make doubtful.
    """

    steps: int = FEWEST
    spread: float = 0.0
    chosen: tuple[tuple[str, str, str], ...] = field(default=(), repr=False, compare=False)
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def most(self) -> int:
        """The most steps of a run without a number of steps: four times `steps`."""
        return MOST * self.steps

    @property
    def stop(self) -> Arrived:
        """What ends a run without a number of steps."""
        return Arrived(after=self.steps)

    def begun(self, x: Cloud, draws: Randomness) -> Cloud:
        """The particles at the start: those that share a place are moved apart, the others stay.

        Parameters
        ----------
        x : Cloud
            Where the run starts, N points.
        draws : Randomness
            The run's source of random numbers.

        Returns
        -------
        Cloud
            The very `x` where no two particles share a place.
        """
        shared = copies(x)
        if not self.spread or not bool(shared.any()):
            return x
        noise = draws.normal("spread", 0, x.points)
        points = torch.where(shared[:, None], x.points + self.spread * noise, x.points)
        return Cloud(points, log_mass=x.log_mass)

    def __str__(self) -> str:
        width = max(len(name) for name, _, _ in self.chosen) if self.chosen else 0
        lines = [f"{name:{width}}  {value}  ({why})" for name, value, why in self.chosen]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def auto_flow(
    x: Any,
    y: Any,
    kind: str = "auto",
    *,
    kernel: ScaledKernel | None = None,
    bandwidth: float | None = None,
    start: float | None = None,
    steps: int | None = None,
    lam: float = LAM,
    mobility: Mobility | EnergySlope = Unit(),
    pairwise: PairwiseSum | None = None,
) -> AutoFlow:
    r"""Make the recommended flow from x to y, with every number chosen from the clouds.

    .. math::

        \ell_n = \text{start} \left( \frac{\text{bandwidth}}{\text{start}}
            \right)^{\min(1,\, n / (0.6\, \text{steps}))}

    The kernel's bandwidth falls from the size of both clouds to the scale of the target. At first
    all particles feel all of the target; in the end they follow its details. So the flow arrives
    where a flow with one bandwidth stalls: from afar, between far modes, at outliers and in heavy
    tails. MMD and KALE flow lower at each step the energy of the current bandwidth. `simulate`
    takes `Paced` steps, whose length follows the flow, and needs neither dt nor a number of steps.

    Parameters
    ----------
    x, y : (N, d), (M, d) points or Cloud
        Where the particles start, and the target.
    kind : str
        "auto": MMD flow with the inverse multiquadric kernel, whose heavy tail reaches outliers.
        "mmd": MMD flow with the Gaussian kernel. "kale": KALE flow. "mono": MonoFlow with the ratio
        of two kernel density estimates.
    kernel : kernel with a bandwidth, optional
        Its own bandwidth is not used.
    bandwidth : float, optional
        The last one, in the units of the coordinates. Default: `kernels.default_bandwidth(y)`.
    start : float, optional
        The first one. Default: the longest side of the box around both clouds.
    steps : int, optional
        The planned steps. Default: 80 for each factor of e by which the bandwidth falls, and two
        thirds as many at the last one, at least 200.
    lam : float
        KALE's penalty.
    mobility : Mobility
        Of MonoFlow.
    pairwise : PairwiseSum, optional
        The backend of the sums.

    Returns
    -------
    AutoFlow
        A `Flow` whose estimator is `Annealed`. `print` shows each number and its reason.

    Raises
    ------
    TypeError
        An argument is of another type, or `kernel` has no bandwidth.
    ValueError
        `kind` is none of the four; `lam` or `mobility` is given for another kind; `bandwidth`,
        `start`, `steps` or `lam` is out of its range; `start` is below the last bandwidth; all
        points of both clouds coincide, or `x` and `y` have other dimensions.

    Cost: that of `default_bandwidth`, and of sorting the particles. A step costs O((N + M) N d)
    with exact sums.

    Source: Blake and Zisserman (1987), Visual Reconstruction: continuation, graduated optimisation.

    One particle and two target points: the box around them is 4 wide.

    >>> x, y = torch.tensor([[0.0]]), torch.tensor([[2.0], [4.0]])
    >>> print(pf.auto_flow(x, y, bandwidth=1.0))
    flow       MMD, kernel IMQ  (kind='auto')
    bandwidth  1  (given)
    start      4  (the longest side of the box around both clouds)
    steps      200  (80 for each factor of e, in 60% of them)
    """
    if kind not in KINDS:
        raise RefusedValueError(
            "kind",
            f"must be one of {', '.join(KINDS)}",
            _checks.said(kind),
            "leave it out for auto",
        )
    if kind != "kale" and lam != LAM:
        raise RefusedValueError("lam", f"is for the kind kale, not {kind}", remedy="leave it out")
    if kind != "mono" and mobility != Unit():
        raise RefusedValueError(
            "mobility", f"is for the kind mono, not {kind}", remedy="leave it out"
        )
    x, y = as_clouds(x, y, "x")
    x, y = _with_mass(x), _with_mass(y)
    size = extent(x.points, y.points)
    if not size > 0:
        raise ValueError(
            "`x` and `y` must not be one place, got clouds whose points all coincide: there is"
            " nothing to move"
        )
    chosen, why = [], GIVEN
    if bandwidth is None:
        bandwidth, why = _bandwidth(y, size)
    bandwidth = _checks.positive(bandwidth, "bandwidth")
    chosen.append(("bandwidth", f"{bandwidth:.3g}", why))
    why = GIVEN
    if start is None:
        start, why = max(size, bandwidth), "the longest side of the box around both clouds"
    start = _checks.positive(start, "start")
    chosen.append(("start", f"{start:.3g}", why))
    if start < bandwidth:
        raise RefusedValueError(
            "start", f"must be at least the last bandwidth, {bandwidth:.3g}", f"{start:.3g}"
        )
    why = GIVEN
    if steps is None:
        steps = planned(start, bandwidth)
        why = f"{PER_FOLD} for each factor of e, in {SHARE:.0%} of them"
    steps = _checks.count(steps, "steps")
    chosen.append(("steps", str(steps), why))
    usual = {"kale": ("lam", lam, LAM), "mono": ("mobility", mobility, Unit())}
    if kind in usual:
        name, value, default = usual[kind]
        chosen.append((name, str(value), "the default" if value == default else GIVEN))
    shared = int(copies(x).sum())
    spread = SPREAD * bandwidth if shared else 0.0
    if shared:
        why = f"{shared} of {len(x)} particles share a place, and are moved apart by so much"
        chosen.append(("spread", f"{spread:.3g}", why))
    made = _estimator(kind, kernel, bandwidth, lam, pairwise)
    rule = Continuation(steps, share=SHARE, start=start, end=bandwidth)
    return AutoFlow(
        Annealed(made, bandwidth=rule),
        mobility=mobility if kind == "mono" else EnergySlope(),
        steps=steps,
        spread=spread,
        chosen=(("flow", _named(kind, kernel), f"kind={kind!r}"), *chosen),
        notes=_notes(y),
    )


def planned(start: float, bandwidth: float) -> int:
    """The steps in which a bandwidth falls from `start` and stays for the rest."""
    return max(FEWEST, math.ceil(PER_FOLD * math.log(start / bandwidth) / SHARE))


def _named(kind: str, kernel: ScaledKernel | None) -> str:
    """The flow and its kernel, in words."""
    words, usual = FLOWS[kind]
    name = usual.__name__ if kernel is None else type(kernel).__name__
    return f"{words}, kernel {name}"


def _estimator(
    kind: str,
    kernel: ScaledKernel | None,
    bandwidth: float,
    lam: float,
    pairwise: PairwiseSum | None,
) -> Estimator:
    chosen: Any = FLOWS[kind][1](bandwidth) if kernel is None else kernel
    if kind == "kale":
        return KALE(chosen, lam=lam, pairwise=pairwise or Auto(rtol=1e-10))
    if kind == "mono":
        return KDE(chosen, pairwise=pairwise or Auto())
    return MMD(chosen, pairwise=pairwise or Auto())


def _bandwidth(y: Cloud, size: float) -> tuple[float, str]:
    """The last bandwidth, and the reason for it."""
    try:
        return default_bandwidth(y), "default_bandwidth(y), a share of the median distance"
    except ScaleError:
        return ONE_PLACE * size, "a tenth of the extent of both clouds: most points of y coincide"


def _notes(y: Cloud) -> tuple[str, ...]:
    """What a flow of these clouds cannot do well, in words."""
    found = unlike(y.points)
    if found is None:
        return ()
    widest, least, ratio = found
    return (
        f"column {widest} of y is {ratio:.3g} times as wide as column {least}, so that distances"
        " hardly see the latter: divide x and y by y.std(0) to weigh all columns alike",
    )


def unlike(points: Float[Tensor, "M d"]) -> tuple[int, int, float] | None:
    """The widest and the narrowest column and the ratio of their deviations; None if alike."""
    spread = points.std(0, unbiased=False)
    used = spread[spread > 0]
    if len(used) < 2 or not float(used.max() / used.min()) > UNLIKE:
        return None
    narrow = torch.where(spread > 0, spread, math.inf)
    return int(spread.argmax()), int(narrow.argmin()), float(used.max() / used.min())


def _with_mass(cloud: Cloud) -> Cloud:
    """The points that have mass: no others are seen by a flow."""
    if cloud.log_mass is None:
        return cloud
    there = cloud.mass > 0
    return Cloud(cloud.points[there], log_mass=cloud.log_mass[there])


def copies(x: Cloud) -> Bool[Tensor, "N"]:
    """The particles that share their place with another one."""
    _, inverse, counts = x.points.unique(dim=0, return_inverse=True, return_counts=True)
    return counts[inverse] > 1
