"""The summary of a run: verdicts, W2 and strays against closed forms, and advice that is true."""

from __future__ import annotations

import math
import os
import pty
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.advice import Advice, Change, advised
from particleflow.cli import main
from particleflow.clouds import Cloud
from particleflow.estimators import KDE, ClosedForm
from particleflow.kernels import Gaussian
from particleflow.metrics import W2
from particleflow.nearness import Nearness
from particleflow.plotting.scenes.floors import floor_of
from particleflow.plotting.web import page
from particleflow.samplers import Minibatch, Rings
from particleflow.strays import strays
from particleflow.streams import Output, Style

KERNEL = Gaussian(0.2)


def start(n: int = 110) -> Tensor:
    return pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(n, seed=1)


def rings(n: int = 130) -> Tensor:
    return Rings().sample(n, seed=0)


def moving(velocity: Any) -> pf.Flow:
    """The flow dx = velocity(x) dt."""
    return pf.Flow(ClosedForm(velocity))


# ------------------------------------------------------------------ verdicts


def near(first: float, last: float, late: float, **more: Any) -> Nearness:
    return Nearness(first, last, 0.1, 0.12, 100, late, 0.1, **more)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (near(1.0, 0.12, 0.12), "arrived"),
        (near(1.0, 0.121, 0.121), "stalled"),
        (near(1.0, 1.0009, 1.0), "stalled"),
        (near(1.0, 1.0011, 1.0), "farther"),
        (near(1.0, 1.0011, 1.0, slack=0.02), "stalled"),
        # as long a run again, at the pace of the last tenth, arrives at 0.12
        (near(1.0, 0.4, 0.4279), "stalled"),
        (near(1.0, 0.4, 0.4281), "on its way"),
        (near(1.0, 0.4, 0.4281, slack=0.0282), "stalled"),
        # or at least half of the mean pace of the run
        (near(1.0, 0.9, 0.9049), "stalled"),
        (near(1.0, 0.9, 0.9051), "on its way"),
        # of a run that took off a twentieth
        (near(1.0, 0.951, 0.9559), "stalled"),
    ],
)
def test_the_equations_of_the_verdicts(found: Nearness, verdict: str) -> None:
    assert found.verdict == verdict


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize(
    ("rate", "steps", "verdict"),
    [(1.0, 5, "on its way"), (1.0, 90, "stalled"), (-1.0, 5, "farther")],
)
def test_particles_in_one_place_against_the_closed_form(
    d: int, rate: float, steps: int, verdict: str
) -> None:
    """dx = rate (mean - x): W2^2 = |x - mean|^2 + var(y), where x is the one place of all."""
    rng = np.random.default_rng(d)
    y = torch.from_numpy(rng.normal(size=(50, d)))
    mean, x0 = y.mean(0), torch.full((30, d), 4.0, dtype=torch.float64)
    flow = moving(lambda z: rate * (mean - z))
    told = pf.simulate(flow, x0, y, steps=steps, dt=0.1).summary()
    variance = float(y.var(0, unbiased=False).sum())
    begun = float((x0[0] - mean).norm())
    ended = begun * (1 - 0.1 * rate) ** steps
    assert told.w2_start == pytest.approx(math.sqrt(begun**2 + variance), rel=1e-6)
    assert told.w2_end == pytest.approx(math.sqrt(ended**2 + variance), rel=1e-6)
    assert told.verdict == verdict
    assert (told.steps, told.particles, told.drawn) == (steps, 30, 0)
    assert told.time == pytest.approx(0.1 * steps)
    assert told.dt == 0.1
    assert str(told).startswith(f"{verdict}: {steps} steps of dt = 0.1 to t = ")


def test_a_run_that_arrives_has_no_advice() -> None:
    path = pf.simulate(pf.mono_flow(KDE(KERNEL)), start(200), rings(300), steps=300, dt=0.015)
    told = path.summary()
    assert (told.verdict, path.verdict, told.advice) == ("arrived", "arrived", ())
    assert told.w2_end == pytest.approx(W2()(path.particles[-1], rings(300)), rel=1e-9)
    assert told.floor is not None
    assert 0.05 < told.floor < 0.15
    assert told.strays is not None
    assert told.strays <= 10
    assert told is path.summary()


