"""Statements about DrMMD and the Moreau envelopes of other divergences."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

import particleflow as pf
from particleflow.clouds import Cloud
from particleflow.divergences import (
    KL,
    ChiSquare,
    Divergence,
    Jeffreys,
    JensenShannon,
    ReverseKL,
    TotalVariation,
    Tsallis,
)

from .kale import KERNEL, LAPLACE, PAGE, clouds, kale, shared_atoms, worth
from .laws import gap, gram, normals
from .statement import Statement

# The smooth entropies, and f''(1).
SMOOTH: dict[str, tuple[Divergence, float]] = {
    "kl": (KL(), 1.0),
    "reverse-kl": (ReverseKL(), 1.0),
    "jeffreys": (Jeffreys(), 2.0),
    "tsallis": (Tsallis(1.5), 1.5),
    "chi2": (ChiSquare(), 2.0),
    "js": (JensenShannon(), 0.25),
}


def envelope(
    divergence: Divergence,
    lam: float,
    x: Cloud | torch.Tensor,
    y: Cloud | torch.Tensor,
    kernel: pf.kernels.Kernel = KERNEL,
) -> float:
    return worth(pf.fit(pf.estimators.Moreau(kernel, divergence=divergence, lam=lam), x, y))


def large_lam(name: str, seed: int) -> float:
    """(lam D - MMD^2/2) lam over its stated limit -E_p phi^2 / (2 f''(1)), at lam f''(1) = 1e3."""
    (x, y), (divergence, curvature) = clouds(seed), SMOOTH[name]
    half, lam = worth(pf.fit(pf.estimators.MMD(KERNEL), x, y)), 1e3 / curvature
    phi = gram(KERNEL, y, x).mean(1) - gram(KERNEL, y, y).mean(1)
    coefficient = -float(phi.square().mean()) / (2 * curvature)
    return (lam * envelope(divergence, lam, x, y) - half) * lam / coefficient


def small_lam(name: str, seed: int) -> float:
    """(D_lam - D_f) / lam over its stated limit -|f'(q/p)|^2 / 2, on shared atoms."""
    (x, y), divergence, lam = shared_atoms(seed), SMOOTH[name][0], 1e-6
    ratio = x.mass / y.mass
    slope = divergence.slope(ratio)
    norm = float(slope @ torch.linalg.solve(gram(LAPLACE, x.points, x.points), slope))
    limit = float(y.mass @ divergence.f(ratio))
    return (envelope(divergence, lam, x, y, LAPLACE) - limit) / lam / (-0.5 * norm)


def below_mmd(seed: int) -> float:
    """The largest envelope of all smooth entropies over its bound MMD^2 / (2 lam)."""
    (x, y), lam = clouds(seed), 0.1
    bound = worth(pf.fit(pf.estimators.MMD(KERNEL), x, y)) / lam
    return max(envelope(divergence, lam, x, y) for divergence, _ in SMOOTH.values()) / bound


def below_divergence(seed: int) -> float:
    """The largest envelope over its divergence, on shared atoms."""
    x, y = shared_atoms(seed)
    return max(
        envelope(divergence, 1e-3, x, y, LAPLACE) / float(y.mass @ divergence.f(x.mass / y.mass))
        for divergence, _ in SMOOTH.values()
    )


def bounded(divergence: Divergence, seed: int) -> float:
    """The envelope of two far samples at lam = 1e-5."""
    x, y = normals(12, 1, seed, "x", mean=30.0), normals(15, 1, seed, "y")
    return envelope(divergence, 1e-5, x, y, LAPLACE)


def total_variation(seed: int) -> float:
    """Error of the envelope of total variation beside MMD^2 / (2 lam), clouds close together."""
    x, y = clouds(seed)
    half = worth(pf.fit(pf.estimators.MMD(KERNEL), x, y))
    return abs(envelope(TotalVariation(), 3.0, x, y) * 3.0 / half - 1)


def kale_is_an_envelope(seed: int) -> float:
    (x, y), lam = clouds(seed), 0.05
    return abs(worth(kale(lam, x, y, KERNEL)) / ((1 + lam) * envelope(KL(), lam, x, y)) - 1)


def drmmd(
    lam: float, x: Cloud | torch.Tensor, y: Cloud | torch.Tensor, kernel: pf.kernels.Kernel
) -> pf.Fit:
    return pf.fit(pf.estimators.DrMMD(kernel, lam=lam), x, y)


def drmmd_is_an_envelope(seed: int) -> float:
    """Error of DrMMD_L = (1 + L) times the envelope of chi^2 without g >= 0, at lam = L / 2."""
    (x, y), lam = clouds(seed), 0.05
    free = envelope(ChiSquare(nonnegative=False), lam / 2, x, y)
    return abs(worth(drmmd(lam, x, y, KERNEL)) / ((1 + lam) * free) - 1)


def drmmd_linear(seed: int) -> float:
    """Error of DrMMD's velocity beside one dense linear system, (2 I + K/(lam M)) g = ..."""
    (x, y), big = clouds(seed), 0.05
    m, lam = len(y), big / 2
    matrix, mean = gram(KERNEL, y, y), gram(KERNEL, y, x).mean(1)
    system = 2 * torch.eye(m, dtype=x.dtype) + matrix / (lam * m)
    g = torch.linalg.solve(system, 2 + mean / lam)
    field = pf.pairwise.Dense().sources(KERNEL, y).field(g / m)
    own = (
        pf.pairwise.Dense()
        .sources(KERNEL, x)
        .field(torch.full((len(x),), 1 / len(x), dtype=x.dtype))
    )
    expected = (field.grad(x) - own.grad(x)) / lam
    return gap(drmmd(big, x, y, KERNEL).witness.value_and_grad(x)[1], expected)


