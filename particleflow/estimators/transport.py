"""The perfect critic: a Kantorovich potential of W1 between two clouds, solved, not learned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Memory, Points, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import Fit, missing_target
from particleflow.estimators.c_transform import (
    SoftTransportWitness,
    distances,
    heavy,
    rows,
    unit,
)

Report: TypeAlias = dict[str, object]

# Bytes of a matrix of distances up to which Sinkhorn keeps it, and about five more of this size.
MATRIX = 2**28
# The regularisation at which Sinkhorn starts, as a share of the largest distance. Sinkhorn halves
# it down to the requested regularisation.
WIDEST = 0.25
# Points of the larger cloud up to which the potential is exact by default: about 7 s in the plane.
EXACT_UP_TO = 5000
# The default regularisation, in root mean square distances of y from its mean.
SHARE = 0.05
# The default error of Sinkhorn's marginals, as a share of the mass.
TOLERANCE = 1e-4
# A bound of the rounding of a pull, as a share of the terms that it sums.
ROUNDING = 8 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class TransportWitness:
    r"""The exact potential of W1, which `CTransformCritic` solves for; it is 1-Lipschitz for any v.

    .. math::

        w(z) = \max_j \bigl( v_j - \lVert z - y_j \rVert \bigr)

    grad w is the unit vector to the y_j that wins. At a particle that shares its mass among several
    y_j, all of these win. Since a potential of linear programming is a corner, several y_j win at
    most other particles too. At particles grad w is therefore taken from the coupling P. It is the
    unit vector along

    .. math::

        \sum_j P_{ij}\, \frac{y_j - x_i}{\lVert y_j - x_i \rVert}

    the direction in which W1 falls fastest. It is 0 where the mass that has arrived outweighs the
    rest. Q queries cost O(Q (N + M) d), in blocks of bounded memory.

    Attributes
    ----------
    y : (M, d) tensor
        The target's points that have mass, float64.
    v : (M,) tensor
        The potential there, a length.
    x : (N, d) tensor
        The particles that have mass, float64.
    pull : (N, d) tensor
        These sums over j, for each particle.
    arrived : (N,) tensor
        The mass of each particle that has arrived.
    rounding : (N,) tensor
        A bound of the rounding of `pull`: opposite pulls cancel up to it.
    """

    y: Float[Tensor, "M d"]
    v: Float[Tensor, "M"]
    x: Points
    pull: Points
    arrived: Float[Tensor, "N"]
    rounding: Float[Tensor, "N"]
    log_ratio: ClassVar[bool] = False

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        parts = [self._of(part) for part in z.double().split(rows(max(len(self.x), len(self.y))))]
        value, grad = (torch.cat(part) for part in zip(*parts, strict=True))
        return value.to(z.dtype), grad.to(z.dtype)

    def _of(self, z: Queries) -> tuple[Values, Gradients]:
        value, winner = (self.v - distances(z, self.y)).max(1)
        grad = unit(self.y[winner] - z)
        at_particle = distances(z, self.x) == 0
        own = at_particle.any(1)
        if bool(own.any()):
            at_particle = at_particle[own].double()
            pull = at_particle @ self.pull
            least = at_particle @ (self.arrived + self.rounding)
            grad[own] = unit(pull) * (pull.norm(dim=1) > least)[:, None]
        return value, grad


@dataclass(frozen=True, kw_only=True)
class CTransformCritic:
    r"""Solve for the perfect critic, the Kantorovich potential of W1 between the two clouds.

    .. math::

        W_1(p, q) = \max_{u, v}\; \sum_i a_i u_i + \sum_j b_j v_j
        \quad \text{under} \quad u_i + v_j \le \lVert x_i - y_j \rVert

    .. math::

        w(z) = \max_j \bigl( v_j - \lVert z - y_j \rVert \bigr)

    p is the target and q the particles, of normalised masses b and a. w is -u, which its
    c-transform extends to all of space: `TransportWitness`. `Fit.value` = sum_j b_j w(y_j) - sum_i
    a_i w(x_i) is W1 of the clouds to rounding. Particles climb w at unit speed, each towards its
    match, and dW1/dt = -1 until they arrive. Then they hop about their match by dt: lower dt there.
    Clouds of any size serve, N and M may differ; a point without mass is left out.

    Beyond `exact_up_to` points of either cloud w is the entropic potential, `SoftTransportWitness`,
    which is 1-Lipschitz too. Its v then gives a feasible pair (u, v)
    by two c-transforms without smoothing. `Fit.value` is the dual value of that pair, so it is
    <= W1 whether Sinkhorn has converged or not. It tends to W1 as `regularisation` falls. Where
    `max_iterations` do not suffice, `report["converged"]` is False.

    The potential is perfect between the clouds, and only there. With a fresh batch of the target at
    each step the particles gather at k-means-like points of its distribution. By W1, these are
    nearer to a batch than a sample of the distribution is.

    Parameters
    ----------
    exact_up_to : int, optional
        Points of the larger cloud up to which the potential is exact; 0: never. None: 5000, or 0
        where `regularisation` is given.
    regularisation : float or None
        eps of the entropic potential, a length. None: a twentieth of the root mean square distance
        of y from its mean, at the first fit, kept in memory.
    tolerance : float, optional
        The error of Sinkhorn's marginals at which it has converged, as a share of the mass; 1e-4
        unless given. Refused without `regularisation` or `exact_up_to`, since up to 5000 points are
        then solved exactly.
    max_iterations : int
        The most iterations of Sinkhorn at the last regularisation. The simplex method may take ten
        thousand times as many pivots.

    Raises
    ------
    TypeError
        An argument is of another type.
    ValueError
        `tolerance` is given without `regularisation` or `exact_up_to`, or a number is out of its
        range.
    ImportError
        POT is missing (raised by a fit).

    Cost: in the plane: exact about O(N M (N + M)), 0.14 s at 1000 points, 0.8 s at 2000 and some
    7 s at 5000. Entropic O(N M) an iteration, of which a fit takes dozens to hundreds. At 2500
    points an iteration takes 0.03 s on a kernel matrix, which is kept up to 5800 x 5800 points.
    Beyond, it takes logarithms in blocks, 0.4 s. Memory is a few times 8 N M bytes, and bounded
    beyond 5800 x 5800 points. POT computes in float64 on the CPU.

    Source: Peyre and Cuturi (2019), equation 2.20, and section 4.4 for the entropic potential;
    Cuturi (2013).

    Three particles at 0 and a target at 1 and 3: W1 is the mean distance, and the speed is 1.

    >>> critic = pf.estimators.CTransformCritic()
    >>> fit = pf.fit(critic, [[0.0], [0.0], [0.0]], [[1.0], [3.0]])
    >>> fit.value
    2.0
    >>> fit.witness.value_and_grad(torch.tensor([[0.0]]))[1]
    tensor([[1.]])
    """

    exact_up_to: int | None = None
    regularisation: float | None = None
    tolerance: float | None = None
    max_iterations: int = 1000
    deterministic: ClassVar[bool] = True
    log_ratio: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    energy_slope: ClassVar[None] = None
    smooth_witness: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.exact_up_to is not None:
            _checks.count(self.exact_up_to, "exact_up_to", least=0)
        if self.regularisation is not None:
            _checks.positive(self.regularisation, "regularisation")
        if self.tolerance is not None:
            _checks.positive(self.tolerance, "tolerance")
            if self.regularisation is None and self.exact_up_to is None:
                raise ValueError(
                    f"`tolerance` is for the entropic potential, got {self.tolerance:g}, and up"
                    f" to {EXACT_UP_TO} points are solved exactly: pass regularisation= or"
                    " exact_up_to=0 too, or leave it out"
                )
        _checks.count(self.max_iterations, "max_iterations")

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        if y is None:
            raise missing_target(self, "y")
        ot = _pot()
        current, target = heavy(x), heavy(y)
        if max(len(current), len(target)) <= self._exact_up_to:
            exact, report = _exact(ot, current, target, 10_000 * self.max_iterations)
            return Fit(exact, {}, report, objective=lambda: _dual(current, target, exact.v))
        kept = memory.get("regularisation") if self.regularisation is None else None
        regularisation = self._regularisation(current, target) if kept is None else kept
        soft, report = self._entropic(ot, current, target, float(regularisation))
        return Fit(
            soft,
            {"regularisation": regularisation},
            report,
            objective=lambda: _dual(current, target, soft.v),
        )

    @property
    def _exact_up_to(self) -> int:
        if self.exact_up_to is not None:
            return self.exact_up_to
        return EXACT_UP_TO if self.regularisation is None else 0

    def _regularisation(self, x: Cloud, y: Cloud) -> Float[Tensor, ""]:
        if self.regularisation is not None:
            return y.points.new_tensor(self.regularisation)
        spread = y.moments()[1].trace().clamp_min(0).sqrt()
        if not spread > 0:
            spread = distances(x.points, y.points[:1]).max()
        return torch.where(spread > 0, SHARE * spread, 1.0)

    def _entropic(
        self, ot: ModuleType, x: Cloud, y: Cloud, regularisation: float
    ) -> tuple[SoftTransportWitness, Report]:
        """Sinkhorn, with the regularisation halved on the way (Peyre and Cuturi 2019, 4.1.3).

        Where it fits in memory, a kernel matrix absorbs the potentials, which is some ten times
        faster than logarithms, block by block.
        """
        widest = WIDEST * float(distances(x.points, y.points[:1]).max())
        halvings = max(0, math.ceil(math.log2(max(widest, regularisation) / regularisation)))
        lengths = [
            (regularisation * 2.0**k, 10 if k else self.max_iterations)
            for k in range(halvings, -1, -1)
        ]
        tolerance = TOLERANCE if self.tolerance is None else self.tolerance
        found = _on_matrix(ot, x, y, lengths, tolerance) if 8 * len(x) * len(y) <= MATRIX else None
        v, iterations, gap = found or _on_logarithms(ot, x, y, lengths, tolerance)
        report: Report = {
            "converged": gap <= tolerance,
            "gap": gap,
            "iterations": iterations,
            "regularisation": regularisation,
        }
        report["remedy"] = (
            f"raise max_iterations = {self.max_iterations}, regularisation = {regularisation:.3g}"
            f" or tolerance = {tolerance:g}"
        )
        return SoftTransportWitness(y.points, v, y.mass.log(), regularisation), report


def _on_matrix(
    ot: ModuleType, x: Cloud, y: Cloud, lengths: list[tuple[float, int]], tolerance: float
) -> tuple[Tensor, int, float] | None:
    """v (M,), iterations and gap after all `lengths`: pairs (regularisation, most iterations).

    Each regularisation begins where the one before has ended. None where numbers overflow.
    """
    cost, a, b = (part.cpu() for part in (distances(x.points, y.points), x.mass, y.mass))
    potentials, iterations, gap = (torch.zeros_like(a), torch.zeros_like(b)), 0, math.inf
    with _checks.warnings_caught("ignore"):  # the report says it
        for eps, most in lengths:
            _, log = ot.bregman.sinkhorn_stabilized(
                a,
                b,
                cost,
                eps,
                numItermax=most,
                stopThr=tolerance,
                warmstart=potentials,
                log=True,
                warn=False,
                print_period=10,
            )
            potentials, iterations, gap = (
                log["warmstart"],
                iterations + log["n_iter"] + 1,
                float(log["err"][-1]),
            )
    if not (math.isfinite(gap) and all(_checks.all_finite(part) for part in potentials)):
        return None
    return potentials[1].to(y.points) - lengths[-1][0] * y.mass.log(), iterations, gap


def _on_logarithms(
    ot: ModuleType, x: Cloud, y: Cloud, lengths: list[tuple[float, int]], tolerance: float
) -> tuple[Tensor, int, float]:
    """As `_on_matrix`, in bounded memory."""
    centre = y.mean(y.points)  # distances of POT come from squares
    # torch's logarithm of a sum takes a third of the time of scipy's
    points = [(cloud.points - centre).cpu() for cloud in (x, y)]
    a, b = (cloud.mass.cpu() for cloud in (x, y))
    f, g, iterations, gap = a.log(), b.log(), 0, math.inf
    for eps, most in lengths:
        if iterations:
            f, g = (m.log() + 2 * (potential - m.log()) for m, potential in ((a, f), (b, g)))
        f, g, log = ot.bregman.empirical_sinkhorn(
            *points,
            eps,
            a,
            b,
            "euclidean",
            most,
            tolerance,
            True,
            rows(max(len(a), len(b))),
            log=True,
            warn=False,
            warmstart=(f, g),
        )
        iterations, gap = (
            iterations + log["niter"] + 1,
            float(log["err"][-1]) if log["err"] else math.inf,
        )
    return lengths[-1][0] * (g.to(y.points) - y.mass.log()), iterations, gap


def _exact(ot: ModuleType, x: Cloud, y: Cloud, pivots: int) -> tuple[TransportWitness, Report]:
    cost = distances(x.points, y.points)
    scale = float(cost.max()) or 1.0
    with _checks.warnings_caught("ignore"):  # the report says it
        coupling, log = ot.emd(
            *(part.cpu().numpy() for part in (x.mass, y.mass, cost / scale)),
            numItermax=pivots,
            log=True,
        )
    potential, coupling = (torch.from_numpy(part).to(cost) for part in (log["v"], coupling))
    weight = torch.where(cost > 0, coupling / cost, 0)
    pull = weight @ y.points - weight.sum(1, keepdim=True) * x.points
    arrived = torch.where(cost > 0, 0, coupling).sum(1)
    size = weight @ y.points.norm(dim=1) + weight.sum(1) * x.points.norm(dim=1)
    report: Report = {
        "converged": log["warning"] is None,
        "regularisation": 0.0,
        "remedy": "raise max_iterations, or lower exact_up_to",
    }
    witness = TransportWitness(
        y.points, scale * potential, x.points, pull, arrived, ROUNDING * size
    )
    return witness, report


def _dual(x: Cloud, y: Cloud, v: Float[Tensor, "M"]) -> float:
    """sum_i a_i u_i + sum_j b_j v_j of the best feasible pair that v gives.

    u_i = min_j |x_i - y_j| - v_j, then v_j = min_i |x_i - y_j| - u_i.
    """
    u = torch.cat(
        [(distances(part, y.points) - v).amin(1) for part in x.points.split(rows(len(y)))]
    )
    v = torch.cat(
        [(distances(part, x.points) - u).amin(1) for part in y.points.split(rows(len(x)))]
    )
    return float(x.mean(u) + y.mean(v))


def _pot() -> ModuleType:
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "CTransformCritic needs POT, which cannot be imported: pip install POT, or use"
            " GradientPenaltyCritic()"
        ) from error
    return ot
