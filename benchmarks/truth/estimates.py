"""Statements about estimates of W1: critics' energies along a run, and what samples allow."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch

import particleflow as pf
from particleflow.estimators import (
    Estimator,
    GradientPenaltyCritic,
    TrainedCTransformCritic,
    WeightClippingCritic,
)

from .laws import normals
from .statement import Statement

# The critics, the published correlation of their energy with W1, and a dt of 20 steps in which the
# cloud approaches and does not arrive.
CRITICS: dict[str, tuple[Estimator, float, float]] = {
    "penalty": (GradientPenaltyCritic(steps=5, first_steps=500), 0.9999, 0.1),
    "clipped": (WeightClippingCritic(steps=5, first_steps=500), 0.978, 0.04),
}
# Half of the last digit of the published correlation.
HALF_DIGIT = {"penalty": 5e-5, "clipped": 5e-4}
# Steps of a run, and those between two values.
STEPS, EVERY = 20, 2
# The shift of the two Gaussians of the oracle; it is their W1.
SHIFT = 1.0
# The trained critics whose estimates of W1 are compared, at the same number of steps of Adam.
TRAINED: dict[str, Estimator] = {
    "c-transform": TrainedCTransformCritic(first_steps=500),
    "penalty": GradientPenaltyCritic(first_steps=500),
    "clipped": WeightClippingCritic(first_steps=500),
}
# Dimensions and sizes of the oracle's samples, and how many pairs of samples a size has.
DIM, SIZES, PAIRS = 4, (32, 64, 128, 256, 512), 400


@cache
def approach(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The critic's energy and the exact W1 over a run in the plane that has not yet arrived."""
    x, y = normals(100, 2, seed, "start", mean=2.0), normals(130, 2, seed, "target")
    critic, _, dt = CRITICS[name]
    path = pf.simulate(
        pf.wgan_flow(critic),
        x,
        y,
        steps=STEPS,
        dt=dt,
        save=pf.SaveAt(every=EVERY),
        metrics={"W1": pf.metrics.W1()},
        seed=seed,
    )
    return path.energy.numpy(), path.metrics["W1"].numpy()


def correlation(name: str, seed: int) -> float:
    """The correlation of the critic's energy and the exact W1."""
    return float(np.corrcoef(*approach(name, seed))[0, 1])


def constant(seed: int) -> float:
    """K of the clipped critic, energy = K W1, at the end over that at the start."""
    energy, w1 = approach("clipped", seed)
    return float(energy[-1] / w1[-1] / (energy[0] / w1[0]))


def oracle_rate(seed: int) -> float:
    """a of error = c n^-a, where the potential is known: E_p w - E_q w over samples of n.

    p = N(0, I) and q = N(SHIFT e_1, I): w = -z_1, and W1 = SHIFT.
    """
    rng, errors = np.random.default_rng(seed), []
    for n in SIZES:
        x, y = (rng.standard_normal((PAIRS, n, DIM))[..., 0] for _ in range(2))
        found = (SHIFT + x).mean(1) - y.mean(1)
        errors.append(float(np.sqrt(np.mean((found - SHIFT) ** 2))))
    return -float(np.polyfit(np.log(SIZES), np.log(errors), 1)[0])


def batch_over_oracle(seed: int) -> float:
    """The error of W1 between two samples of 512 points over that of the oracle, ten pairs each."""
    w1, n, errors = pf.metrics.W1(), SIZES[-1], []
    for pair in range(10):
        x, y = (normals(n, DIM, 10 * seed + pair, part) for part in "xy")
        x[:, 0] += SHIFT
        oracle = float(x[:, 0].mean() - y[:, 0].mean())
        errors.append((w1(x, y) - SHIFT, oracle - SHIFT))
    batch, known = torch.tensor(errors).square().mean(0).sqrt()
    return float(batch / known)


@cache
def shares(seed: int) -> dict[str, float]:
    """Each trained critic's estimate over the exact W1, 100 and 130 points in the plane."""
    x, y = normals(100, 2, seed, "x", mean=1.0), normals(130, 2, seed, "y")
    values = {name: pf.fit(critic, x, y, seed=seed).value for name, critic in TRAINED.items()}
    w1 = pf.metrics.W1()(x, y)
    return {name: value / w1 for name, value in values.items() if value is not None}


def c_transform_share(seed: int) -> float:
    return shares(seed)["c-transform"]


def c_transform_error(seed: int) -> float:
    """The error of the c-transform critic over the smallest of the others."""
    errors = {name: abs(share - 1) for name, share in shares(seed).items()}
    return errors.pop("c-transform") / min(errors.values())


STATEMENTS = (
    *(
        Statement(
            name=f"critic-energy-{name}",
            words=f"The energy of the {'WGAN-GP' if name == 'penalty' else 'clipped'} critic is a"
            " meaningful loss: while the cloud approaches, it falls as W1 does.",
            source="Arjovsky, Chintala and Bottou 2017, section 4.2",
            number="correlation of energy and exact W1, N((2, 2), I) to N(0, I)",
            low=published - HALF_DIGIT[name],
            measure=partial(correlation, name),
            seconds=1.0 if name == "penalty" else 0.4,
            group=f"critic-energy-{name}",
        )
        for name, (_, published, _) in CRITICS.items()
    ),
    Statement(
        name="critic-clipped-constant",
        words="The energy of the clipped critic is K W1, with about the same K along a run.",
        source="Arjovsky, Chintala and Bottou 2017, section 3",
        number="K at the end / at the start",
        low=0.5,
        high=2.0,
        measure=constant,
        seconds=0.4,
        group="critic-energy-clipped",
    ),
    Statement(
        name="c-transform-nearest",
        words="Of trained critics the c-transform one estimates W1 best: better than clipping and"
        " than WGAN-GP.",
        source="Mallasto, Montufar and Gerolin 2019",
        number="|estimate / W1 - 1|, c-transform / the better of both, N((1, 1), I) to N(0, I)",
        high=1.0,
        measure=c_transform_error,
        seconds=1.8,
        group="c-transform",
    ),
    Statement(
        name="c-transform-bound",
        words="Its estimate is the value of a feasible pair: never above W1, and near it.",
        source="WGAN page, a critic without a constraint",
        number="estimate / exact W1, 100 and 130 points in the plane",
        low=0.95,
        high=1 + 1e-9,
        measure=c_transform_share,
        seconds=1.8,
        group="c-transform",
    ),
    Statement(
        name="w1-oracle-rate",
        words="Where the potential is known, a mean over samples estimates W1 with an error that"
        " falls like n^(-1/2) in any dimension, here in four.",
        source="Stanczuk, Etmann, Kreusser and Schoenlieb 2021; WGAN page, what to use",
        number="rate a of error = c n^-a, n = 32 to 512",
        low=0.4,
        high=0.6,
        measure=oracle_rate,
        seconds=0.05,
    ),
    Statement(
        name="w1-batch-behind-oracle",
        words="W1 between two samples is farther from W1 of the distributions than that mean is.",
        source="Stanczuk, Etmann, Kreusser and Schoenlieb 2021",
        number="error of W1 between samples / of the oracle, 512 points in four dimensions",
        low=1.0,
        measure=batch_over_oracle,
        seconds=0.6,
    ),
)