def test_far_away_mmd_flow_stalls_and_what_helps() -> None:
    x0, y = start() + 3, rings()
    path = pf.simulate(pf.mmd_flow(KERNEL), x0, y, steps=30)
    told = path.summary()
    assert told.verdict == "stalled"
    assert told.strays == 110
    (advice,) = told.advice
    away = told.w2_end / 0.2
    assert advice.seen == f"the kernel is too short (the target is {away:.3g} bandwidths away)"
    assert [str(change) for change in advice.changes] == [
        "pf.auto_flow(x0, y)",
        "pf.mono_flow(pf.estimators.KDE(kernel))",
    ]
    auto = eval(advice.changes[0].code, {"pf": pf, "x0": x0, "y": y})
    assert pf.simulate(auto, x0, y).verdict == "arrived"
    better = pf.simulate(pf.mono_flow(KDE(KERNEL)), x0, y, steps=150)
    assert better.verdict in ("arrived", "on its way")
    assert better.summary().w2_end < 0.1 * told.w2_end


def test_an_annealed_flow_that_stalls_is_advised_a_heavier_tail_or_a_slower_fall() -> None:
    """A twentieth of the target's points lie at 42 deviations."""
    rng = np.random.default_rng(0)
    y, x0 = rng.normal(size=(150, 2)), 0.4 * rng.normal(size=(120, 2))
    y[:8] += 30
    mono = pf.simulate(pf.auto_flow(x0, y, "mono", steps=300), x0, y, steps=300).summary()
    hasty = pf.simulate(pf.auto_flow(x0, y, steps=200), x0, y, steps=200).summary()
    advised = [[str(change) for change in told.advice[0].changes] for told in (mono, hasty)]
    assert advised == [["pf.auto_flow(x0, y)"], ["pf.auto_flow(x0, y, steps=400)"]]
    better = pf.simulate(pf.auto_flow(x0, y, steps=400), x0, y, steps=400).summary()
    for told in (mono, hasty):
        assert told.verdict == "stalled"
        assert better.w2_end < 0.8 * told.w2_end


def test_an_annealed_flow_that_ends_too_wide_is_advised_a_smaller_bandwidth() -> None:
    x0, y = start(300), rings(340)
    wide = pf.auto_flow(x0, y, "mono", bandwidth=3.0, start=6.0, steps=100)
    told = pf.simulate(wide, x0, y, steps=100).summary()
    assert told.verdict == "stalled"
    (change,) = told.advice[0].changes
    assert str(change) == "a bandwidth of 1.5"
    finer = pf.auto_flow(x0, y, "mono", bandwidth=change.value, start=6.0, steps=100)
    assert pf.simulate(finer, x0, y, steps=100).summary().w2_end < 0.8 * told.w2_end


def test_a_blurred_ratio_is_advised_a_smaller_bandwidth() -> None:
    x, y = start(240), rings(300)
    told = pf.simulate(pf.mono_flow(KDE(Gaussian(2.0))), x, y, steps=100).summary()
    assert told.verdict == "stalled"
    auto, change = told.advice[0].changes
    assert [str(auto), str(change)] == ["pf.auto_flow(x0, y)", "a bandwidth of 1"]
    better = pf.simulate(pf.mono_flow(KDE(Gaussian(change.value))), x, y, steps=100)
    assert better.summary().w2_end < 0.8 * told.w2_end


def test_particles_that_hop_about_the_target_are_advised_a_smaller_dt() -> None:
    flow, x, y = pf.wgan_flow(pf.estimators.CTransformCritic()), start(), rings()
    told = pf.simulate(flow, x, y, steps=20, dt=0.6).summary()
    assert told.verdict in ("stalled", "farther")
    (change,) = told.advice[0].changes
    assert str(change) == "dt = 0.15"
    better = pf.simulate(flow, x, y, steps=20, dt=change.value)
    assert better.summary().w2_end < 0.7 * told.w2_end


