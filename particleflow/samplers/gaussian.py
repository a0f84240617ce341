"""Samplers of Gaussians and their mixtures, with density and score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Queries, Values
from particleflow.memo import cached_property
from particleflow.samplers.base import Density, Sampler, Seeded, same_dim

# The remedy that an error names when an argument holds no numbers.
REMEDIES = {
    "mean": "pass a number, or one for each coordinate",
    "std": "pass a number > 0, or one for each coordinate",
    "cov": "pass (d, d) numbers",
}


@dataclass(frozen=True, init=False)
class Gaussian(Seeded):
    r"""The Gaussian distribution N(mean, cov), or N(mean, diag(std^2)), in any dimension.

    .. math::

        \log p(z) = -\frac12 \left| L^{-1} (z - \mu) \right|^2
            - \log \det L - \frac{d}{2} \log 2\pi, \qquad L L^T = \Sigma

    :math:`\mu` is `mean`, :math:`\Sigma` is `cov`, and L its Cholesky factor, or diag(std). A
    sample is :math:`\mu + L u` with standard normal u. It has `log_density` and `score`, so it can
    be a Langevin target.

    Parameters
    ----------
    dim : int, optional
        d; read off `mean`, `std` or `cov` where one of them has entries.
    mean : number or d numbers
        A number is the same for every coordinate.
    std : number > 0 or d of them, optional
        Standard deviations, in units of the coordinates. Without `cov`, 1 by default.
    cov : (d, d), optional
        A symmetric positive definite matrix, instead of `std`.

    Raises
    ------
    TypeError
        `mean`, `std` or `cov` holds no numbers, or `dim` is no integer.
    ValueError
        There is no dimension, or two that disagree. `std` is not > 0, `cov` is not symmetric
        positive definite, or both are given. A number is not finite. `log_density` or `score`: z is
        not (Q, d).

    Cost: O(n d) a sample and O(Q d) for the density or score; with `cov` O(n d^2) and O(Q d^2),
    after O(d^3) once.

    >>> p = pf.samplers.Gaussian(mean=(0, -0.5), std=0.5)
    >>> z = torch.tensor([[0.0, -0.5], [1.0, -0.5]], dtype=torch.float64)
    >>> p.log_density(z).exp()[0].item() * torch.pi  # 1 / (2 pi std^2) at the mean
    2.0
    >>> p.score(z)[1].tolist()  # -(z - mean) / std^2
    [-4.0, -0.0]
    """

    dim: int
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...] | None
    cov: tuple[tuple[float, ...], ...] | None

    def __init__(
        self, dim: int | None = None, *, mean: Any = 0.0, std: Any = None, cov: Any = None
    ) -> None:
        if std is not None and cov is not None:
            raise ValueError(
                "`std` and `cov` were both given: pass one of them (cov = diag(std^2))"
            )
        given = {
            name: _numbers(value, name)
            for name, value in (("mean", mean), ("std", std), ("cov", cov))
            if value is not None
        }
        if "cov" not in given:
            given.setdefault("std", np.ones(()))
        for value in given["std"].flat if "std" in given else ():
            _checks.positive(
                float(value), "std", remedy="for all points in one place take a small one"
            )
        object.__setattr__(self, "dim", _agreed_dim(dim, given))
        for name in ("mean", "std", "cov"):
            object.__setattr__(self, name, _nested(given[name].tolist()) if name in given else None)
        _ = self._factor

    @cached_property
    def _factor(self) -> np.ndarray:
        """Return L: the Cholesky factor (d, d) of `cov`, or the diagonal `std` (d,)."""
        if self.cov is None:
            return np.broadcast_to(np.array(self.std), self.dim)
        cov = np.array(self.cov)
        if not np.allclose(cov, cov.T, rtol=1e-8, atol=1e-12 * abs(cov).max()):
            raise ValueError(
                f"`cov` must be symmetric, got {cov.tolist()}: pass (cov + cov.T) / 2 if this is"
                " rounding"
            )
        try:
            return np.linalg.cholesky(cov)
        except np.linalg.LinAlgError:
            least = float(np.linalg.eigvalsh(cov)[0])
            raise ValueError(
                f"`cov` must be positive definite, got a least eigenvalue of {least:g}: add a small"
                " multiple of the identity"
            ) from None

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal((n, self.dim))
        return np.array(self.mean) + (
            noise * self._factor if self.cov is None else noise @ self._factor.T
        )

    def _standardised(self, z: Queries) -> tuple[Tensor, Tensor]:
        """Return L^-1 (z - mean), shape (Q, d), and L, in the dtype and on the device of z."""
        same_dim(z, self.dim)
        factor = torch.tensor(self._factor, dtype=z.dtype, device=z.device)
        centred = z - torch.tensor(self.mean, dtype=z.dtype, device=z.device)
        return (
            centred / factor
            if self.cov is None
            else torch.linalg.solve_triangular(factor, centred.T, upper=False).T
        ), factor

    def log_density(self, z: Queries) -> Values:
        """The logarithm of the density, (Q,), for z of shape (Q, d)."""
        u, factor = self._standardised(z)
        diagonal = factor if self.cov is None else factor.diagonal()
        return -0.5 * (u**2).sum(1) - diagonal.log().sum() - 0.5 * self.dim * math.log(2 * math.pi)

    def score(self, z: Queries) -> Gradients:
        """grad log p = -cov^-1 (z - mean), (Q, d), for z of shape (Q, d)."""
        u, factor = self._standardised(z)
        return (
            -u / factor
            if self.cov is None
            else -torch.linalg.solve_triangular(factor.T, u.T, upper=True).T
        )


@dataclass(frozen=True, init=False)
class Mixture(Seeded):
    r"""A mixture of samplers of one dimension, each with its weight.

    .. math::

        \log p = \log \sum_k w_k p_k, \qquad
        \nabla \log p = \sum_k \frac{w_k p_k}{p} \nabla \log p_k

    :math:`w_k` are the weights, :math:`p_k` the components. The points are drawn independently:
    first the component, then the point. `log_density` and `score` exist where every component has
    them. They are computed by log-sum-exp, so they hold far from all components too. Components may
    be samplers of any kind, mixtures among them.

    Parameters
    ----------
    components : sequence of Sampler
        At least one, all of one dimension.
    weights : sequence of numbers > 0, optional
        One for each component; made to sum to 1. By default equal.

    Raises
    ------
    TypeError
        `components` or `weights` is not several, or a component is no sampler. `log_density` or
        `score`: a component has no density.
    ValueError
        There is no component, their dimensions differ, a weight is not > 0, or the numbers of
        weights and components differ. `log_density` or `score`: z is not (Q, d).

    Cost: one sample of each component for its share of the points; one density or score of each
    component for Q queries.

    >>> p = pf.samplers.Mixture(
    ...     [pf.samplers.Gaussian(mean=[-1.0]), pf.samplers.Gaussian(mean=[1.0])]
    ... )
    >>> z = torch.tensor([[0.0], [9.0]], dtype=torch.float64)
    >>> p.score(z)[:, 0].round(decimals=6).tolist()  # tanh(z) - z
    [0.0, -8.0]
    """

    components: tuple[Sampler, ...]
    weights: tuple[float, ...]

    def __init__(
        self, components: Sequence[Sampler], weights: Sequence[float] | None = None
    ) -> None:
        components = tuple(
            _checks.several(components, "components", remedy="pass a list of samplers")
        )
        if not components:
            raise ValueError(
                "`components` must hold at least one sampler, got none: e.g."
                " [pf.samplers.Gaussian(dim=2)]"
            )
        for part in components:
            if not isinstance(part, Sampler):
                raise TypeError(
                    f"`components` must be samplers, got {type(part).__name__}: wrap an array in"
                    " FromArray"
                )
        dims = [part.dim for part in components]
        if len(set(dims)) > 1:
            raise ValueError(
                f"`components` must have one dimension, got {dims}: draw them in the same"
                " coordinates"
            )
        given = (
            [1.0] * len(dims)
            if weights is None
            else _checks.several(
                weights, "weights", remedy=f"pass a list of {len(dims)} numbers > 0"
            )
        )
        masses = [
            _checks.positive(w, "weights", remedy="leave out a component of no weight")
            for w in given
        ]
        if len(masses) != len(components):
            raise ValueError(
                f"`weights` must be one number per component, got {len(masses)} weights and"
                f" {len(components)} components: pass as many"
            )
        object.__setattr__(self, "components", components)
        object.__setattr__(self, "weights", tuple(w / math.fsum(masses) for w in masses))

    @classmethod
    def four_gaussians(cls, *, side: float = 1.8, std: float = 0.25) -> Mixture:
        """Four equal Gaussians at the corners of [0, side]^2, a published task.

        The task starts from Gaussian(dim=2, mean=-0.18, std=0.2).

        Parameters
        ----------
        side : float
            Distance of neighbouring centres, > 0.
        std : float
            Standard deviation of each Gaussian, > 0.

        Returns
        -------
        Mixture
            Of dimension 2.

        Raises
        ------
        ValueError, TypeError
            `side` or `std` is not a number > 0.

        Source: Glaser, Arbel and Gretton (2021), KALE flow.
        """
        side = _checks.positive(side, "side")
        return cls([Gaussian(mean=(a, b), std=std) for a in (0.0, side) for b in (0.0, side)])

    @property
    def dim(self) -> int:
        return self.components[0].dim

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        labels = rng.choice(len(self.components), size=n, p=self.weights)
        points = np.empty((n, self.dim))
        for k, part in enumerate(self.components):
            mine = labels == k
            seed = int(rng.integers(2**63))
            if mine.any():
                points[mine] = part.sample(int(mine.sum()), seed=seed).numpy()
        return points

    def _log_shares(self, z: Queries) -> Tensor:
        """Return log (weight_k p_k(z)), shape (K, Q)."""
        same_dim(z, self.dim)
        return torch.stack(
            [
                math.log(w) + part.log_density(z)
                for w, part in zip(self.weights, self._densities(), strict=True)
            ]
        )

    def _densities(self) -> list[Density]:
        parts: list[Density] = []
        for part in self.components:
            if not isinstance(part, Density):
                raise TypeError(
                    "`components` must all have log_density and score for the mixture's,"
                    f" {type(part).__name__} has none"
                )
            parts.append(part)
        return parts

    def log_density(self, z: Queries) -> Values:
        """The logarithm of the density, (Q,); -inf where the density of every component is zero."""
        return torch.logsumexp(self._log_shares(z), 0)

    def score(self, z: Queries) -> Gradients:
        """grad log p, (Q, d); zero outside of every support."""
        shares = torch.softmax(self._log_shares(z), 0).nan_to_num(0.0)
        return sum(
            share[:, None] * part.score(z)
            for share, part in zip(shares, self._densities(), strict=True)
        )


def _nested(value: Any) -> Any:
    """Turn lists into tuples, so that equal distributions are equal and hashable."""
    return tuple(map(_nested, value)) if isinstance(value, list) else value


def _numbers(value: Any, name: str) -> np.ndarray:
    """Return a finite float64 array with 0 or 1 axes, or 2 axes for `cov`."""
    raw = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    try:
        array = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(
            f"`{name}` must be numbers, got {_checks.said(value)}: {REMEDIES[name]}"
        ) from None
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if not (square if name == "cov" else array.ndim <= 1):
        wanted = "a (d, d) matrix" if name == "cov" else "a number or d numbers"
        raise ValueError(f"`{name}` must be {wanted}, got shape {array.shape}: {REMEDIES[name]}")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite, got {array.tolist()}: {REMEDIES[name]}")
    return array


def _agreed_dim(dim: int | None, given: dict[str, np.ndarray]) -> int:
    """Return the dimension on which `dim` and the sizes of the arrays agree."""
    sizes = {name: len(array) for name, array in given.items() if array.ndim}
    if dim is not None:
        sizes["dim"] = _checks.count(dim, "dim")
    if not sizes:
        raise ValueError(
            "`dim` is needed where neither `mean`, `std` nor `cov` tells it, e.g. Gaussian(dim=2)"
        )
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise ValueError(
            f"`dim`, `mean`, `std` and `cov` must agree on a dimension >= 1, got {sizes}"
        )
    return next(iter(sizes.values()))
