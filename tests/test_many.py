"""Runs of several seeds: what each starts from, what they leave, in one process and in several."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Python

import particleflow as pf
from particleflow.clouds import Clock, Draws
from particleflow.runs import Runs

START, TARGET = pf.samplers.Gaussian(dim=2), pf.samplers.Rings()
FLOW = pf.mmd_flow(pf.kernels.Gaussian(0.5), noise=0.2)
W2 = {"W2": pf.metrics.W2()}
X, Y = START.sample(9, seed=5), TARGET.sample(14, seed=6)


@pytest.fixture(scope="module")
def runs() -> Runs:
    return pf.simulate_many(
        FLOW, START, TARGET, n=9, m=14, seeds=[4, 0, 7], steps=6, dt=0.1, metrics=W2
    )


def test_a_run_is_that_of_simulate(runs: Runs) -> None:
    assert runs.seeds == (4, 0, 7)
    assert len(runs) == 3
    for seed, path in zip(runs.seeds, runs, strict=True):
        draws = pf.Draws(seed)
        x0 = START.sample(9, seed=draws.child_seed("start", 0))
        y = TARGET.sample(14, seed=draws.child_seed("target", 0))
        alone = pf.simulate(FLOW, x0, y, seed=seed, steps=6, dt=0.1)
        assert torch.equal(path.particles, alone.particles)
        assert path.report["seed"] == seed


def test_start_and_target_of_one_sampler_are_independent() -> None:
    path = pf.simulate_many(FLOW, START, START, n=9, m=14, seeds=1, steps=1, dt=0.1)[0]
    assert path.target is not None
    assert not torch.isin(path.particles[0], path.target).any()


def test_one_cloud_serves_all_seeds() -> None:
    paths = pf.simulate_many(FLOW, X, Y, seeds=2, steps=2, dt=0.1)
    assert torch.equal(paths[0].particles[0], X)
    assert torch.equal(paths[1].particles[0], X)
    assert not torch.equal(paths[0].particles[-1], paths[1].particles[-1])


def test_a_list_has_a_cloud_for_each_seed() -> None:
    starts, targets = [X, pf.Cloud(X + 1)], [Y.numpy(), Y.numpy() - 1]
    paths = pf.simulate_many(FLOW, starts, targets, seeds=2, steps=1, dt=0.1)
    for k, path in enumerate(paths):
        assert torch.equal(path.particles[0], X + k)
        assert path.target is not None
        assert torch.equal(path.target, Y - k)


def test_dt_is_each_run_s_own() -> None:
    flow = pf.mmd_flow(pf.kernels.Gaussian(0.5))
    paths = pf.simulate_many(flow, [X, 5 * X], Y, seeds=2, steps=1)
    assert [path.report["dt"] for path in paths] == [
        flow.suggest_dt(X, Y),
        flow.suggest_dt(5 * X, Y),
    ]


def test_a_sampler_follows_the_dtype_of_the_other_cloud() -> None:
    path = pf.simulate_many(FLOW, X.float(), TARGET, m=14, seeds=1, steps=1, dt=0.1)[0]
    assert path.target is not None
    assert path.target.dtype == torch.float32


def test_a_moving_target_and_none() -> None:
    batches = pf.samplers.Minibatch(TARGET, 14)
    assert pf.simulate_many(FLOW, X, batches, seeds=2, steps=2, dt=0.1)[1].status == "completed"
    langevin = pf.langevin(START)
    assert pf.simulate_many(langevin, X, seeds=2, steps=2, dt=0.1)[1].status == "completed"


def test_a_band_is_of_quantiles(runs: Runs) -> None:
    values = np.array([path.metrics["W2"].numpy() for path in runs])
    band = runs.band("W2", quantiles=(0.25, 0.8))
    assert np.array_equal(band.steps, runs[0].steps.numpy())
    assert np.allclose(band.median, np.median(values, 0), rtol=1e-12)
    assert np.allclose(band.low, np.quantile(values, 0.25, 0), rtol=1e-12)
    assert np.allclose(band.high, np.quantile(values, 0.8, 0), rtol=1e-12)
    energies = np.array([path.energy.numpy() for path in runs])
    assert np.allclose(runs.band("energy").median, np.median(energies, 0), rtol=1e-12)
    with pytest.raises(ValueError, match="`name` must be a metric, got 'W1': pass one of W2, en"):
        runs.band("W1")


def test_a_repr_is_one_line(runs: Runs) -> None:
    band = runs.band("W2")
    ends = f"{band.median[0]:.4g} -> {band.median[-1]:.4g}"
    assert repr(runs) == f"Runs(3 seeds: 3 completed; medians: W2 {ends})"


def test_curves_take_the_runs(runs: Runs) -> None:
    pictures = []
    for given in (runs, list(runs)):
        picture = io.BytesIO()
        pf.plotting.curves({"mmd": given}).savefig(picture, format="raw")
        pictures.append(picture.getvalue())
    assert pictures[0] == pictures[1]


def unlucky(clock: Clock) -> float:
    """A noise that raises in the first step of seed 1."""
    if isinstance(clock.draws, Draws) and clock.draws.seed == 1:
        raise ArithmeticError("no luck")
    return 0.1


def test_a_run_that_raises_leaves_the_others() -> None:
    flow = pf.mmd_flow(pf.kernels.Gaussian(0.5), noise=unlucky)
    with pytest.warns(RuntimeWarning, match="1 of 3 runs were not made, e.g. that of seed 1"):
        runs = pf.simulate_many(flow, X, Y, seeds=3, steps=2, dt=0.1)
    assert runs.seeds == (0, 2)
    assert list(runs.failures) == [1]
    assert "ArithmeticError('no luck')" in runs.failures[1]
    assert repr(runs) == "Runs(2 of 3 seeds: 2 completed)"
    with pytest.raises(RuntimeError, match=r"none of the 1 runs was made, got Arithmetic.* seed 1"):
        pf.simulate_many(flow, X, Y, seeds=[1], steps=2, dt=0.1)


def stopped(clock: Clock) -> float:
    """A noise in which Ctrl-C comes, in the second step of seed 1."""
    if isinstance(clock.draws, Draws) and clock.draws.seed == 1 and clock.step == 1:
        raise KeyboardInterrupt
    return 0.1


def test_ctrl_c_keeps_what_is_finished() -> None:
    flow = pf.mmd_flow(pf.kernels.Gaussian(0.5), noise=stopped)
    with pytest.warns(RuntimeWarning, match="2 of 3 runs were not made"):
        runs = pf.simulate_many(flow, X, Y, seeds=3, steps=3, dt=0.1)
    assert runs.seeds == (0,)
    assert runs.failures == {1: "not finished: Ctrl-C", 2: "not finished: Ctrl-C"}
    with pytest.raises(KeyboardInterrupt):
        pf.simulate_many(flow, X, Y, seeds=[1, 2], steps=3, dt=0.1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"starts": START}, "`n` must say how many points to draw from the sampler `starts`"),
        ({"target": TARGET}, "`m` must say how many points to draw from the sampler `target`"),
        ({"n": 5}, "`n` is for a sampler `starts`, got 5 and Tensor: leave it out"),
        ({"starts": [X, X, X]}, "`starts` must hold one cloud for each of the 2 seeds, got 3"),
        ({"target": [Y, Y[:, :1]]}, r"`target\[1\]` must be \(M, 2\) like `starts`"),
        ({"starts": X[:, :1]}, r"`target` must be \(M, 1\) like `starts`"),
        ({"starts": pf.samplers.Gaussian}, "`starts` must be points, got the class Gaussian"),
        ({"seeds": [1, 1]}, "`seeds` must be different numbers"),
        ({"seeds": 0}, "`seeds` must be >= 1, got 0"),
        ({"jobs": 0}, "`jobs` must be >= 1, got 0"),
        ({"steps": None}, "exactly one of `steps` and `t1`"),
        ({"metrics": W2, "target": None, "flow": pf.langevin(START)}, "compare with a target"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_refused_before_a_run(given: dict[str, object], words: str) -> None:
    valid = {"flow": FLOW, "starts": X, "target": Y, "seeds": 2, "steps": 1, "dt": 0.1}
    with pytest.raises((ValueError, TypeError), match=words):
        pf.simulate_many(**{**valid, **given})


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pf.simulate_many(FLOW, X, Y, seeds=1, steps=1, dt=0.1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_bar_of_many_runs(capfd: pytest.CaptureFixture[str]) -> None:
    """No terminal: no bar, and the same runs."""
    shown = pf.simulate_many(FLOW, X, Y, seeds=2, steps=1, dt=0.1, progress=True)
    plain = pf.simulate_many(FLOW, X, Y, seeds=2, steps=1, dt=0.1)
    assert torch.equal(shown[1].particles, plain[1].particles)
    assert capfd.readouterr().err == ""


# A script without `if __name__ == "__main__"`, with parts that only it knows.
SCRIPT = """
import os
import torch
import particleflow as pf

