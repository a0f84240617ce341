"""Langevin: no target sample, only a density or a score. Statistical tests have fixed seeds and
bounds of five standard errors (6e-7).
"""

from __future__ import annotations

import math

import numpy as np
import problems
import pytest
import scipy.stats
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Replay

pytestmark = pytest.mark.usefixtures("unchecked")

UNIT = pf.samplers.Gaussian(dim=1)
SIGMAS = 5.0


def stationary_variance(tau: float, n: int, dim: int = 1) -> tuple[float, float]:
    """Variance of n d numbers after 60 steps of tau from N(0, I), and its standard error: sqrt(2 /
    (n d)) of itself.
    """
    target = pf.samplers.Gaussian(dim=dim)
    path = pf.simulate(
        pf.langevin(target),
        target.sample(n, seed=1),
        steps=60,
        dt=tau,
        seed=2,
        save=pf.SaveAt(steps=[0]),
    )
    assert path.status == "completed"
    assert path.target is None
    variance = float((path.particles[-1] ** 2).mean())
    return variance, variance * math.sqrt(2 / (n * dim))


@pytest.mark.parametrize(("tau", "dim"), [(0.2, 1), (0.5, 1), (0.5, 3), (1.0, 2)])
def test_the_stationary_variance_is_that_of_the_scheme(tau: float, dim: int) -> None:
    """x <- (1 - tau) x + sqrt(2 tau) u has the variance 1 / (1 - tau / 2): the bias of the step,
    not that of the law.
    """
    found, error = stationary_variance(tau, 20_000, dim)
    assert abs(found - problems.ula_variance(tau)) <= SIGMAS * error
    assert abs(found - 1.0) > SIGMAS * error, (
        "the test could not tell the biased variance from that of the target"
    )


def test_the_moments_on_the_way_are_the_recursion_s() -> None:
    """From N(-2, .25) towards N(1, 2.25): mean and variance after n steps of tau, by m <- m - tau
    (m - mu) / s^2 and its square.
    """
    n, tau, steps = 40_000, 0.01, 100
    x0 = pf.samplers.Gaussian(dim=1, mean=-2.0, std=0.5).sample(n, seed=3)
    path = pf.simulate(
        pf.langevin(pf.samplers.Gaussian(dim=1, mean=1.0, std=1.5)),
        x0,
        steps=steps,
        dt=tau,
        seed=4,
        save=pf.SaveAt(steps=[0]),
    )
    a = 1 - tau / 2.25
    mean = 1 + a**steps * (-3)
    variance = a ** (2 * steps) * 0.25 + 2 * tau * (1 - a ** (2 * steps)) / (1 - a**2)
    assert math.sqrt(variance) == pytest.approx(1.1968115373340475, rel=1e-12)
    end = path.particles[-1, :, 0]
    assert abs(float(end.mean()) - mean) <= SIGMAS * math.sqrt(variance / n)
    assert abs(float(end.var()) - variance) <= SIGMAS * variance * math.sqrt(2 / n)


# ---- beside the reverse KL flow: two dynamics, one law at each time
# -------------------------------------------------------------------------


def at_times(
    flow: pf.Flow, x0: Tensor, times: tuple[float, ...], tau: float, seed: int
) -> list[Tensor]:
    path = pf.simulate(
        flow,
        x0,
        steps=round(times[-1] / tau),
        dt=tau,
        seed=seed,
        save=pf.SaveAt(steps=[round(t / tau) for t in times]),
    )
    assert path.status == "completed"
    return list(path.particles[[int((path.steps == round(t / tau)).nonzero()) for t in times]])


def reverse_kl_flow(p: problems.Normal) -> pf.Flow:
    return pf.mono_flow(pf.estimators.ClosedForm(law(p), current=pf.estimators.Moments()))


def law(normal: problems.Normal) -> pf.samplers.Gaussian:
    return pf.samplers.Gaussian(mean=normal.mean, cov=normal.cov)


def errors(points: Tensor, expected: problems.Normal) -> float:
    """The largest error of mean and covariance entries in standard errors: sqrt(S_ii / n),
    sqrt((S_ii S_jj + S_ij^2) / n).
    """
    n, variances = len(points), np.diag(expected.cov)
    mean, covariance = (
        points.mean(0).numpy(),
        np.cov(points.numpy().T, bias=True).reshape(expected.cov.shape),
    )
    of_mean = np.abs(mean - expected.mean) / np.sqrt(variances / n)
    of_covariance = np.abs(covariance - expected.cov) / np.sqrt(
        (np.outer(variances, variances) + expected.cov**2) / n
    )
    return float(max(of_mean.max(), of_covariance.max()))


