"""The largest injected noise at which the squared MMD still falls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from particleflow import _checks
from particleflow.adaptive.noise import kernel_of
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import Estimator, Fit
from particleflow.estimators.base import GradWitness, HalfSquaredNorm, inner_of
from particleflow.kernels import Kernel
from particleflow.subsets import places

# The ratio of neighbouring levels in the search, from the largest possible one downwards.
RATIO = 2**-0.5
# Levels in the search: the last one is 2^-15 of the largest possible, where nothing is injected.
LEVELS = 31
# Bisections between two levels: beta is then right within 1 %.
BISECTIONS = 6
# The distance from 0, in squared lengths of the kernel, at which its curvature must still be that
# at 0. A kernel without a fourth derivative is off by orders of magnitude there.
NEAR_ZERO = 1e-6
# The relative change of a finite curvature up to there: 0.5 % for Matern-5/2.
SAME = 0.05


@dataclass(frozen=True)
class Arbel:
    r"""Take the largest noise beta at which MMD flow is guaranteed to lower the squared MMD.

    .. math::

        8 \kappa^2 d\, \beta^2 F \le D_\beta, \qquad
        D_\beta = \mathbb{E}_x \mathbb{E}_u
            \lVert \nabla w(x + \beta u) \rVert^2, \qquad
        F = \tfrac12 \mathrm{MMD}^2

    Then, for steps dt < 1 / (3 L), the expectation of F over u falls by at least
    (dt / 2) (1 - 3 dt L) D_beta in a step. Here L = -2 k'(0), kappa^2 = 12 k''(0) for
    k = profile(s), s = |z - y|^2. A Gaussian has L = 1 / l^2 and kappa^2 = 3 / l^4.

    Why: dF/dt = -E grad w(x) . grad w(z), z = x + beta u. Since w is in the kernel's Hilbert space
    with |w|^2 = 2 F, the reproducing property gives |grad w(z) - grad w(x)| <= kappa |w| beta |u|.
    With E |u|^2 = d, Cauchy and Schwarz bound the difference of dF/dt from -D_beta by
    kappa beta sqrt(2 d F D_beta). The condition makes that at most D_beta / 2.

    D_beta is at most 2 F L. So beta never exceeds sqrt(L / 4 d) / kappa, which is l / sqrt(12 d)
    for a Gaussian: the guarantee allows little noise. Larger noise often works better, without a
    guarantee.

    What is sampled: D_beta is the mean over at most `most` drawn places of the particles and 2
    `draws` fixed directions u, opposite in pairs. They are not the directions that the step takes.
    F is the exact value of the fit. Repeats of a point and the order of the rows change nothing.

    Parameters
    ----------
    most : int
        The most particles that are drawn.
    draws : int
        Pairs of directions for each of them.

    Raises
    ------
    TypeError
        A count is no whole number. In a `Flow`: its estimator is not MMD with a radial kernel whose
        fourth derivative at 0 is finite: Gaussian, Matern52, IMQ, Cauchy or your own.
    ValueError
        `most` < 1 or `draws` < 1.

    Cost: one evaluation of the value, and about 10 of the witness's gradient at 2 `most` `draws`
    points, at every stage of a step.

    Source: Arbel, Korba, Salim and Gretton (2019), Proposition 8, where kappa is lambda. It is
    written out here for radial kernels, and d for normal u.

    Two bandwidths away beta is 0.06 bandwidths; no distance allows more than 0.29 in one dimension:

    >>> mmd, x = pf.estimators.MMD(pf.kernels.Gaussian(1.0)), pf.Cloud([[0.0]])
    >>> fit = pf.fit(mmd, x, [[2.0], [2.0]])
    >>> round(pf.Arbel().at(x, fit, pf.Clock(), mmd), 2)
    0.06
    """

    most: int = field(default=128, kw_only=True)
    draws: int = field(default=4, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", _checks.count(self.most, "most"))
        object.__setattr__(self, "draws", _checks.count(self.draws, "draws"))

    def check(self, estimator: Estimator) -> None:
        """Refuse (TypeError) every estimator but MMD with a radial kernel that is smooth enough."""
        kernel = kernel_of(estimator)
        if kernel is None or not isinstance(inner_of(estimator), HalfSquaredNorm):
            raise TypeError(
                "`noise` Arbel must have MMD with a radial kernel, for which the theorem holds, got"
                f" {type(estimator).__name__}: take a number or a schedule"
            )
        _constants(kernel)

    def at(self, x: Cloud, fit: Fit, clock: Clock, estimator: Estimator) -> float:
        """beta >= 0 at the particles x, on which `estimator` has made `fit`; 0 where F is 0."""
        kernel = kernel_of(estimator, fit)
        assert kernel is not None
        assert fit.value is not None
        if not fit.value > 0:
            return 0.0
        smooth, rough = _constants(kernel)
        drawn, bound = self._drawn(x), 8 * rough * x.dim * fit.value

        def falls(beta: float) -> bool:
            return drawn.squared_speed(fit, beta) >= bound * beta**2

        high = math.sqrt(smooth / (4 * x.dim * rough))
        for _ in range(LEVELS):
            low = high * RATIO
            if falls(low):
                break
            high = low
        else:
            return 0.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if falls(middle) else (low, middle)
        return low

    def excess(self, x: Cloud, fit: Fit, estimator: Estimator, beta: float) -> float:
        """D_beta - 8 kappa^2 d beta^2 F at the particles x, which the theorem asks to be >= 0."""
        kernel = kernel_of(estimator, fit)
        assert kernel is not None
        assert fit.value is not None
        bound = 8 * _constants(kernel)[1] * x.dim * fit.value
        return self._drawn(x).squared_speed(fit, beta) - bound * beta**2

    def _drawn(self, x: Cloud) -> _Drawn:
        points, share = (part.to(x.points) for part in places(x, self.most))
        u = torch.stack([Draws().normal("arbel", k, points) for k in range(self.draws)])
        return _Drawn(points, share, torch.cat([u, -u]))


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Drawn places (P, d), their shares (P,), and fixed directions (R, P, d)."""

    points: Tensor
    share: Tensor
    directions: Tensor

    def squared_speed(self, fit: Fit, beta: float) -> float:
        """D_beta, the mean of |grad w(x + beta u)|^2."""
        z = self.points + beta * self.directions
        squares = _gradient(fit, z.flatten(0, 1)).square().sum(1)
        return float((squares.view(z.shape[:2]) @ self.share).mean())


def _gradient(fit: Fit, z: Tensor) -> Tensor:
    witness = fit.witness
    return witness.grad(z) if isinstance(witness, GradWitness) else witness.value_and_grad(z)[1]


def _constants(kernel: Kernel) -> tuple[float, float]:
    """L and kappa^2 of a radial kernel: minus its second and its fourth derivative at 0."""
    zero = torch.zeros(1, dtype=torch.float64, device="cpu")
    slope, curvature = float(kernel.slope(zero)), float(kernel.curvature(zero))
    near = zero + NEAR_ZERO * abs(slope / curvature) if curvature else zero
    if not (
        slope < 0 < curvature < math.inf
        and abs(float(kernel.curvature(near)) / curvature - 1) <= SAME
    ):
        raise TypeError(
            "`noise` Arbel must have a kernel whose fourth derivative at 0 is finite, got"
            f" {kernel}: take pf.kernels.Gaussian, Matern52, IMQ or Cauchy"
        )
    return -2 * slope, 12 * curvature
