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
    """Circles, each with the same share of the points.

    The defaults are the three rings of Glaser, Arbel and Gretton (2021). With noise sigma > 0 the
    density of one ring at a distance r from its centre is the Gaussian's average over the circle,

        p(r) = exp(-(r^2 + radius^2) / (2 sigma^2)) I_0(r radius / sigma^2) / (2 pi sigma^2).

    Parameters
    ----------
    centres : (K, 2)
    radius : float
    spaced : bool
        False: random angles on random rings. True: equally spaced angles from 0 on, ring after
        ring. The first rings then get one point more where K does not divide n. Without noise the
        points are the same for every seed.
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
        """Return log p, shape (Q,); raise ValueError without noise."""
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
    """Two interlocking half circles of radius one, uniform in arc length.

    They are scikit-learn's `make_moons` minus its mean.
    """

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        side = np.where(rng.random(n) < 0.5, 1.0, -1.0)[:, None]
        return side * (_polar(1.0, np.pi * rng.random(n)) - np.array([0.5, 0.25]))


@dataclass(frozen=True, kw_only=True)
class Spiral(_Planar):
    """Spirals r = theta / (2 pi turns), 0 <= theta <= 2 pi turns, `arms` of them, in the unit disc.

    The points are uniform in arc length. The length up to theta is proportional to
    (theta sqrt(1 + theta^2) + arsinh theta) / 2, which Newton's method inverts.
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
    """The cross section of scikit-learn's `make_swiss_roll`, within the unit disc.

    The curve is r = theta / (4.5 pi), with theta uniform in [1.5 pi, 4.5 pi], as in scikit-learn.
    The outer turns are therefore thinner. `Spiral(arms=1)` is uniform in arc length.
    """

    def _outline(self, n: int, rng: np.random.Generator) -> np.ndarray:
        theta = 1.5 * np.pi * (1 + 2 * rng.random(n))
        return _polar(theta / (4.5 * np.pi), theta)


@dataclass(frozen=True, kw_only=True)
class Checkerboard(_Planar):
    """The uniform distribution on the dark squares of a `squares` x `squares` board over [-1, 1]^2.

    The lower left square is dark. With noise sigma > 0 each square's density is a product over the
    coordinates of (Phi((x - a) / sigma) - Phi((x - b) / sigma)) / (b - a).
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
        """Return log p, shape (Q,); without noise -inf off the dark squares."""
        return torch.logsumexp(self._log_squares(self._strips(z)[0]), 1)

    def score(self, z: Queries) -> Gradients:
        """Return grad log p, shape (Q, 2).

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
