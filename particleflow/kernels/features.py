"""Explicit features whose inner products approximate a kernel: k(z, y) ~ features(z) . features(y).

The features are random waves or landmarks (Nystroem).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from particleflow import _checks
from particleflow._typing import Gradients, Points, Queries
from particleflow.clouds import Cloud, Randomness
from particleflow.kernels.contract import Kernel
from particleflow.kernels.declared import bandwidth_of, facts_of, names_of, positive_kind, stated
from particleflow.subsets import part, some_rows

# Share of k(0) that is added to the diagonal of k(C, C), so that landmarks may coincide.
JITTER = 1e-8


@dataclass(frozen=True, eq=False)
class Waves:
    """Waves with features(z) = (cos(omega_f . z), sin(omega_f . z)) / sqrt(F), f = 1..F.

    Cost O(Q F d).
    """

    omega: Float[Tensor, "F d"]

    def features(self, z: Queries) -> Float[Tensor, "Q D"]:
        angle = z @ self.omega.T
        return torch.cat([angle.cos(), angle.sin()], 1) / math.sqrt(len(self.omega))

    def gradient(self, z: Queries, c: Float[Tensor, "D"]) -> Gradients:
        angle, half = z @ self.omega.T, len(self.omega)
        return (angle.cos() * c[half:] - angle.sin() * c[:half]) @ self.omega / math.sqrt(half)

    def hessian(self, z: Queries, c: Float[Tensor, "D"]) -> Float[Tensor, "Q d d"]:
        angle, half = z @ self.omega.T, len(self.omega)
        bend = (angle.cos() * c[:half] + angle.sin() * c[half:]) / -math.sqrt(half)
        return torch.einsum("qf,fi,fj->qij", bend, self.omega, self.omega)


@dataclass(frozen=True, eq=False)
class Projected:
    """A kernel projected on landmarks C (D, d).

    features(z) = L^{-1} k(C, z), with L L^T = k(C, C) + 1e-8 k(0) I. Cost O(Q D (D + d)).
    """

    kernel: Kernel
    landmarks: Float[Tensor, "D d"]
    factor: Float[Tensor, "D D"]

    def features(self, z: Queries) -> Float[Tensor, "Q D"]:
        matrix = self.kernel.profile(_squares(z, self.landmarks))
        return torch.linalg.solve_triangular(self.factor, matrix.T, upper=False).T

    def gradient(self, z: Queries, c: Float[Tensor, "D"]) -> Gradients:
        weights = torch.linalg.solve_triangular(self.factor.T, c[:, None], upper=True)[:, 0]
        pull = 2 * self.kernel.slope(_squares(z, self.landmarks)) * weights
        return z * pull.sum(1, keepdim=True) - pull @ self.landmarks

    def hessian(self, z: Queries, c: Float[Tensor, "D"]) -> Float[Tensor, "Q d d"]:
        weights = torch.linalg.solve_triangular(self.factor.T, c[:, None], upper=True)[:, 0]
        s, delta = _squares(z, self.landmarks), z[:, None] - self.landmarks
        outer = (4 * weights * self.kernel.curvature(s))[:, :, None] * delta
        found = outer.transpose(1, 2) @ delta
        unit = 2 * self.kernel.slope(s) @ weights
        found.diagonal(dim1=1, dim2=2).add_(unit[:, None])
        return found


@dataclass(frozen=True)
class RandomWaves:
    r"""Random Fourier features, which approximate a kernel by waves.

    .. math::

        k(z, y) \approx \frac{1}{F} \sum_{f=1}^{F} \cos\left( \omega_f \cdot (z - y) \right)
        = \varphi(z) \cdot \varphi(y) ,
        \qquad
        \omega_f \sim \hat k ,

    .. math::

        \varphi(z) = \frac{1}{\sqrt{F}} \left( \cos(\omega_f \cdot z),\,
        \sin(\omega_f \cdot z) \right)_{f = 1 \ldots F} .

    The frequencies are drawn from the kernel's spectrum. `Gaussian`:
    :math:`\omega \sim \mathcal{N}(0, I) / \ell`. `Laplace`, `Matern32`, `Matern52`: the same
    divided by :math:`\sqrt{\chi^2_n / n}` with n = 1, 3, 5 (Student's t distribution). The root
    mean square error of k is at most :math:`1 / \sqrt{2 F}`. Use `Landmarks` for the other kernels,
    and where the points fill little of the space.

    Parameters
    ----------
    count : int
        The number F of waves, >= 1; there are 2 F features. 200 give a root mean square error of
        0.05 at most.

    Raises
    ------
    TypeError
        `count` is no integer. Later: the kernel has no such spectrum.
    ValueError
        `count` is below 1.

    Cost: O(Q F d) for Q points.

    Source: Rahimi and Recht (2007).

    >>> x, y = torch.zeros(1, 1), torch.ones(2, 1)
    >>> rule, gaussian = pf.kernels.RandomWaves(4000), pf.kernels.Gaussian(1.0)
    >>> waves = rule.map(gaussian, x, y, pf.Draws(0))
    >>> k = waves.features(x) @ waves.features(y).T
    >>> bool((k - 0.6065).abs().max() < 0.03)  # e^-1/2
    True
    """

    count: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", _checks.count(self.count, "count"))

    def map(self, kernel: Kernel, x: Points, y: Float[Tensor, "M d"], draws: Randomness) -> Waves:
        """The waves (`FeatureMap`) for a kernel and clouds x (N, d), y (M, d), by `draws`."""
        facts = facts_of(kernel)
        if facts is None or facts.freedom is None:
            raise TypeError(
                f"`kernel` must be {names_of(_has_frequencies)} for RandomWaves, got"
                f" {kernel}: use Landmarks()"
            )
        omega = draws.normal("waves", 0, x.new_empty(self.count, x.shape[1])) / (
            bandwidth_of(kernel) or 1.0
        )
        if math.isfinite(facts.freedom):
            chi = (
                draws.normal("waves' lengths", 0, x.new_empty(self.count, int(facts.freedom)))
                .square()
                .mean(1, keepdim=True)
            )
            omega = omega / chi.sqrt()
        return Waves(omega)


@dataclass(frozen=True)
class Landmarks:
    r"""Nystroem features: the kernel projected on landmarks drawn from both clouds.

    .. math::

        \varphi(z) = L^{-1} k(C, z) ,
        \qquad
        L L^T = k(C, C) + 10^{-8} k(0)\, I ,

    so that :math:`\varphi(z) \cdot \varphi(y) = k(z, C)\, k(C, C)^{-1} k(C, y)` nearly, which is
    exact where z or y is a landmark. C holds half of the landmarks from each cloud, drawn with a
    fixed seed. The landmarks of x are drawn by row number, so that a landmark is the same particle
    from one step to the next. (`KernelLogistic` hands the rows over in a fixed order, that of its
    first points.) Those of y do not depend on the order of its rows.

    Parameters
    ----------
    count : int
        The number D of landmarks, which is that of the features, >= 2.

    Raises
    ------
    TypeError
        `count` is no integer.
    ValueError
        `count` is below 2. Later: the kernel is not positive definite, as `Energy`.

    Cost: O(D^3) for the landmarks, O(Q D (D + d)) for Q points.

    Source: Williams and Seeger (2001).

    >>> x, y = torch.zeros(1, 1), torch.tensor([[1.0], [2.0]])
    >>> gaussian = pf.kernels.Gaussian(1.0)
    >>> landmarks = pf.kernels.Landmarks(4).map(gaussian, x, y, pf.Draws(0))
    >>> landmarks.features(x) @ landmarks.features(y).T  # e^-1/2, e^-2
    tensor([[0.6065, 0.1353]])
    """

    count: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", _checks.count(self.count, "count", least=2))

    def map(
        self, kernel: Kernel, x: Points, y: Float[Tensor, "M d"], draws: Randomness
    ) -> Projected:
        """The projection (`FeatureMap`) of a kernel on landmarks of x (N, d) and y (M, d)."""
        landmarks = torch.cat(
            [
                x[some_rows(len(x), self.count - self.count // 2)],
                part(Cloud(y), self.count // 2).points,
            ]
        )
        matrix = kernel.profile(_squares(landmarks, landmarks))
        matrix.diagonal().add_(JITTER * float(matrix[0, 0]))
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed.any()):
            raise ValueError(
                f"`kernel` must be positive definite for Landmarks, got {kernel}: use"
                f" {names_of(positive_kind)}"
            )
        return Projected(kernel, landmarks, factor)


def _has_frequencies(kind: type) -> bool:
    facts = stated(kind)
    return facts is not None and facts.freedom is not None


def _squares(z: Tensor, c: Tensor) -> Tensor:
    return torch.cdist(z, c, compute_mode="donot_use_mm_for_euclid_dist").square()