@pytest.mark.parametrize(("pair", "tau"), [("far", 0.005), ("plane", 0.005)])
def test_its_law_at_each_time_is_that_of_the_reverse_kl_flow(pair: str, tau: float) -> None:
    """Both from samples of q: moments at three times within 5 standard errors (6e-7 each) of the
    closed form; the step's bias is below one.

    With dX = grad log p dt + dW, without the sqrt(2), the law is another: that must fail.
    """
    p, q = problems.PAIRS[pair]
    n, times = 10_000, (0.25, 0.5, 1.0)
    x0 = law(q).sample(n, seed=7)
    langevin = at_times(pf.langevin(law(p)), x0, times, tau, seed=8)
    reverse_kl = at_times(reverse_kl_flow(p), x0, times, tau, seed=8)
    wrong = at_times(pf.langevin(law(p), temperature=0.5), x0, times, tau, seed=8)
    for t, diffused, moved, cold in zip(times, langevin, reverse_kl, wrong, strict=True):
        expected = problems.reverse_kl_flow(p, q, t)
        assert errors(diffused, expected) <= SIGMAS, f"Langevin at t = {t}"
        assert errors(moved, expected) <= SIGMAS, f"the reverse KL flow at t = {t}"
        assert errors(cold, expected) > 2 * SIGMAS, f"without the sqrt(2) at t = {t}"


def test_the_one_dimensional_example_at_time_one() -> None:
    """N(-2, .25) to N(1, 2.25): m = -.92354, s = 1.19490 for both; and Kolmogorov-Smirnov against
    that normal law and against each other.
    """
    p, q = problems.FAR
    mean, std = -0.9235411652898637, 1.1948955682341553
    n = 4000
    (diffused,) = at_times(pf.langevin(law(p)), law(q).sample(n, seed=11), (1.0,), 0.005, seed=12)
    (moved,) = at_times(reverse_kl_flow(p), law(q).sample(n, seed=13), (1.0,), 0.005, seed=0)
    assert problems.reverse_kl_flow(p, q, 1.0).mean[0] == pytest.approx(mean, abs=1e-12)
    assert math.sqrt(problems.reverse_kl_flow(p, q, 1.0).cov[0, 0]) == pytest.approx(std, abs=1e-12)
    for points in (diffused, moved):
        assert abs(float(points.mean()) - mean) <= SIGMAS * std / math.sqrt(n)
        assert abs(float(points.std()) - std) <= SIGMAS * std / math.sqrt(2 * n)
        assert (
            scipy.stats.kstest(points[:, 0].numpy(), scipy.stats.norm(mean, std).cdf).pvalue > 1e-3
        )
    assert scipy.stats.ks_2samp(diffused[:, 0].numpy(), moved[:, 0].numpy()).pvalue > 1e-3
    (cold,) = at_times(
        pf.langevin(law(p), temperature=0.5), law(q).sample(n, seed=11), (1.0,), 0.005, seed=12
    )
    assert scipy.stats.ks_2samp(cold[:, 0].numpy(), moved[:, 0].numpy()).pvalue < 1e-6


def test_paths_differ_where_laws_agree() -> None:
    """The flow keeps the particles' order, a Brownian motion does not: rank correlation with the
    start 1, and that of the two normal laws.
    """
    p, q = problems.FAR
    x0 = law(q).sample(4000, seed=21)
    (moved,) = at_times(reverse_kl_flow(p), x0, (1.0,), 0.01, seed=0)
    (diffused,) = at_times(pf.langevin(law(p)), x0, (1.0,), 0.01, seed=22)
    assert torch.equal(moved[:, 0].argsort(), x0[:, 0].argsort())
    correlation = (
        math.exp(-1 / 2.25) * 0.5 / 1.1948955682341553
    )  # of X_0 and X_1 of an Ornstein-Uhlenbeck process
    found = float(torch.corrcoef(torch.stack([diffused[:, 0], x0[:, 0]]))[0, 1])
    assert abs(found - correlation) <= SIGMAS * (1 - correlation**2) / math.sqrt(4000)


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.1, 0.4, 0.8])
def test_the_reverse_kl_flow_ends_at_the_target_and_langevin_beside_it(tau: float) -> None:
    """The same steps: Euler's fixed point of the flow is the target's own covariance (stable for
    tau < 1), ULA's is 1 / (1 - tau / 2) of it.
    """
    target, n = pf.samplers.Gaussian(dim=2), 50_000
    x0 = 0.7 * target.sample(n, seed=31) + 0.3
    flow = pf.mono_flow(pf.estimators.ClosedForm(target, current=pf.estimators.Moments()))
    (moved,) = at_times(flow, x0, (60 * tau,), tau, seed=0)
    mean, covariance = pf.Cloud(moved).moments()
    assert torch.allclose(mean, torch.zeros(2, dtype=torch.float64), atol=2e-3)
    assert torch.allclose(covariance, torch.eye(2, dtype=torch.float64), atol=2e-3)
    (diffused,) = at_times(pf.langevin(target), x0, (60 * tau,), tau, seed=32)
    assert (
        errors(diffused, problems.normal(np.zeros(2), problems.ula_variance(tau) * np.eye(2)))
        <= SIGMAS
    )


