"""Problems with closed-form answers, in numpy float64, each with its source.

p is the target's distribution, q that of the particles. `gaussians()`, `clouds()` and `problems()`
draw such problems for hypothesis. Nothing here calls the package: it is tested against this file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.linalg import expm, sqrtm

DATA = Path(__file__).parent / "data"


@cache
def oracles() -> dict[str, Any]:
    """tests/data/oracles.json: digits of identities and closed forms, computed independently of
    this project (see tests/data/README.md).
    """
    return json.loads((DATA / "oracles.json").read_text())


@dataclass(frozen=True)
class Normal:
    """N(mean, cov): mean (d,), cov (d, d)."""

    mean: np.ndarray
    cov: np.ndarray

    @property
    def dim(self) -> int:
        return len(self.mean)

    def log_density(self, z: np.ndarray) -> np.ndarray:
        """log p at z (Q, d)."""
        centred = z - self.mean
        quadratic = (centred * np.linalg.solve(self.cov, centred.T).T).sum(1)
        return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * self.cov)[1])

    def score(self, z: np.ndarray) -> np.ndarray:
        """grad log p at z (Q, d)."""
        return -np.linalg.solve(self.cov, (z - self.mean).T).T


def normal(mean: Any, cov: Any) -> Normal:
    """N(mean, cov); numbers mean d = 1."""
    return Normal(np.atleast_1d(np.asarray(mean, float)), np.atleast_2d(np.asarray(cov, float)))


# The pairs of the MonoFlow notebooks (Yi, Zhu and Liu 2023): target p, particles q.
FAR = (normal(1.0, 1.5**2), normal(-2.0, 0.5**2))
NEAR = (normal(0.0, 1.0), normal(1.0, 1.44))
PLANE = (normal([0, 0], [[1, 0.8], [0.8, 0.89]]), normal([1, 1], np.eye(2)))
PAIRS = {"far": FAR, "near": NEAR, "plane": PLANE}


def random_normal(d: int, seed: int) -> Normal:
    """A Gaussian with eigenvalues of its covariance between about 0.3 and 3."""
    rng = np.random.default_rng([seed, d])
    root = rng.standard_normal((d, d)) / math.sqrt(2 * d)
    return Normal(rng.standard_normal(d), root @ root.T + 0.3 * np.eye(d))


# ---------------------------------------------------------------- divergences between Gaussians


def kl(a: Normal, b: Normal) -> float:
    """KL(a || b) = (tr B^-1 A + delta' B^-1 delta - d + log det B / det A) / 2. Pardo (2006),
    equation 9.1 and after.
    """
    delta = b.mean - a.mean
    logdet = np.linalg.slogdet(b.cov)[1] - np.linalg.slogdet(a.cov)[1]
    return float(
        0.5
        * (
            np.trace(np.linalg.solve(b.cov, a.cov))
            + delta @ np.linalg.solve(b.cov, delta)
            - a.dim
            + logdet
        )
    )


def power_integral(p: Normal, q: Normal, a: float) -> float:
    """int p^a q^(1-a), infinite where a P^-1 + (1-a) Q^-1 is not positive definite. The integral of
    the exponential of a quadratic form.
    """
    p_inverse, q_inverse = np.linalg.inv(p.cov), np.linalg.inv(q.cov)
    precision = a * p_inverse + (1 - a) * q_inverse
    if np.linalg.eigvalsh(precision)[0] <= 0:
        return math.inf
    linear = a * p_inverse @ p.mean + (1 - a) * q_inverse @ q.mean
    constant = a * p.mean @ p_inverse @ p.mean + (1 - a) * q.mean @ q_inverse @ q.mean
    logdets = (
        a * np.linalg.slogdet(p.cov)[1]
        + (1 - a) * np.linalg.slogdet(q.cov)[1]
        + np.linalg.slogdet(precision)[1]
    )
    return math.exp(-0.5 * (logdets + constant - linear @ np.linalg.solve(precision, linear)))


def chi2(p: Normal, q: Normal) -> float:
    """chi^2(p || q) = int p^2 / q - 1."""
    return power_integral(p, q, 2.0) - 1.0


def hellinger2(p: Normal, q: Normal) -> float:
    """H^2 = 1 - int sqrt(p q)."""
    return 1.0 - power_integral(p, q, 0.5)


def w2(p: Normal, q: Normal) -> float:
    """W2, the root: |m - n|^2 + tr(P + Q - 2 (P^1/2 Q P^1/2)^1/2). Dowson and Landau (1982);
    Gelbrich (1990).
    """
    root = sqrtm(p.cov)
    cross = sqrtm(root @ q.cov @ root)
    return math.sqrt(
        float(((p.mean - q.mean) ** 2).sum() + np.trace(p.cov + q.cov - 2 * np.real(cross)))
    )


def grid(p: Normal, q: Normal, nodes: int | None = None) -> tuple[np.ndarray, float]:
    """A uniform grid over twelve deviations around both, and its cell: the trapezoidal rule
    converges faster than any power there.
    """
    nodes = nodes or {1: 20001, 2: 701}[p.dim]
    deviation = np.maximum(np.sqrt(np.diag(p.cov)), np.sqrt(np.diag(q.cov)))
    low, high = (
        np.minimum(p.mean, q.mean) - 12 * deviation,
        np.maximum(p.mean, q.mean) + 12 * deviation,
    )
    axes = [np.linspace(a, b, nodes) for a, b in zip(low, high)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, p.dim), math.prod(
        axis[1] - axis[0] for axis in axes
    )


def overlap(p: Normal, q: Normal) -> float:
    """int pq / (p + q), 1/2 where p = q, by the trapezoidal rule."""
    z, cell = grid(p, q)
    a, b = p.log_density(z), q.log_density(z)
    return float(cell * np.exp(a + b - np.logaddexp(a, b)).sum())


def skewed_js(p: Normal, q: Normal, share: float = 0.5) -> float:
    """share KL(p || m) + (1 - share) KL(q || m), m = share p + (1 - share) q, by quadrature; share
    = 1/2 is the Jensen-Shannon divergence.
    """
    z, cell = grid(p, q)
    log_p, log_q = p.log_density(z), q.log_density(z)
    log_m = np.logaddexp(math.log(share) + log_p, math.log(1 - share) + log_q)
    return float(
        cell
        * (
            share * np.exp(log_p) * (log_p - log_m) + (1 - share) * np.exp(log_q) * (log_q - log_m)
        ).sum()
    )


# ---------------------------------------------------------------- flows


def reverse_kl_flow(p: Normal, start: Normal, t: float) -> Normal:
    """The Wasserstein gradient flow of KL(. || p) from a Gaussian: m = mu + E (m0 - mu), S = P + E
    (S0 - P) E', E = exp(-t P^-1).

    The moments of the Ornstein-Uhlenbeck process dX = -P^-1 (X - mu) dt + sqrt(2) dW, which has the
    same marginals (Risken 1989, section 6.5).
    """
    decay = expm(-t * np.linalg.inv(p.cov))
    return Normal(
        p.mean + decay @ (start.mean - p.mean), p.cov + decay @ (start.cov - p.cov) @ decay.T
    )


def ula_variance(tau: float) -> float:
    """Stationary variance of x <- x - tau x + sqrt(2 tau) u: s = (1 - tau)^2 s + 2 tau gives 1 / (1
    - tau / 2).
    """
    return 1.0 / (1.0 - tau / 2.0)


def energy_quantiles(s: np.ndarray, t: float) -> np.ndarray:
    """Flow of MMD^2 / 2 for k = -|a - b| from delta_{-1} to delta_0: Q(s, t) = min(-1 + 2 s t, 0).
    Hertrich et al. (2024), one dimension.
    """
    return np.minimum(-1 + 2 * np.asarray(s) * t, 0.0)


def energy_w2_squared(t: float) -> float:
    """W2^2 to delta_0 along `energy_quantiles`: int Q(s, t)^2 ds."""
    return 1 - 2 * t + 4 * t**2 / 3 if t <= 0.5 else 1 / (6 * t)


# ---------------------------------------------------------------- Gaussian kernels of Gaussians


def embedding(p: Normal, bandwidth: float, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E_p k(z, .), shape (Q,), and its gradient (Q, d): l^d |S|^-1/2 exp(-(z - m)' S^-1 (z - m) /
    2), S = P + l^2 I. Song et al. (2008).
    """
    total = Normal(p.mean, p.cov + bandwidth**2 * np.eye(p.dim))
    value = np.exp(
        total.log_density(z) + 0.5 * p.dim * math.log(2 * math.pi) + p.dim * math.log(bandwidth)
    )
    return value, value[:, None] * total.score(z)


def mean_kernel(p: Normal, q: Normal, bandwidth: float) -> float:
    """E k(X, Y), X ~ p, Y ~ q independent."""
    return float(embedding(Normal(p.mean, p.cov + q.cov), bandwidth, q.mean[None])[0][0])


def mmd2(p: Normal, q: Normal, bandwidth: float) -> float:
    """MMD^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)."""
    return (
        mean_kernel(p, p, bandwidth)
        + mean_kernel(q, q, bandwidth)
        - 2 * mean_kernel(p, q, bandwidth)
    )


def smoothed_kernel(
    z: np.ndarray, y: np.ndarray, bandwidth: float, beta: float
) -> tuple[float, np.ndarray]:
    """E k(z + beta u, y), u ~ N(0, I), and its gradient in z: what noise injection does (Arbel et
    al. 2019, section 4).
    """
    value, gradient = embedding(
        Normal(np.asarray(y, float), beta**2 * np.eye(len(y))),
        bandwidth,
        np.asarray(z, float)[None],
    )
    return float(value[0]), gradient[0]


def gauss_hermite(p: Normal, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (nodes^d, d) and weights of sum one: sum_i w_i g(z_i) = E_p g, exact for polynomials
    of degree < 2 nodes in each coordinate.
    """
    abscissae, weights = np.polynomial.hermite_e.hermegauss(nodes)
    white = np.stack(np.meshgrid(*[abscissae] * p.dim, indexing="ij"), -1).reshape(-1, p.dim)
    shares = math.prod(np.meshgrid(*[weights / weights.sum()] * p.dim, indexing="ij")).ravel()
    return p.mean + white @ np.linalg.cholesky(p.cov).T, shares


# ---------------------------------------------------------------- random problems, for hypothesis


@dataclass(frozen=True)
class Problem:
    """Particles x (N, d) and targets y (M, d), N != M, masses of sum one, and one bandwidth."""

    x: np.ndarray
    y: np.ndarray
    x_mass: np.ndarray
    y_mass: np.ndarray
    bandwidth: float
    seed: int

    @property
    def dim(self) -> int:
        return self.x.shape[1]

    def rotation(self) -> np.ndarray:
        """An orthogonal matrix (d, d), drawn from the problem's seed."""
        rng = np.random.default_rng([self.seed, 1])
        return np.linalg.qr(rng.standard_normal((self.dim, self.dim)))[0]

    def shift(self) -> np.ndarray:
        """A translation (d,) of a few deviations, drawn from the problem's seed."""
        return 3 * np.random.default_rng([self.seed, 2]).standard_normal(self.dim)

    def order(self, n: int) -> np.ndarray:
        """A permutation of n rows, drawn from the problem's seed."""
        return np.random.default_rng([self.seed, 3]).permutation(n)


SEEDS = st.integers(0, 2**16)


@st.composite
def gaussians(draw: st.DrawFn, d: int | None = None) -> Normal:
    """A `random_normal`, in one to four dimensions unless d is given."""
    return random_normal(draw(st.integers(1, 4)) if d is None else d, draw(SEEDS))


@st.composite
def clouds(draw: st.DrawFn, n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct points (n, d) near a random place, with masses (n,) that are equal or unequal."""
    rng = np.random.default_rng([draw(SEEDS), n, d])
    points = draw(st.floats(0.3, 2)) * rng.standard_normal((n, d)) + rng.standard_normal(d)
    mass = rng.dirichlet(np.full(n, 5.0)) if draw(st.booleans()) else np.full(n, 1 / n)
    return points, mass


@st.composite
def problems(draw: st.DrawFn, most: int = 12) -> Problem:
    """Two clouds of 2 to `most` points in one to four dimensions, of different sizes."""
    d, n, m = (draw(st.integers(low, high)) for low, high in ((1, 4), (2, most), (2, most - 1)))
    m += m >= n
    (x, x_mass), (y, y_mass) = draw(clouds(n, d)), draw(clouds(m, d))
    return Problem(x, y, x_mass, y_mass, draw(st.floats(0.4, 2.5)), draw(SEEDS))
