"""Witnesses from known densities: the target's, and the current one or the cloud's own Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _autograd, _checks
from particleflow._typing import Gradients, Memory, Queries, Values
from particleflow.clouds import Clock, Cloud
from particleflow.estimators.base import CurvedWitness, Fit, mean_descent
from particleflow.samplers.base import Density

LogDensityOrScore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Moments:
    r"""Take the particles' density for the Gaussian with the cloud's own mean and covariance.

    .. math::

        q = \mathcal{N}(\bar{x}, \Sigma + \text{jitter}\, I), \qquad
        \bar{x} = \sum_i m_i x_i, \quad
        \Sigma = \sum_i m_i (x_i - \bar{x})(x_i - \bar{x})^T

    m_i are the shares of the masses, 1/N unless given. It is the current density as long as that is
    Gaussian, as it is on the way from a Gaussian to a Gaussian in the flow of KL. It is what
    `ClosedForm` takes as `current`.

    Parameters
    ----------
    jitter : float
        >= 0, in squared units of the coordinates. It serves clouds that do not span all dimensions.

    Raises
    ------
    TypeError
        `jitter` is no number.
    ValueError
        `jitter` is negative. At a fit: the covariance is singular.

    Cost: O(N d^2 + d^3) a fit, O(Q d^2) for Q queries.

    >>> moments = pf.estimators.Moments()
    >>> q = moments.of(pf.Cloud([[3.0], [5.0]]))  # N(4, 1)
    >>> q.score(torch.tensor([[3.0]], dtype=torch.float64))
    tensor([[1.]], dtype=torch.float64)
    """

    jitter: float = 0.0

    def __post_init__(self) -> None:
        _checks.non_negative(self.jitter, "jitter")

    def of(self, x: Cloud) -> _Normal:
        """The Gaussian of a cloud (N, d), with `log_density(z)` (Q,) and `score(z)` (Q, d).

        Raises
        ------
        ValueError
            The points do not span all dimensions, and `jitter` is too small.
        """
        mean, covariance = x.moments()
        covariance = covariance + self.jitter * torch.eye(
            x.dim, dtype=mean.dtype, device=mean.device
        )
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if bool(failed.any()):
            raise ValueError(
                f"`x` must span all {x.dim} dimensions, got {len(x)} points with a singular"
                " covariance: start from more, distinct points, or pass Moments(jitter=1e-9)"
            )
        return _Normal(mean, factor)


@dataclass(frozen=True)
class _Normal:
    mean: Float[Tensor, "d"]
    factor: Float[Tensor, "d d"]

    def log_density(self, z: Queries) -> Values:
        white = torch.linalg.solve_triangular(self.factor, (z - self.mean).T, upper=False)
        return (
            -0.5 * (white**2).sum(0)
            - self.factor.diagonal().log().sum()
            - 0.5 * z.shape[1] * math.log(2 * math.pi)
        )

    def score(self, z: Queries) -> Gradients:
        return -torch.cholesky_solve((z - self.mean).T, self.factor).T


@dataclass(frozen=True)
class DensityWitness(CurvedWitness):
    """log target, or log target - log current, cut to +- clip."""

    target: Density | LogDensityOrScore
    current: Density | None
    clip: float

    @property
    def log_ratio(self) -> bool:
        return self.current is not None

    def value_and_grad(self, z: Queries) -> tuple[Values, Gradients]:
        value, grad = _evaluate(self.target, z)
        if self.current is not None:
            value, grad = value - self.current.log_density(z), grad - self.current.score(z)
        return value.clamp(-self.clip, self.clip), grad

    def hessian(self, z: Queries) -> Float[Tensor, "Q d d"]:
        if math.isfinite(self.clip):
            raise TypeError(
                f"`clip` must be infinite for a Hessian, got {self.clip:g}: w is cut, and its"
                " gradient is not; leave `clip` out"
            )
        found = _curvature(self.target, z)
        return found if self.current is None else found - _curvature(self.current, z)


@dataclass(frozen=True)
class ClosedForm:
    r"""Take the witness from known densities: log p, or log p - log q.

    .. math::

        w = \log p \qquad \text{or} \qquad w = \log p - \log q

    p is the target; q is the current density, where `current` is given. log p is a potential, for
    Langevin dynamics and for plain ascent. log p - log q is a log ratio, for MonoFlows. `Fit.value`
    is :math:`-\frac1N \sum_i w(x_i)`, which is the plug-in KL(q || p) of a log ratio; None where
    only a score of p is known. For log p the velocity grad w is minus its gradient; for a log ratio
    it is not, since q moves too. There is no target sample; N is any number, at least d + 1 with
    `Moments`.

    Parameters
    ----------
    target : density or callable
        Anything with `log_density(z)` and `score(z)`, such as the samplers whose density is known.
        A callable z (Q, d) -> (Q,) is a log density up to a constant, and is differentiated
        automatically. A callable z (Q, d) -> (Q, d) is a score.
    current : density, `Moments` or None
        The particles' density: known, or the Gaussian of the cloud's own moments. None: w = log p.
    clip : float
        w is cut to +- clip, its gradient is not. That keeps steep mobilities finite. The value is
        cut with it, so that a finite clip leaves no energy.

    Raises
    ------
    TypeError
        `target` or `current` is no density and no callable. At a fit: `target` returns no tensor.
    ValueError
        `clip` is not > 0. At a fit: `Moments` find a singular covariance. At a query: `target`
        returns another shape.

    Cost: that of the densities, O(Q d) or O(Q d^2) for Gaussians; O(N d^2) a fit with `Moments`.

    Source: Jordan, Kinderlehrer and Otto (1998); theory page, equations 19-20.

    From N(4, 1) to N(0, 1), log r = 8 - 4 z:

    >>> normal = pf.samplers.Gaussian
    >>> ratio = pf.estimators.ClosedForm(normal(1), current=normal(1, mean=4.0))
    >>> fit = pf.fit(ratio, [[3.0], [5.0]])
    >>> fit.value  # KL of the two, 4^2 / 2
    8.0
    >>> fit.witness.value_and_grad(torch.tensor([[2.0]]))
    (tensor([0.]), tensor([[-4.]]))
    """

    target: Density | LogDensityOrScore
    current: Density | Moments | None = None
    clip: float = math.inf
    deterministic: ClassVar[bool] = True
    smooth_witness: ClassVar[bool] = True
    needs_target: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.target, type) or not (
            isinstance(self.target, Density) or callable(self.target)
        ):
            raise TypeError(
                "`target` must have log_density and score, or be a callable z -> log density or"
                f" score, got {_checks.kind(self.target)}: e.g. pf.samplers.Gaussian(dim=2), or"
                " lambda z: -z"
            )
        if self.current is not None and not isinstance(self.current, (Density, Moments)):
            raise TypeError(
                "`current` must have log_density and score, or be Moments(), got"
                f" {type(self.current).__name__}: e.g. pf.samplers.Gaussian(dim=2)"
            )
        remedy = "pass a number > 0, or leave it out"
        clip: Any = self.clip
        if (
            not (isinstance(clip, float) or _checks.real(clip, "clip", remedy=remedy) > 0)
            or not clip > 0
        ):
            raise ValueError(f"`clip` must be > 0, got {self.clip}: {remedy}")

    @property
    def log_ratio(self) -> bool:
        return self.current is not None

    @property
    def energy_slope(self) -> float | None:
        return 1.0 if self.current is None and math.isinf(self.clip) else None

    def fit(self, x: Cloud, y: Cloud | None, clock: Clock, memory: Memory) -> Fit:
        current = self.current.of(x) if isinstance(self.current, Moments) else self.current
        witness = DensityWitness(self.target, current, self.clip)
        knows_value = (
            isinstance(self.target, Density) or _answer(self.target, x.points[:1]).ndim == 1
        )
        return Fit(
            witness,
            objective=partial(mean_descent, witness, x) if knows_value else None,
        )


def _answer(target: LogDensityOrScore, z: Tensor) -> Tensor:
    """The tensor that a user's callable returns for z (Q, d). Other types are refused."""
    answer: Any = target(z)
    if not isinstance(answer, Tensor):
        wanted = "`target` must map z (Q, d) to a log density (Q,) or a score (Q, d)"
        raise TypeError(
            f"{wanted}, got {type(answer).__name__}: pass e.g. lambda z: -0.5 * (z**2).sum(1)"
        )
    return answer