def test_temperature_scales_the_variance() -> None:
    n, tau = 20_000, 0.1
    path = pf.simulate(
        pf.langevin(UNIT, temperature=0.25),
        0.5 * UNIT.sample(n, seed=1),
        steps=60,
        dt=tau,
        seed=2,
        save=pf.SaveAt(steps=[0]),
    )
    found = float((path.particles[-1] ** 2).mean())
    assert abs(found - 0.25 * problems.ula_variance(tau)) <= SIGMAS * found * math.sqrt(2 / n)


def test_at_temperature_zero_it_is_the_gradient_flow() -> None:
    x0 = UNIT.sample(7, seed=0)
    path = pf.simulate(pf.langevin(UNIT, temperature=0.0), x0, steps=10, dt=0.1)
    assert torch.allclose(path.particles[-1], 0.9**10 * x0, rtol=1e-14, atol=0)


def test_a_mixture_is_sampled() -> None:
    """Kolmogorov-Smirnov against the mixture's own distribution function, from one mode only; dt
    small enough for its bias to be invisible.
    """
    weights, means, stds = (0.3, 0.7), (-1.0, 1.2), (0.5, 0.6)
    target = pf.samplers.Mixture(
        [pf.samplers.Gaussian(dim=1, mean=m, std=s) for m, s in zip(means, stds, strict=True)],
        weights=weights,
    )
    n = 1500
    x0 = pf.samplers.Gaussian(dim=1, mean=-1.0, std=0.3).sample(n, seed=5)
    path = pf.simulate(
        pf.langevin(target), x0, steps=700, dt=0.02, seed=6, save=pf.SaveAt(steps=[0])
    )

    def distribution(z: np.ndarray) -> np.ndarray:
        return sum(
            w * scipy.stats.norm.cdf(z, m, s) for w, m, s in zip(weights, means, stds, strict=True)
        )

    assert scipy.stats.kstest(path.particles[0, :, 0].numpy(), distribution).pvalue < 1e-6
    assert scipy.stats.kstest(path.particles[-1, :, 0].numpy(), distribution).pvalue > 1e-3


def test_score_log_density_and_sampler_give_one_path() -> None:
    law = pf.samplers.Gaussian(mean=[1.0, 1.0], cov=[[1.0, 0.8], [0.8, 0.89]])
    precision = torch.linalg.inv(torch.tensor([[1.0, 0.8], [0.8, 0.89]], dtype=torch.float64))
    x0 = law.sample(11, seed=0)

    def log_density(z: Tensor) -> Tensor:
        return -0.5 * ((z - 1) @ precision * (z - 1)).sum(1)

    paths = [
        pf.simulate(pf.langevin(given), x0, steps=20, dt=0.01, seed=3)
        for given in (law, log_density, lambda z: -(z - 1) @ precision)
    ]
    for path in paths[1:]:
        assert torch.allclose(path.particles, paths[0].particles, rtol=0, atol=1e-11)
    constant = math.log(2 * math.pi) + 0.5 * math.log(0.25)
    assert torch.allclose(paths[1].energy, paths[0].energy - constant, rtol=0, atol=1e-10)
    assert bool(paths[2].energy.isnan().all())


def test_the_noise_is_the_seed_s_and_can_be_replayed() -> None:
    x0 = UNIT.sample(9, seed=0)
    first, again, other = (
        pf.simulate(pf.langevin(UNIT), x0, steps=5, dt=0.1, seed=s).particles for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first[1:], other[1:])
    xi = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 9, 1)))
    path = pf.simulate(pf.langevin(UNIT), x0, steps=5, dt=0.1, draws=Replay({"brownian": xi}))
    x = x0
    for step in range(5):
        x = 0.9 * x + math.sqrt(0.2) * xi[step]
    assert torch.allclose(path.particles[-1], x, rtol=0, atol=1e-14)


def test_a_diffusion_may_depend_on_time() -> None:
    """sigma(t) = 0 from t = .5 on: from there the path is deterministic."""
    flow = pf.Flow(
        pf.estimators.ClosedForm(UNIT), diffusion=lambda clock: 1.0 if clock.t < 0.5 else 0.0
    )
    path = pf.simulate(flow, UNIT.sample(6, seed=0), steps=10, dt=0.1, save=pf.SaveAt(every=1))
    assert torch.allclose(
        path.particles[6:],
        path.particles[5] * 0.9 ** torch.arange(1, 6, dtype=torch.float64)[:, None, None],
        rtol=1e-14,
    )
    assert not torch.allclose(path.particles[4], 0.9 * path.particles[3])


def test_a_callable_of_the_wrong_shape_is_explained() -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"`target` must map z \(Q, d\) to a log density \(Q,\) or a score \(Q, d\), got \(\)"
            r" for z \(\d+, 2\)"
        ),
    ):
        pf.simulate(pf.langevin(lambda z: -(z**2).sum()), torch.zeros(4, 2), steps=1, dt=0.1)