def test_a_heavy_tail_is_not_called_short() -> None:
    path = pf.simulate(pf.mmd_flow(pf.kernels.IMQ(0.2)), start() + 9, rings(), steps=3, dt=0.01)
    (advice,) = path.summary().advice
    assert str(advice) == ("the particles have hardly moved: try pf.simulate(flow, path, steps=3)")


def test_strays_that_mmd_flow_leaves_and_what_noise_does_to_them() -> None:
    x, y = start(240), rings(300)
    path = pf.simulate(pf.mmd_flow(KERNEL), x, y, steps=400)
    told = path.summary()
    distances = torch.cdist(path.particles[-1], y).amin(1)
    assert told.stray_distance is not None
    assert told.strays == int((distances > told.stray_distance).sum()) > 0
    assert told.verdict == "stalled"
    (advice,) = told.advice
    assert advice.seen == (
        f"{told.strays} of 240 particles are more than {told.stray_distance:.2g} from the target"
    )
    auto, noise, mono = advice.changes
    assert (auto.value, noise.name, mono.value) == ("auto", "noise", "mono")
    assert pf.simulate(pf.auto_flow(x, y), x, y).verdict == "arrived"
    given = eval(f"dict({noise.code})", {"pf": pf})
    noisy = pf.simulate(pf.mmd_flow(KERNEL, **given), x, y, steps=400, dt=told.dt)
    assert noisy.summary().w2_end < told.w2_end
    assert str(told).count("more than") == 1


def test_more_steps_are_advised_where_w2_still_falls() -> None:
    flow, x, y = pf.kale_flow(KERNEL, lam=0.1), start(), rings()
    path = pf.simulate(flow, x, y, steps=150)
    told = path.summary()
    assert told.verdict == "on its way"
    assert [str(advice) for advice in told.advice] == [
        "W2 was still falling: try pf.simulate(flow, path, steps=150)"
    ]
    further = eval(told.advice[0].changes[0].code, {"pf": pf, "flow": flow, "path": path})
    assert further.summary().w2_end < 0.9 * told.w2_end


def test_advice_to_go_on_names_metrics_that_must_be_passed_again() -> None:
    flow, x, y = pf.kale_flow(KERNEL, lam=0.1), start(), rings()
    metrics = {"W2": W2(), "MMD": pf.metrics.MMD(KERNEL)}
    told = pf.simulate(flow, x, y, steps=150, metrics=metrics).summary()
    assert told.advice[0].changes[0].code == "pf.simulate(flow, path, steps=150, metrics=metrics)"


def test_one_step_and_one_particle_are_singular() -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), start()[:1], rings(), steps=1, dt=0.1)
    told = str(path.summary())
    assert ": 1 step of dt" in told
    assert " of 1 particle is more than" in told
    assert "2 records of 1 particle in 2-d" in repr(path)


def test_a_run_that_arrives_above_the_floor_names_its_bound() -> None:
    below, above = (
        pf.simulate(
            pf.mmd_flow(KERNEL), Rings().sample(120, seed=seed), rings(300), steps=1, dt=1e-6
        ).summary()
        for seed in (1, 3)
    )
    assert below.verdict == above.verdict == "arrived"
    assert below.bound is None
    assert above.floor < above.w2_end <= above.bound
    assert f"(floor {above.floor:.2g}, arrived up to {above.bound:.3g})" in str(above)


def test_an_unstable_run_names_the_step_and_the_dt() -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), start(), rings(), steps=30, dt=20.0)
    told = path.summary()
    assert told.verdict == "unstable"
    assert told.unstable_from == path.report["unstable_from"]
    (advice,) = told.advice
    (change,) = advice.changes
    assert change.name == "dt"
    assert f"try dt = {change.value:.2g}; " in path.message
    assert told.message == path.message
    assert path.message in str(told)
    better = pf.simulate(pf.mmd_flow(KERNEL), start(), rings(), steps=30, dt=change.value)
    assert better.status == "completed"


def test_a_diverged_run_keeps_the_advice() -> None:
    path = pf.simulate(pf.mono_flow(KDE(KERNEL)), start(), rings(), steps=30, dt=1e12)
    told = path.summary()
    assert told.verdict == path.status == "diverged"
    (advice,) = told.advice
    assert "times the start's extent away" in advice.seen
    assert advice.changes[0].name == "dt"