def _evaluate(target: Density | LogDensityOrScore, z: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of a density or of a user's callable. The value of a score is NaN."""
    if isinstance(target, Density):
        return target.log_density(z), target.score(z)
    with _autograd.recording():
        leaf = _autograd.leaf(z)
        out = target(leaf)
        if out.shape == z.shape:
            return z.new_full((len(z),), math.nan), out.detach().to(z.dtype)
        if out.shape != z.shape[:1]:
            raise ValueError(
                "`target` must map z (Q, d) to a log density (Q,) or a score (Q, d), got"
                f" {tuple(out.shape)} for z {tuple(z.shape)}"
            )
        (grad,) = torch.autograd.grad(out.sum(), leaf)
    return out.detach().to(z.dtype), grad


def _curvature(target: Density | LogDensityOrScore, z: Queries) -> Float[Tensor, "Q d d"]:
    """The Hessian of log p (Q, d, d), by automatic differentiation of the score."""
    with _autograd.recording():
        leaf = _autograd.leaf(z)
        if isinstance(target, Density):
            score = target.score(leaf)
        else:
            score = target(leaf)
            if score.ndim == 1:
                (score,) = torch.autograd.grad(score.sum(), leaf, create_graph=True)
        if not score.requires_grad:
            if bool((score != score[:1]).any()):
                raise TypeError(
                    "`target` must be made of differentiable operations of torch for a Hessian, got"
                    f" a score without a graph from {_checks.said(target)}: leave torch.no_grad and"
                    " numpy out of it"
                )
            return leaf.new_zeros(*z.shape, z.shape[1], dtype=torch.float64)
        rows = [
            torch.autograd.grad(score[:, k].sum(), leaf, retain_graph=True)[0]
            for k in range(z.shape[1])
        ]
    return torch.stack(rows, dim=1).detach().double()