def drmmd_small(seed: int) -> float:
    """DrMMD over chi^2 on shared atoms at lam = 1e-7."""
    x, y = shared_atoms(seed)
    chi2 = float(y.mass @ (x.mass / y.mass - 1).square())
    return worth(drmmd(1e-7, x, y, LAPLACE)) / chi2


def drmmd_large(seed: int) -> float:
    """DrMMD over MMD^2 at lam = 1e6."""
    x, y = clouds(seed)
    return worth(drmmd(1e6, x, y, KERNEL)) / pf.metrics.MMD2(KERNEL)(x, y)


def constrained(seed: int) -> float:
    """The envelope of chi^2 with g >= 0 over the one without, two separate clouds."""
    x, y = normals(40, 1, seed, "x", mean=1.5), normals(30, 1, seed, "y")
    free = envelope(ChiSquare(nonnegative=False), 1e-3, x, y)
    return envelope(Tsallis(2), 1e-3, x, y) / free


STATEMENTS = (
    *(
        Statement(
            name=f"envelope-large-{name}",
            words=f"For large lam the envelope of {name} is MMD^2 / (2 lam), less E_p phi^2 /"
            " (2 f''(1) lam^2).",
            source=PAGE + ", equation moreau-large",
            number="coefficient of second order / the stated one",
            low=0.99,
            high=1.01,
            measure=partial(large_lam, name),
            seconds=0.05,
        )
        for name in SMOOTH
    ),
    *(
        Statement(
            name=f"envelope-small-{name}",
            words=f"For small lam, on shared atoms, the envelope of {name} is D_f - lam |f'(q/p)|^2"
            " / 2.",
            source=PAGE + ", equation moreau-small",
            number="coefficient of lam / the stated one, lam = 1e-6",
            low=0.99,
            high=1.01,
            measure=partial(small_lam, name),
            seconds=0.05,
        )
        for name in SMOOTH
    ),
    Statement(
        name="envelope-below-mmd",
        words="No envelope exceeds MMD^2 / (2 lam).",
        source=PAGE + ", a divergence, smoothed",
        number="largest envelope of six / its bound",
        high=1.0,
        measure=below_mmd,
        seconds=0.2,
    ),
    Statement(
        name="envelope-below-divergence",
        words="On shared atoms no envelope exceeds its divergence.",
        source=PAGE + ", a divergence, smoothed",
        number="largest envelope / D_f, of six",
        high=1.0,
        measure=below_divergence,
        seconds=0.2,
    ),
    *(
        Statement(
            name=f"envelope-bounded-{name}",
            words=f"The envelope of {what} stays below {limit} for far samples, however small lam"
            " is.",
            source=PAGE + ", a finite recession constant",
            number="envelope at lam = 1e-5",
            high=bound,
            measure=partial(bounded, divergence),
            seconds=0.1,
        )
        for name, what, limit, bound, divergence in (
            ("js", "Jensen-Shannon", "log 2", float(np.log(2)), JensenShannon()),
            ("tv", "total variation", "1", 1.0, TotalVariation()),
        )
    ),
    Statement(
        name="envelope-tv-is-mmd",
        words="Where the clouds are close, the envelope of total variation is MMD^2 / (2 lam).",
        source=PAGE + ", the entropies",
        number="relative error",
        low=0.0,
        high=1e-11,
        measure=total_variation,
        seconds=0.02,
    ),
    Statement(
        name="kale-is-an-envelope",
        words="KALE is 1 + lam times the envelope of KL.",
        source=PAGE + ", equation moreau-kale",
        number="relative error",
        low=0.0,
        high=1e-10,
        measure=kale_is_an_envelope,
        seconds=0.02,
    ),
    Statement(
        name="drmmd-is-an-envelope",
        words="DrMMD at L is 1 + L times the envelope of chi^2 without g >= 0 at lam = L / 2.",
        source=PAGE + ", equation moreau-drmmd",
        number="relative error",
        low=0.0,
        high=1e-10,
        measure=drmmd_is_an_envelope,
        seconds=0.02,
    ),
    Statement(
        name="drmmd-linear",
        words="DrMMD is one linear system, (2 I + K / (lam M)) g = 2 + mu_x(y) / lam.",
        source=PAGE + ", equation moreau-linear",
        number="largest relative error of grad w",
        low=0.0,
        high=1e-9,
        measure=drmmd_linear,
        seconds=0.02,
    ),
    Statement(
        name="drmmd-small-lam",
        words="On shared atoms DrMMD tends to chi^2(q || p) as lam falls.",
        source="Chen et al. 2025; KALE page, DrMMD",
        number="DrMMD / chi^2, lam = 1e-7",
        low=0.99,
        high=1.0,
        measure=drmmd_small,
        seconds=0.02,
    ),
    Statement(
        name="drmmd-large-lam",
        words="DrMMD tends to MMD^2 as lam grows.",
        source="Chen et al. 2025; KALE page, DrMMD",
        number="DrMMD / MMD^2, lam = 1e6",
        low=1 - 1e-5,
        high=1 + 1e-5,
        measure=drmmd_large,
        seconds=0.02,
    ),
    Statement(
        name="chi2-constraint",
        words="The constraint g >= 0 raises the envelope of chi^2: it is a non-negative least"
        " squares problem.",
        source=PAGE + ", DrMMD: the linear case",
        number="envelope with g >= 0 / without",
        low=1.0,
        measure=constrained,
        seconds=0.05,
    ),
)