def test_a_narrow_bandwidth_is_advised_wider() -> None:
    y = torch.arange(40.0, dtype=torch.float64)[:, None]
    flow = pf.mono_flow(KDE(Gaussian(0.05)))
    path = pf.simulate(flow, y[:30] + 0.4, y, steps=3, dt=1e-4)
    (advice,) = path.summary().advice
    (change,) = advice.changes
    assert change.value == pytest.approx(pf.kernels.default_bandwidth(y), rel=0.05)
    assert path.message.endswith(f"{advice.seen}; e.g. {change}")


def test_an_interrupted_run_is_summed_up() -> None:
    asked: list[int] = []

    def impatient(x: Cloud, y: Cloud) -> float:
        asked.append(1)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return 0.0

    path = pf.simulate(
        pf.mmd_flow(KERNEL), start(), rings(), steps=30, metrics={"impatient": impatient}
    )
    told = path.summary()
    assert told.verdict == path.status == "interrupted"
    assert told.steps == 5
    assert told.w2_start > told.w2_end
    assert "stopped by Ctrl-C after step 5" in str(told)


def test_without_a_target_nothing_is_compared() -> None:
    path = pf.simulate(pf.langevin(pf.samplers.Gaussian(dim=2)), start(), steps=5)
    told = path.summary()
    assert told.verdict == "completed"
    nothing = (told.w2_start, told.w2_end, told.floor, told.strays, told.stray_distance)
    assert nothing == (None,) * 5
    assert told.advice == ()
    assert "there are no target points to compare" in str(told)


def test_too_few_target_points_have_no_floor() -> None:
    told = pf.simulate(pf.mmd_flow(KERNEL), start(), rings()[:3], steps=5).summary()
    assert told.floor is None
    assert "(no floor: too few target points)" in str(told)


def test_a_target_that_moves_is_compared_too() -> None:
    path = pf.simulate(pf.mmd_flow(KERNEL), start(), Minibatch(Rings(), 90), steps=10)
    told = path.summary()
    assert path.target is None
    assert told.w2_start > told.w2_end
    assert told.strays > 0


def test_random_motion_is_no_trend() -> None:
    """Langevin dynamics in its own law: W2 goes up and down by its spread."""
    y = pf.samplers.Gaussian(dim=1).sample(130, seed=0)
    x = pf.samplers.Gaussian(dim=1).sample(110, seed=1) + 0.6
    for seed in range(6):
        path = pf.simulate(moving(lambda z: torch.zeros_like(z)), x, y, steps=20, dt=0.1)
        noisy = replace(
            path,
            particles=path.particles
            + 0.01
            * torch.randn(
                path.particles.shape,
                generator=torch.Generator().manual_seed(seed),
                dtype=torch.float64,
            ),
        )
        assert noisy.nearness.slack == 0
        report = {**noisy.report, "traits": {"random": True}}
        shaken = replace(
            noisy, report={k: v for k, v in report.items() if k not in ("nearness", "strays")}
        )
        assert shaken.nearness.slack > 0
        assert shaken.verdict == "stalled"


# ------------------------------------------------------------------ strays


def test_strays_of_a_lattice() -> None:
    """Each lattice point has a neighbour at 1, so that a stray is farther than 2 from all."""
    axis = torch.arange(5.0, dtype=torch.float64)
    lattice = torch.cartesian_prod(axis, axis, axis)
    x = torch.tensor([[0.5, 0.5, 0.5], [6.0, 4, 4], [6.001, 4, 4], [-3.0, 2, 2]]).double()
    found = strays(Cloud(x), Cloud(lattice))
    assert found is not None
    assert (found.count, found.distance, found.compared) == (2, 2.0, 4)
    order = np.random.default_rng(0).permutation(125)
    assert strays(Cloud(x[[3, 1, 0, 2]]), Cloud(lattice[order])) == found
    assert strays(Cloud(x), Cloud(torch.cat([lattice, lattice]))) == found
    assert strays(Cloud(x), Cloud(lattice), floor=2.5).count == 1


