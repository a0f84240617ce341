"""Samplers of planar shapes of size one about the origin: rings, moons, spirals, a checkerboard.

`noise` is the standard deviation of a Gaussian that is added to every point. A curve without noise
has no density.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.special import i0e, i1e, log_ndtr

from particleflow import _checks
from particleflow._typing import Gradients, Queries, Values
from particleflow.samplers.base import Seeded, same_dim


@dataclass(frozen=True, kw_only=True)
class _Planar(Seeded):
    noise: float = 0.0

    def __post_init__(self) -> None:
        _checks.non_negative(self.noise, "noise")

    @property
    def dim(self) -> int:
        return 2

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        points = self._outline(n, rng)
        return points + self.noise * rng.standard_normal(points.shape) if self.noise else points

    @abstractmethod
    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the points before the noise is added, (n, 2)."""


def _polar(radius: np.ndarray | float, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


@dataclass(frozen=True, kw_only=True)
class Rings(_Planar):
    r"""Circles in the plane, each with the same share of the points; by default three rings.

    .. math::

        p(r) = \frac{1}{2\pi\sigma^2}
            \exp\left(-\frac{r^2 + R^2}{2\sigma^2}\right)
            I_0\left(\frac{r R}{\sigma^2}\right)

    This is the density of one ring at a distance r from its centre. R is `radius`, :math:`\sigma`
    is `noise`, and :math:`I_0` a modified Bessel function: the Gaussian's average over the circle.
    The distribution is the mean over the rings. `log_density` and `score` need `noise` > 0: a
    circle has no area. The dimension is 2.

    Parameters
    ----------
    noise : float
        Standard deviation of a Gaussian that is added to every point, >= 0, in units of the
        coordinates.
    centres : (K, 2) numbers
        The centres of the rings.
    radius : float
        R > 0, of every ring.
    spaced : bool
        False: random angles on random rings. True: equally spaced angles from 0 on, ring after
        ring. The first rings then get one point more where K does not divide n. Without noise the
        points are then the same for every seed.

    Raises
    ------
    TypeError
        `noise` or `radius` is no number, `centres` are no numbers, or `spaced` is neither True nor
        False.
    ValueError
        `noise` is < 0, `radius` is not > 0, or `centres` is not (K, 2) or not finite. `log_density`
        or `score`: `noise` is 0, or z is not (Q, 2).

    Cost: O(n) a sample, O(Q K) for the density or score.

    Source: Glaser, Arbel and Gretton (2021), whose three rings are the defaults.

    >>> ring = pf.samplers.Rings(centres=[[0, 0]], radius=1.0, noise=0.5)
    >>> origin = torch.zeros(1, 2, dtype=torch.float64)
    >>> round(ring.log_density(origin).exp().item(), 6)  # exp(-2) / (2 pi 0.25)
    0.086157
    >>> x = pf.samplers.Rings(spaced=True).sample(6)
    >>> x.norm(dim=1)[:2]  # of the first ring
    tensor([0.3000, 0.3000], dtype=torch.float64)
    """

    centres: Sequence[Sequence[float]] = ((0.0, 0.0), (0.0, -0.75), (0.0, -1.5))
    radius: float = 0.3
    spaced: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.positive(self.radius, "radius")
        _checks.flag(self.spaced, "spaced")
        centres = _checks.as_points(self.centres, "centres")
        if centres.shape[1] != 2:
            raise ValueError(
                f"`centres` must be (K, 2), got {tuple(centres.shape)}: rings are in the plane"
            )
        object.__setattr__(self, "centres", tuple(map(tuple, centres.tolist())))

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        rings = len(self.centres)
        if self.spaced:
            sizes = [n // rings + (k < n % rings) for k in range(rings)]
            ring = np.repeat(np.arange(rings), sizes)
            angle = np.concatenate([2 * np.pi * np.arange(size) / max(size, 1) for size in sizes])
        else:
            ring = rng.integers(rings, size=n)
            angle = 2 * np.pi * rng.random(n)
        return np.array(self.centres)[ring] + _polar(self.radius, angle)

    def _log_parts(self, z: Queries) -> tuple[Tensor, Tensor, Tensor]:
        """Return the parts of the density of each ring.

        They are the log density (K, Q), z - centre (K, Q, 2) and r radius / sigma^2 (K, Q).
        """
        if not self.noise:
            raise ValueError("`noise` must be > 0 for a density, got 0: a circle has no area")
        same_dim(z, 2)
        offset = z - torch.tensor(self.centres, dtype=z.dtype, device=z.device)[:, None]
        r = offset.norm(dim=2)
        kappa = r * self.radius / self.noise**2
        return (
            -0.5 * ((r - self.radius) / self.noise) ** 2
            + i0e(kappa).log()
            - math.log(2 * math.pi * self.noise**2),
            offset,
            kappa,
        )

    def log_density(self, z: Queries) -> Values:
        """The logarithm of the density, (Q,), for z of shape (Q, 2); ValueError without noise."""
        logs, _, _ = self._log_parts(z)
        return torch.logsumexp(logs, 0) - math.log(len(self.centres))

    def score(self, z: Queries) -> Gradients:
        """Return grad log p, (Q, 2).

        One ring has the score (z - centre) (radius I_1 / (r I_0) - 1) / sigma^2.
        """
        logs, offset, kappa = self._log_parts(z)
        ratio = torch.where(kappa > 0, i1e(kappa) / (i0e(kappa) * kappa), 0.5)
        pull = ((self.radius / self.noise) ** 2 * ratio - 1) / self.noise**2
        return ((torch.softmax(logs, 0) * pull)[..., None] * offset).sum(0)


@dataclass(frozen=True, kw_only=True)
class Moons(_Planar):
    r"""Two interlocking half circles of radius 1 in the plane, uniform in arc length.

    .. math::

        \pm \left( \cos t - \frac12,\; \sin t - \frac14 \right), \qquad 0 \le t \le \pi

    The sign and t are random. These are scikit-learn's `make_moons` minus their mean, which here is
    the origin. The dimension is 2, and there is no `log_density`.

    Parameters
    ----------
    noise : float
        Standard deviation of a Gaussian that is added to every point, >= 0, in units of the
        coordinates.

    Raises
    ------
    TypeError
        `noise` is no number.
    ValueError
        `noise` is < 0.

    Cost: O(n) a sample.

    Source: scikit-learn, Pedregosa et al. (2011).

    >>> x = pf.samplers.Moons().sample(100)
    >>> c = torch.tensor([0.5, 0.25])
    >>> left, right = ((x + side * c).norm(dim=1) - 1 for side in (1, -1))
    >>> bool((left * right).abs().max() < 1e-12)  # on one of the two circles
    True
    """

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        side = np.where(rng.random(n) < 0.5, 1.0, -1.0)[:, None]
        return side * (_polar(1.0, np.pi * rng.random(n)) - np.array([0.5, 0.25]))


@dataclass(frozen=True, kw_only=True)
class Spiral(_Planar):
    r"""Archimedean spirals in the unit disc, uniform in arc length.

    .. math::

        \begin{aligned}
        &r = \frac{\theta}{2\pi\,T}, \qquad 0 \le \theta \le 2\pi\,T, \\
        &\text{length} \propto \frac12 \left(
            \theta \sqrt{1 + \theta^2} + \operatorname{arsinh} \theta \right)
        \end{aligned}

    T is `turns`; the arms are the same curve turned by multiples of :math:`2\pi / \text{arms}`.
    Newton's method inverts the length, so the points are uniform along the curve. `SwissRoll` is
    thinner at its outer turns. The dimension is 2, and there is no `log_density`.

    Parameters
    ----------
    noise : float
        Standard deviation of a Gaussian that is added to every point, >= 0, in units of the
        coordinates.
    arms : int
        The number of arms, >= 1; each gets a random share of the points.
    turns : float
        Turns of each arm about the origin, > 0.

    Raises
    ------
    TypeError
        `noise` or `turns` is no number, or `arms` no integer.
    ValueError
        `noise` is < 0, `arms` < 1, or `turns` is not > 0.

    Cost: O(n) a sample.

    >>> x = pf.samplers.Spiral(arms=1).sample(100)
    >>> r = x.norm(dim=1)
    >>> theta = 2 * torch.pi * r
    >>> bool(torch.allclose(x[:, 0], r * theta.cos()))
    True
    """

    arms: int = 2
    turns: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.count(self.arms, "arms")
        _checks.positive(self.turns, "turns")

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        longest = 2 * np.pi * self.turns
        wanted = rng.random(n) * _spiral_length(np.full(n, longest))
        theta = np.sqrt(
            2 * wanted
        )  # not below the root of a convex function: Newton's method decreases to it
        for _ in range(8):
            theta -= (_spiral_length(theta) - wanted) / np.sqrt(1 + theta**2)
        return _polar(
            theta / longest, theta + 2 * np.pi / self.arms * rng.integers(self.arms, size=n)
        )


def _spiral_length(theta: np.ndarray) -> np.ndarray:
    return 0.5 * (theta * np.sqrt(1 + theta**2) + np.arcsinh(theta))


@dataclass(frozen=True, kw_only=True)
class SwissRoll(_Planar):
    r"""The cross section of scikit-learn's `make_swiss_roll` in the plane, within the unit disc.

    .. math::

        r = \frac{\theta}{4.5\,\pi}, \qquad
        \theta \text{ uniform in } \left[ 1.5\,\pi,\; 4.5\,\pi \right]

    The angle is uniform, as in scikit-learn, so the outer turns are thinner. `Spiral(arms=1)` is
    uniform in arc length. scikit-learn's roll is larger, by the factor :math:`4.5\,\pi`. The
    dimension is 2, and there is no `log_density`.

    Parameters
    ----------
    noise : float
        Standard deviation of a Gaussian that is added to every point, >= 0, in units of the
        coordinates.

    Raises
    ------
    TypeError
        `noise` is no number.
    ValueError
        `noise` is < 0.

    Cost: O(n) a sample.

    Source: scikit-learn, Pedregosa et al. (2011).

    >>> r = pf.samplers.SwissRoll().sample(1000).norm(dim=1)
    >>> bool(r.min() >= 1 / 3) and bool(r.max() <= 1)
    True
    """

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        theta = 1.5 * np.pi * (1 + 2 * rng.random(n))
        return _polar(theta / (4.5 * np.pi), theta)


@dataclass(frozen=True, kw_only=True)
class Checkerboard(_Planar):
    r"""The uniform distribution on the dark squares of a board over [-1, 1]^2.

    .. math::

        p(z) = \frac1K \sum_{k=1}^K \prod_{c=1}^{2}
            \frac{\Phi\left(\frac{z_c - a_{kc}}{\sigma}\right)
                - \Phi\left(\frac{z_c - b_{kc}}{\sigma}\right)}{b_{kc} - a_{kc}}

    The dark squares are :math:`[a_{k1}, b_{k1}] \times [a_{k2}, b_{k2}]`, K of them, and the lower
    left one is dark. :math:`\sigma` is `noise`, :math:`\Phi` the normal distribution function.
    Without noise p is constant on the dark squares, and the score is 0 everywhere: it does not lead
    back to the squares. The dimension is 2.

    Parameters
    ----------
    noise : float
        Standard deviation of a Gaussian that is added to every point, >= 0, in units of the
        coordinates.
    squares : int
        Squares along each side, >= 1.

    Raises
    ------
    TypeError
        `noise` is no number, or `squares` no integer.
    ValueError
        `noise` is < 0, or `squares` < 1. `log_density` or `score`: z is not (Q, 2).

    Cost: O(n) a sample, O(Q squares^2) for the density or score.

    >>> board = pf.samplers.Checkerboard()
    >>> z = torch.tensor([[-0.9, -0.9], [-0.4, -0.9]])
    >>> board.log_density(z).exp().tolist()  # half of the area 4 is dark
    [0.5, 0.0]
    """

    squares: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.count(self.squares, "squares")

    def _dark(self) -> np.ndarray:
        """Return column and row of each dark square, (K, 2)."""
        return np.argwhere(np.add.outer(range(self.squares), range(self.squares)) % 2 == 0)

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        dark = self._dark()
        return 2 / self.squares * (dark[rng.integers(len(dark), size=n)] + rng.random((n, 2))) - 1

    def _strips(self, z: Queries) -> tuple[Tensor, Tensor]:
        """Return log of the density over each strip of the board, and its derivative.

        Both have shape (Q, 2, squares): x in column k, y in row k.
        """
        same_dim(z, 2)
        edges = torch.linspace(-1, 1, self.squares + 1, dtype=z.dtype, device=z.device)
        if not self.noise:
            inside = (z[..., None] >= edges[:-1]) & (z[..., None] < edges[1:])
            return torch.where(inside, math.log(self.squares / 2), -math.inf).to(
                z.dtype
            ), torch.zeros_like(inside, dtype=z.dtype)
        u = (
            z[..., None] - edges
        ) / self.noise  # Phi(u_k) - Phi(u_k+1), mirrored into the left tail, where it is exact
        left, right = u[..., :-1], u[..., 1:]
        high, low = (
            torch.where(left + right > 0, -right, left),
            torch.where(left + right > 0, -left, right),
        )
        mass = log_ndtr(high) + torch.log(-torch.expm1(log_ndtr(low) - log_ndtr(high)))
        normal = -0.5 * u**2 - 0.5 * math.log(2 * math.pi)
        slope = torch.exp(normal[..., :-1] - mass) - torch.exp(normal[..., 1:] - mass)
        return mass + math.log(self.squares / 2), slope / self.noise

    def log_density(self, z: Queries) -> Values:
        """The logarithm of the density, (Q,), for z of shape (Q, 2); without noise -inf off the
        dark squares.
        """
        return torch.logsumexp(self._log_squares(self._strips(z)[0]), 1)

    def score(self, z: Queries) -> Gradients:
        """grad log p, (Q, 2), for z of shape (Q, 2).

        Without noise the score is zero everywhere: it does not lead back to the squares.
        """
        logs, slopes = self._strips(z)
        share = torch.softmax(self._log_squares(logs), 1).nan_to_num(0.0)
        column, row = torch.from_numpy(self._dark()).to(z.device).T
        return torch.stack(
            [(share * slopes[:, 0, column]).sum(1), (share * slopes[:, 1, row]).sum(1)], 1
        )

    def _log_squares(self, logs: Tensor) -> Tensor:
        """Return log of each dark square's part of the density, (Q, K)."""
        column, row = torch.from_numpy(self._dark()).to(logs.device).T
        return logs[:, 0, column] + logs[:, 1, row] - math.log(len(column))
