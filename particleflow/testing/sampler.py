"""`check_sampler`: the contract of a sampler, and of its density if any, clause by clause.

The contract is in `particleflow.samplers.base`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from particleflow.samplers.base import Density, Sampler
from particleflow.testing.contract import (
    Contract,
    in_threads,
    normals,
    other_global_seed,
    same_bits,
)

# Number of points drawn for moments and densities.
MANY = 2000
# Largest error of a mean, in standard errors: chance hardly ever exceeds it.
ERRORS = 6.0
# Error allowed of the integral of a density, which is measured by few points.
INTEGRAL = 0.2
# Most dimensions in which the integral is measured: its error grows with the dimension.
MOST_DIMENSIONS = 3
DRAW = "draw all numbers from numpy.random.default_rng(seed)"


def check_sampler(sampler: Sampler, *, mean: Any = None, cov: Any = None) -> None:
    r"""Check every clause of a sampler's contract; a broken one raises AssertionError.

    - `dim` is an integer >= 1. sample(n, seed=) is a fresh, finite (n, dim) tensor, float64 on the
      CPU unless another dtype or device is given.
    - Equal seeds give equal bits, also in threads. Two seeds give two samples. No global random
      state is read or changed.
    - A float32 sample is the float64 sample of the same seed, rounded.
    - An n below 1, a negative seed, and a dtype other than float32 and float64 are refused.
    - If the sampler has `log_density` and `score`: they return (Q,) and (Q, d), and the score is
      :math:`\nabla \log p`. The density is > 0 at samples. In up to three dimensions it
      integrates to one. (This clause cannot judge a density that is 0 in one place and infinite in
      the next.)

    Parameters
    ----------
    sampler : Sampler
        The part to be checked, an instance.
    mean : (dim,) numbers, optional
        The known mean. That of 2000 points must agree with it within six standard errors.
    cov : (dim, dim) numbers, optional
        The known covariance, checked in the same way.

    Raises
    ------
    AssertionError
        A clause is broken. The message names it, what came, and the remedy.

    Cost: under 0.1 s for a Gaussian; some samples of up to 2000 points.

    >>> pf.testing.check_sampler(pf.samplers.Gaussian(dim=2, std=0.5), mean=[0, 0])
    >>> class Dice:
    ...     dim = 1
    ...     def sample(self, n, *, seed=0, dtype=None, device=None):
    ...         return torch.rand(n, 1, dtype=dtype or torch.float64)
    >>> pf.testing.check_sampler(Dice())
    Traceback (most recent call last):
    AssertionError: ...sample must leave global random states alone, got a changed...
    """
    contract = Contract("a sampler", sampler)
    what = f"the class {sampler.__name__}" if isinstance(sampler, type) else type(sampler).__name__
    clause = "a sampler must have dim and sample(n, *, seed, dtype, device)"
    contract.require(
        not isinstance(sampler, type) and isinstance(sampler, Sampler),
        clause,
        what,
        "add what is missing, or wrap rows in FromArray",
    )
    d = sampler.dim
    whole = isinstance(d, int) and not isinstance(d, bool) and d >= 1
    contract.require(
        whole, "dim must be an integer >= 1", repr(d), "return the number of coordinates of a point"
    )
    _shapes(contract, sampler)
    _seeds(contract, sampler)
    _points(contract, sampler)
    _refusals(contract, sampler)
    if mean is not None or cov is not None:
        _moments(contract, sampler, mean, cov)
    if isinstance(sampler, Density) and _has_density(sampler):
        _density(contract, sampler, sampler)


def _shapes(contract: Contract, sampler: Sampler) -> None:
    for n in (1, 7, 50):
        for dtype in (None, torch.float64, torch.float32):
            remedy = "take n rows, and the keywords seed, dtype and device"
            draw = partial(sampler.sample, n, seed=3, dtype=dtype, device="cpu")
            points = contract.call(draw, clause=f"sample({n}) must draw", remedy=remedy)
            what = f"sample({n}, dtype={dtype})"
            contract.tensor(points, (n, sampler.dim), dtype or torch.float64, what)
            contract.finite(points, what, "leave out what is not finite")


def _points(contract: Contract, sampler: Sampler) -> None:
    """Check that float32 gives the same points, and that a sample shares no memory."""
    double, single = (
        sampler.sample(50, seed=3, dtype=dtype) for dtype in (torch.float64, torch.float32)
    )
    clause = "float32 must be the float64 sample rounded"
    contract.require(
        same_bits(double.float(), single),
        clause,
        "other points",
        "draw in float64 and round at the end",
    )
    first = sampler.sample(9, seed=5)
    kept = first.clone()
    first.fill_(math.nan)
    clause = "sample must return a fresh tensor"
    contract.require(
        same_bits(sampler.sample(9, seed=5), kept),
        clause,
        "a change of the last sample in the next one",
        "copy what is kept",
    )


def _seeds(contract: Contract, sampler: Sampler) -> None:
    with contract.own_randomness("sample"):
        first = sampler.sample(50, seed=3)
    clause = "equal seeds must give equal bits"
    contract.require(
        same_bits(sampler.sample(50, seed=3), first),
        clause,
        "another sample in the next call",
        DRAW,
    )
    with other_global_seed(17):
        contract.require(
            same_bits(sampler.sample(50, seed=3), first),
            clause,
            "another sample after torch.manual_seed and numpy.random.seed",
            DRAW,
        )
    alike = in_threads(lambda k: sampler.sample(50, seed=k % 2), 8)
    wanted = [sampler.sample(50, seed=k) for k in range(2)]
    contract.require(
        all(same_bits(a, wanted[k % 2]) for k, a in enumerate(alike)),
        clause,
        "another sample in another thread",
        DRAW,
    )
    plain = same_bits(sampler.sample(50), wanted[0])
    contract.require(
        plain,
        "the seed must be 0 unless given",
        "another sample without a seed",
        "def sample(n, *, seed=0)",
    )
    contract.require(
        not same_bits(wanted[0], wanted[1]),
        "two seeds must give two samples",
        "the same points for the seeds 0 and 1",
        DRAW,
    )


def _refusals(contract: Contract, sampler: Sampler) -> None:
    wrong: dict[str, list[tuple[int, dict[str, Any]]]]
    wrong = {
        "n": [(0, {}), (-3, {})],
        "seed": [(5, {"seed": -1})],
        "dtype": [(5, {"dtype": torch.int64})],
    }
    for name, calls in wrong.items():
        for n, more in calls:
            told = ", ".join([str(n), *(f"{key}={value}" for key, value in more.items())])
            clause = f"sample({told}) must be refused with a message that names `{name}`"
            draw = partial(sampler.sample, n, **more)
            contract.refuses(
                draw,
                (ValueError, TypeError),
                clause,
                "check the arguments before drawing",
                naming=name,
            )


def _moments(contract: Contract, sampler: Sampler, mean: Any, cov: Any) -> None:
    points = sampler.sample(MANY, seed=11).numpy()
    centred = points - points.mean(0)
    products = centred[:, :, None] * centred[:, None, :]
    if mean is not None:
        _near(contract, points, np.broadcast_to(np.asarray(mean, float), points.shape[1:]), "mean")
    if cov is not None:
        _near(contract, products, np.asarray(cov, float).reshape(products.shape[1:]), "covariance")


def _near(contract: Contract, samples: np.ndarray, wanted: np.ndarray, what: str) -> None:
    """Require the mean of `samples` within some standard errors of `wanted`."""
    found, error = samples.mean(0), samples.std(0) / math.sqrt(len(samples))
    off = np.abs(found - wanted) - ERRORS * error - 1e-12
    got = f"{found.round(4).tolist()} where it is {wanted.round(4).tolist()}"
    contract.require(
        bool((off <= 0).all()),
        f"the {what} of samples must be the one declared",
        got,
        "mend the draws, or what was declared",
    )


def _has_density(sampler: Any) -> bool:
    """Tell whether the sampler has a density with its arguments.

    A mixture of components without densities refuses to give one.
    """
    try:
        sampler.log_density(sampler.sample(2, seed=7))
    except (ValueError, TypeError) as error:
        if "`" in str(error):
            return False
        raise
    return True


def _density(contract: Contract, sampler: Sampler, density: Density) -> None:
    d = sampler.dim
    points = sampler.sample(60, seed=7)
    spread = sampler.sample(1000, seed=8).std(0).clamp_min(1e-12)
    z = torch.cat([points, points[:23] + 0.3 * spread * normals(23, d, 1)])
    for dtype in (torch.float64, torch.float32):
        queries = z.to(dtype)
        with contract.unchanged("a density", z=queries):
            value, score = density.log_density(queries), density.score(queries)
        contract.tensor(value, (len(z),), dtype, "log_density(z)")
        contract.tensor(score, (len(z), d), dtype, "score(z)")
    value, score = density.log_density(z), density.score(z)
    clause, remedy = (
        "samples must have a density > 0",
        "mend the draws, or the density: they are of two distributions",
    )
    contract.require(
        bool(torch.isfinite(value[:60]).all()), clause, "log_density -inf or NaN at one", remedy
    )
    alone = torch.allclose(density.log_density(z[5:6]), value[5:6], rtol=1e-10)
    contract.require(
        alone,
        "log_density must treat each row by itself",
        "another value for one row alone",
        "do not sum over rows",
    )
    contract.finite(score, "score(z)", "return 0 where the density is 0")
    _score(contract, density, z, value, score, 1e-5 * float(spread.min()))
    if d <= MOST_DIMENSIONS:
        _integral(contract, sampler, density, spread)


def _score(
    contract: Contract, density: Density, z: Tensor, value: Tensor, score: Tensor, step: float
) -> None:
    """Check the score along a random direction for each row.

    Rows at an edge of the support, where differences jump, are left out.
    """
    along = torch.nn.functional.normalize(normals(len(z), z.shape[1], 5), dim=1)
    above, below = density.log_density(z + step * along), density.log_density(z - step * along)
    inside = (
        torch.isfinite(above) & torch.isfinite(below) & ((above + below - 2 * value).abs() <= 1e-4)
    )
    measured, told = (above - below)[inside] / (2 * step), (score * along).sum(1)[inside]
    size = score.norm(dim=1)[inside] + 1e-4 / step * torch.finfo(z.dtype).eps ** 0.5
    wrong = (measured - told).abs() > 1e-4 * size
    at = int(wrong.to(torch.int8).argmax()) if len(wrong) else 0
    found = (
        f"{float(told[at]):.5g} in a direction where differences give {float(measured[at]):.5g}"
        if len(wrong)
        else "no row inside the support"
    )
    clause = "score(z) must be the gradient of log_density(z)"
    contract.require(
        len(wrong) > 0 and not bool(wrong.any()), clause, found, "differentiate log_density in z"
    )


def _integral(contract: Contract, sampler: Sampler, density: Density, spread: Tensor) -> None:
    """Check that the density integrates to one: int p = E_q[p / q].

    q is the distribution of the samples convolved with a Gaussian: it is near p, and its density is
    known.
    """
    centres, width = sampler.sample(MANY // 4, seed=12), 0.1 * spread
    z = centres[torch.arange(MANY) % len(centres)] + width * normals(MANY, sampler.dim, 13)
    exponent = -0.5 * (((z[:, None] - centres) / width) ** 2).sum(2)
    log_q = (
        exponent.logsumexp(1)
        - math.log(len(centres))
        - width.log().sum()
        - 0.5 * sampler.dim * math.log(2 * math.pi)
    )
    total = float((density.log_density(z) - log_q).exp().mean())
    remedy = (
        "subtract the logarithm of the normalising constant, or mend the draws: samples and density"
        " are of two distributions"
    )
    contract.require(
        abs(total - 1) <= INTEGRAL,
        "the density must integrate to one where the samples are",
        f"{total:.3g}",
        remedy,
    )