def test_masses_of_zero_do_not_count() -> None:
    line = torch.arange(20.0, dtype=torch.float64)[:, None]
    x = Cloud([[3.0], [40.0], [50.0]], mass=[1.0, 0.0, 2.0])
    y = Cloud(torch.cat([line, line.new_tensor([[50.0]])]), mass=[1.0] * 20 + [0.0])
    found = strays(x, y)
    assert (found.count, found.distance, found.compared) == (1, 2.0, 2)


def test_weighted_clouds_against_the_closed_form() -> None:
    """All particles in one place a: W2^2 = sum_j m_j (y_j - a)^2."""
    y, mass = torch.tensor([[0.0], [1.0], [2.0], [5.0], [6.0]]).double(), [1.0, 2, 3, 4, 0]
    x0 = Cloud([[3.0]] * 4, mass=[1.0, 2, 3, 4])
    target = Cloud(y, mass=mass)
    told = pf.simulate(moving(lambda z: torch.zeros_like(z)), x0, target, steps=2, dt=1.0).summary()
    assert told.w2_end == pytest.approx(math.sqrt((9 + 2 * 4 + 3 * 1 + 4 * 4) / 10), rel=1e-9)
    assert told.strays == 0


def test_one_place_has_no_strays() -> None:
    assert strays(Cloud(torch.zeros(3, 2)), Cloud(torch.ones(7, 2))) is None


@pytest.mark.parametrize("law", ["rings", "line", "gauss"])
def test_a_fresh_sample_has_hardly_a_stray(law: str) -> None:
    draw = {
        "rings": lambda n, seed: Rings().sample(n, seed=seed),
        "line": lambda n, seed: pf.samplers.Gaussian(dim=1).sample(n, seed=seed),
        "gauss": lambda n, seed: pf.samplers.Gaussian(dim=5).sample(n, seed=seed),
    }[law]
    counts = [
        strays(Cloud(draw(240, 100 + seed)), Cloud(draw(300, seed))).count for seed in range(10)
    ]
    assert np.mean(counts) < 2
    assert max(counts) < 6


def test_large_clouds_are_drawn_and_say_so() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6000, 2)), rng.normal(size=(5500, 2))
    x[:3000] += 40
    found = strays(Cloud(torch.from_numpy(x)), Cloud(torch.from_numpy(y)))
    assert 4000 < found.compared <= 5000
    assert found.count == pytest.approx(found.compared / 2, rel=0.05)
    assert re.fullmatch(
        r"\d+ of \d+ drawn particles are more than \S+ from the target \(\d+ of its points drawn\)",
        found.said(6000),
    )
    path = pf.simulate(moving(lambda z: -z), x, y, steps=2, dt=0.01)
    assert path.summary().drawn == 300
    assert ", of 300 drawn)" in str(path.summary())


# ------------------------------------------------------------------ advice


def test_advice_is_one_text_with_two_renderings() -> None:
    advice = Advice(
        "3 particles are lost", (Change("noise", None, "noise=0.5"), Change("dt", 0.1, "dt = 0.1"))
    )
    assert str(advice) == "3 particles are lost: try noise=0.5 or dt = 0.1"
    assert advice.said(lambda change: f"--{change.name}") == (
        "3 particles are lost: try --noise or --dt"
    )
    assert advice.said(lambda change: "") == "3 particles are lost"
    assert advised({"advice": [advice.kept()]}) == (advice,)


def test_a_summary_survives_a_file(tmp_path: Path) -> None:
    for dt in (0.1, 20.0):
        path = pf.simulate(pf.mmd_flow(KERNEL), start(), rings(), steps=8, dt=dt)
        again = pf.Trajectory.load(path.save(tmp_path / "run.npz"))
        assert again.summary() == path.summary()
        assert again.report == path.report


# ------------------------------------------------------------------ the command line


def printed_rows(printed: str) -> dict[str, str]:
    """The rows of the table by flow."""
    rows = re.findall(r"^  [vox] (\S+) +.*$", printed, re.MULTILINE)
    return {
        flow: next(line for line in printed.splitlines() if f" {flow} " in line[3:])
        for flow in rows
    }