class Start:
    dim = 2

    def sample(self, n, *, seed=0, dtype=None, device=None):
        if seed == pf.Draws(1).child_seed("start", 0):
            raise ArithmeticError("no luck")
        return pf.samplers.Gaussian(dim=2).sample(n, seed=seed, dtype=dtype, device=device)

flow = pf.mmd_flow(lambda s: torch.exp(-s), noise=lambda clock: 0.1)
here = os.getpid()
torch.set_num_threads(2)

def facts(x, y):
    return float(1000 * (os.getpid() == here) + torch.get_num_threads())

def made(jobs):
    return pf.simulate_many(
        flow, Start(), pf.samplers.Rings(), n=40, m=53, seeds=4, jobs=jobs, steps=3,
        metrics={"W2": pf.metrics.W2(), "facts": facts},
    )

alone, spread = made(None), made(2)
assert alone.seeds == spread.seeds == (0, 2, 3)
assert list(alone.failures) == list(spread.failures) == [1]
assert "no luck" in spread.failures[1]
for one, other in zip(alone, spread, strict=True):
    assert torch.equal(one.particles, other.particles)
    assert torch.equal(one.energy, other.energy)
    assert torch.equal(one.metrics["W2"], other.metrics["W2"])
    assert one.report["dt"] == other.report["dt"]
    assert set(one.metrics["facts"].tolist()) == {1001.0}
    assert set(other.metrics["facts"].tolist()) == {1.0}
print("the same")
"""


def test_processes_give_the_same_bits(tmp_path: Path, python: Python) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = python.run("script.py", cwd=tmp_path)
    assert done.stdout == "the same\n", done.stderr
