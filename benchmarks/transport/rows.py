"""What the batch W1 rewards: repeated means, k-means points and the flows of critics, each beside
real samples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import particleflow as pf
from particleflow._typing import Memory
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.estimators import (
    CTransformCritic,
    Estimator,
    GradientPenaltyCritic,
    WeightClippingCritic,
)
from particleflow.samplers.base import Sampler

W1 = pf.metrics.W1()
ENERGY = pf.metrics.EnergyDistance()
CRITICS = ("c-transform", "Sinkhorn", "WGAN-GP", "WGAN, clipped")
REAL = "real digits"


def batch_w1(points: Tensor, law: Sampler, *, repeats: int, seed: int) -> float:
    """E W1(points, a fresh batch of as many)."""
    draws = (law.sample(len(points), seed=seed + r) for r in range(repeats))
    return sum(W1(points, batch) for batch in draws) / repeats


def real_w1(law: Sampler, n: int, *, repeats: int, seed: int) -> float:
    """E W1(X, Y) of two independent batches of n."""
    return (
        sum(
            W1(law.sample(n, seed=seed + 2 * r), law.sample(n, seed=seed + 2 * r + 1))
            for r in range(repeats)
        )
        / repeats
    )


def mean_norm(dim: int) -> float:
    """E |X| for X ~ N(0, I): what n copies of the true mean are from a batch, by W1."""
    return math.sqrt(2) * math.exp(math.lgamma((dim + 1) / 2) - math.lgamma(dim / 2))


def medians(law: Sampler, n: int, *, sample: int, rounds: int, seed: int) -> Tensor:
    """n points that locally minimise E min_j |X - c_j| on a sample: Lloyd's rounds, to the means of
    cells at first, then to their geometric medians.

    A step of Weiszfeld in each round does for the median; from a point of the sample itself it
    would not move, hence the means.
    """
    x = law.sample(sample, seed=seed)
    c = x[:n].clone()
    for t in range(rounds):
        reach = torch.cdist(x, c)
        nearest = reach.argmin(1)
        weight = (
            torch.ones(sample, dtype=x.dtype)
            if t < rounds // 2
            else 1 / reach.amin(1).clamp_min(1e-9)
        )
        total = torch.zeros(n, dtype=x.dtype).index_add_(0, nearest, weight)
        moved = torch.zeros_like(c).index_add_(0, nearest, weight[:, None] * x)
        c = torch.where(total[:, None] > 0, moved / total[:, None], c)
    return c


def descend(
    critic: Estimator, c: Tensor, law: Sampler, *, steps: int, step: float, seed: int
) -> tuple[Tensor, float]:
    """c += step / sqrt(1 + t / 20) grad w, w the critic of c and a fresh batch of as many; at the
    end also the critic's estimate / W1 of the batches.

    That ratio is a mean over the last twentieth of the steps.
    """
    target = pf.samplers.Minibatch(law, len(c))
    memory: Memory = {}
    ratios = []
    for t in range(steps):
        clock = Clock(float(t), t, Draws(seed))
        batch = target.at(clock)
        fit = critic.fit(Cloud(c), batch, clock, memory)
        memory = fit.memory
        if t >= steps - max(1, steps // 20):
            assert fit.value is not None
            ratios.append(fit.value / W1(c, batch))
        c = c + step / math.sqrt(1 + t / 20) * fit.witness.value_and_grad(c)[1]
    return c, sum(ratios) / len(ratios)


def minima(dim: int, *, n: int, repeats: int, sample: int, seed: int) -> dict[str, float]:
    """E W1 to a batch of n from N(0, I), of n copies of its mean and of n k-medians, over that of a
    real batch.
    """
    law = pf.samplers.Gaussian(dim=dim)
    real = real_w1(law, n, repeats=repeats, seed=seed)
    centres = medians(law, n, sample=sample, rounds=40, seed=seed)
    return {
        "real": real,
        "means": mean_norm(dim) / real,
        "medians": batch_w1(centres, law, repeats=repeats, seed=seed + 2 * repeats) / real,
        "variance": float(centres.var(0, unbiased=False).mean()),
    }


def collapse(n: int, *, steps: int, repeats: int, seed: int) -> dict[str, float]:
    """Where the perfect critic of fresh batches leads n particles in the plane, whose target is the
    law that they start from.

    `repeats` batches tell the means, that no other seed sees. One batch's W1 deviates by .11 at n =
    16, .05 at 64; of two batches by .15 and .06.
    """
    law = pf.samplers.Gaussian(dim=2)
    c, _ = descend(
        CTransformCritic(), law.sample(n, seed=seed + 1), law, steps=steps, step=0.3, seed=seed
    )
    return {
        "end": batch_w1(c, law, repeats=repeats, seed=10**6 * (2 * seed + 1)),
        "real": real_w1(law, n, repeats=repeats, seed=10**6 * (2 * seed + 2)),
        "variance": float(c.var(0, unbiased=False).mean()),
    }


def digits(seed: int, n: int) -> tuple[Sampler, Tensor, float]:
    """All digits as a law, n particles about their mean, and E W1 of two batches, the unit of the
    steps.
    """
    law = pf.samplers.FromArray(pf.samplers.Digits().points)
    spot = pf.samplers.Gaussian(mean=law.points.mean(0), std=0.05)
    return law, spot.sample(n, seed=seed), real_w1(law, n, repeats=20, seed=seed)


def critics(unit: float) -> dict[str, Estimator]:
    """What the flows on digits climb."""
    soft = CTransformCritic(exact_up_to=0, regularisation=0.1 * unit, tolerance=1e-3)
    return dict(
        zip(
            CRITICS,
            (
                CTransformCritic(),
                soft,
                GradientPenaltyCritic(batch=64),
                WeightClippingCritic(batch=64),
            ),
            strict=True,
        )
    )


def samples(name: str, *, n: int, steps: int, seed: int) -> dict[str, float]:
    """The end of the flow of one critic on fresh batches of digits; "real digits": a batch of them
    instead.
    """
    law, start, unit = digits(seed, n)
    held_out = law.sample(10 * n, seed=seed + 999)
    if name == REAL:
        c, ratio = law.sample(n, seed=seed + 998), math.nan
    else:
        c, ratio = descend(critics(unit)[name], start, law, steps=steps, step=0.1 * unit, seed=seed)
    return {
        "estimate": ratio,
        "batch": batch_w1(c, law, repeats=20, seed=seed + 500) / unit,
        "variance": float(c.var(0, unbiased=False).sum() / held_out.var(0, unbiased=False).sum()),
        "energy": ENERGY(c, held_out),
    }