@pytest.mark.usefixtures("unchecked")
def test_the_command_line_gives_the_verdict_first_and_advice_in_flags(tmp_path, capsys):
    call = ["compare", "--target", "rings", "--flows", "mmd,mono", "--integrator", "euler"]
    assert main([*call, "--film", "none", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    told = {
        name: pf.Trajectory.load(tmp_path / f"{name}.npz").summary() for name in ("mmd", "mono")
    }
    table = printed[printed.index("    flow ") :].splitlines()
    floor = rf"W2 \(floor {told['mmd'].floor:.2g}\)"
    assert re.fullmatch(rf"    flow +ended +{floor} +dt +time", table[0])
    ends = f"{told['mmd'].w2_start:.3g} -> {told['mmd'].w2_end:.3g}"
    lost = f"{told['mmd'].strays} of 240 particles are more than {told['mmd'].stray_distance:.2g}"
    assert re.fullmatch(
        rf"  o mmd +stalled +{ends} +\S+ +\S+ s +{lost} from the target: try --flow auto or"
        " --flow mmd-noise or --flow mono",
        table[1],
    )
    assert re.fullmatch(r"  v mono +arrived +\S+ -> \S+ +\S+ +\S+ s", table[2])
    assert table[3].startswith("MMD^2: mmd 0.")
    assert "\x1b" not in printed


@pytest.mark.usefixtures("unchecked")
def test_advice_stands_below_a_row_that_is_too_long(tmp_path, capsys):
    from particleflow.cli.report import Outcome
    from particleflow.cli.table import table
    from particleflow.cli.task import task

    made = task(
        {
            "n": 12,
            "m": 17,
            "steps": 4,
            "target": "rings",
            "start": "gaussian",
            "start_mean": [9.0, 9.0],
        },
        ["mmd"],
    )
    plan = made.plans["mmd"]
    path = pf.simulate(plan.flow, made.x0, made.y, steps=4, dt=plan.dt, metrics=made.metrics)
    outcome = Outcome(paths={"mmd": path})
    text = {
        width: "".join(piece for piece, _ in table(made, outcome, width)) for width in (None, 60)
    }
    assert " ".join(text[60].split()) == " ".join(text[None].split())
    assert len(text[None].splitlines()) < len(text[60].splitlines())
    for line in text[60].splitlines()[1:]:
        assert len(line) <= 60 or not line.startswith("      ")


def line_of(terminal: int) -> bytes:
    """What a terminal got, up to the end of its line."""
    got = b""
    while not got.endswith(b"\n"):
        got += os.read(terminal, 100)
    return got


def test_colours_are_for_terminals_only(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    try:
        with open(follower, "w", closefd=False) as terminal:
            pieces = [("v", Style.GREEN), (" mono\x1b[2J\n", Style.PLAIN)]
            Output(terminal, keep="\n\t").styled(pieces)
            assert line_of(leader) == b"\x1b[32mv\x1b[0m mono\\x1b[2J\r\n"
            monkeypatch.setenv("NO_COLOR", "1")
            Output(terminal, keep="\n\t").styled(pieces)
            assert line_of(leader) == b"v mono\\x1b[2J\r\n"
    finally:
        os.close(follower)
        os.close(leader)


def test_pictures_and_pages_show_the_floor_of_the_summary() -> None:
    x0, target = Rings().sample(20, seed=1), Rings().sample(30, seed=0)
    metrics = {"W2": W2(), "distance": W2()}
    path = pf.simulate(pf.mmd_flow(Gaussian(0.3)), x0, target, steps=3, metrics=metrics)
    least = path.summary().floor
    assert [floor_of(path, name) for name in metrics] == [least, least]
    assert f'"floor":{least:.12g}'.rstrip("0") in page({"": path})


def test_a_recorded_w2_is_said_once() -> None:
    x0, target = Rings().sample(20, seed=1), Rings().sample(30, seed=0)
    path = pf.simulate(
        pf.mmd_flow(Gaussian(0.3)), x0, target, steps=3, metrics={"W2": W2(), "half": half_of_w2}
    )
    assert str(path.summary()).count("W2") == 1
    assert "half 0." in str(path.summary())


def half_of_w2(x: Cloud, y: Cloud) -> float:
    return W2()(x, y) / 2
