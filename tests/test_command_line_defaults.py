"""The command line's own choices: flows arrive with them, each can be overruled, and each flow may
have a kernel of its own.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import particleflow as pf
from particleflow import automatic
from particleflow._refusals import RefusedValueError
from particleflow.cli import defaults, main, report, studies, toml
from particleflow.cli.task import task as task_of
from particleflow.integrators import Euler, Paced
from particleflow.kernels import IMQ, Energy, Gaussian

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(70, 2))
POINTS = {
    "far": NORMAL,
    # a fourteenth at 25 deviations
    "outliers": NORMAL + np.where(np.arange(70) < 5, 25.0, 0.0)[:, None],
    "duplicates": np.repeat(NORMAL[:14], 5, axis=0),
}
FAR = {"start": "gaussian", "start_mean": [5.0, 0.0], "start_std": 0.5}


def refused(text):
    return pytest.raises(RefusedValueError, match=re.escape(text))


def run_of(task, name):
    plan = task.plans[name]
    return pf.simulate(
        plan.flow,
        task.x0,
        task.y,
        steps=plan.steps,
        dt=plan.dt,
        integrator=plan.integrator,
        save=pf.SaveAt(every=plan.steps),
    )


@pytest.mark.parametrize(
    "name", ["far", "outliers", pytest.param("duplicates", marks=pytest.mark.slow)]
)
def test_the_recommended_flow_arrives(name, tmp_path):
    np.save(tmp_path / "points.npy", POINTS[name])
    settings = {"target": str(tmp_path / "points.npy"), "n": 50} | (FAR if name == "far" else {})
    path = run_of(task_of(settings, ["auto"]), "auto")
    assert path.summary().verdict == "arrived"


def test_particles_that_start_in_one_place_are_moved_apart():
    np_one = {"start": "gaussian", "start_mean": [0.3], "start_std": 1e-300, "n": 30, "m": 40}
    path = run_of(task_of({"target": "gaussian", "steps": 200, **np_one}, ["auto"]), "auto")
    assert len(path.state.x.points.unique(dim=0)) == 30


def test_the_written_config_of_a_comparison_repeats_it_bit_for_bit(tmp_path):
    flows = ["auto", "mmd", "kale", "mono"]
    asked = {"target": "moons", "flows": flows, "n": 11, "m": 17, "steps": 5}
    asked |= {"mmd": {"kernel": "energy"}, "kale": {"bandwidth": 0.4}}
    first = task_of(asked, flows)
    toml.write(first.settings, tmp_path / "config.toml", "")
    second = task_of(toml.read(str(tmp_path / "config.toml"), "compare"), flows)
    assert second.settings == first.settings
    for flow in flows:
        one, two = (run_of(task, flow).state.x.points for task in (first, second))
        assert torch.equal(one, two)
    found, usual = first.settings, first.settings["bandwidth"]
    kept = {flow: (found[flow]["kernel"], found[flow].get("bandwidth")) for flow in flows}
    assert kept == {
        "auto": ("imq", usual),
        "mmd": ("energy", None),
        "kale": ("gaussian", 0.4),
        "mono": ("gaussian", usual),
    }
    assert {found[flow]["integrator"] for flow in flows} == {"paced"}


def test_each_flow_has_its_own_kernel_and_the_metrics_that_of_all():
    settings = {"n": 11, "m": 17, "steps": 3, "bandwidth": 0.3, "mmd": {"kernel": "energy"}}
    settings["mmd-noise"] = {"bandwidth": 0.7}
    task = task_of(settings, ["auto", "mmd", "mmd-noise"])
    held = {name: its.flow.estimator for name, its in task.plans.items()}
    assert held["mmd"].kernel == Energy()
    assert held["mmd-noise"].kernel == Gaussian(0.7)
    assert held["auto"].estimator.kernel == IMQ(0.3)
    assert task.metrics["MMD^2"].kernel == Gaussian(0.3)
    told = report.heading(task)
    assert re.search(r"^mmd  .*, kernel energy, anneal 0$", told, re.MULTILINE)
    assert re.search(r"^auto  .*, kernel imq, .*bandwidth [\d.]+ to 0\.3$", told, re.MULTILINE)


def test_the_steps_of_a_comparison_are_enough_for_each_bandwidth():
    settings = {"n": 11, "m": 17, "start_bandwidth": 100.0, "bandwidth": 0.1}
    task = task_of(settings, ["mmd", "mmd-noise"])
    planned = automatic.planned(100.0, 0.1)
    assert [its.steps for its in task.plans.values()] == [planned, planned]
    assert planned > defaults.STEPS
    assert task_of({"n": 11, "m": 17, "dt": 0.1}, ["mmd"]).plans["mmd"].steps == defaults.STEPS
    assert defaults.ANNEAL == automatic.SHARE


@pytest.mark.parametrize(
    ("flow", "given", "integrator", "anneal"),
    [
        ("mmd", {}, Paced, 0.6),
        ("mmd", {"dt": 0.1}, Euler, 0.0),
        ("mmd", {"integrator": "euler"}, Euler, 0.0),
        ("mmd", {"integrator": "paced", "dt": 0.1}, Paced, 0.6),
        ("mmd", {"anneal": 0.3}, Paced, 0.3),
        ("mmd", {"anneal": 0.0}, Paced, 0.0),
        ("mmd", {"anneal": 0.3, "integrator": "euler"}, Euler, 0.3),
        ("mmd", {"kernel": "energy"}, Paced, 0.0),
        ("kale", {}, Paced, 0.6),
        ("mono", {"ratio": "ulsif"}, Paced, 0.6),
        ("mono", {"ratio": "classifier", "first_steps": 2}, Euler, 0.0),
        ("mmd-noise", {}, Euler, None),
        ("w1", {}, Euler, None),
    ],
)
def test_what_is_chosen_and_what_overrules_it(flow, given, integrator, anneal):
    task = task_of({"n": 11, "m": 17, "steps": 3, **given}, [flow])
    plan = task.plans[flow]
    assert type(plan.integrator) is integrator
    assert task.settings[flow].get("anneal") == anneal
    assert plan.flow.annealed is bool(anneal)
    assert ("start_bandwidth" in task.settings[flow]) is bool(anneal)


@pytest.mark.parametrize(
    ("flow", "settings", "text"),
    [
        ("mmd", {"kernel": "energy", "anneal": 0.5}, "`anneal` is for the kernel gaussian, "),
        ("mmd-noise", {"integrator": "paced"}, "`integrator` must have steps of one length for mm"),
        ("w1", {"integrator": "paced"}, "`integrator` must have steps of one length for w1, whose"),
        ("mmd", {"start_bandwidth": 0.1, "bandwidth": 0.2}, "`start_bandwidth` must be at least"),
        ("mono", {"ratio": "classifier", "mono": {"kernel": "imq"}}, "`kernel` is for the ratio"),
        ("mmd", {"mmd": {"kernel": "energy", "bandwidth": 1.0}}, "`bandwidth` is for the kernel"),
        ("kale", {"kale": {"kernel": "energy"}}, "`kernel` energy is not positive, which kale"),
    ],
)
def test_what_cannot_be_names_the_setting(flow, settings, text):
    with refused(text):
        task_of({"n": 11, "m": 17, "steps": 3, **settings}, [flow])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--flow", "mmd-noise", "--anneal", "0.5"],
            "--anneal is an option of auto, mmd, kale, mo",
        ),
        (["--flow", "mmd", "--anneal", "1.5"], "--anneal must be <= 1, got 1.5: 1 lets it"),
        (["--flow", "mmd", "--dt", "1", "--start-bandwidth", "2"], "and --anneal is 0"),
        (["--flow", "mmd", "--anneal", "0.5", "--kernel", "energy"], "--anneal is for the kernel"),
    ],
)
def test_flags_that_cannot_be_are_one_line(tmp_path, capsys, flags, said):
    assert main(["run", *flags, "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_columns_of_different_scales_are_told(tmp_path):
    told = []
    for scale in (40.0, 4.0):
        np.save(tmp_path / f"{scale}.npy", NORMAL * [scale, 1.0])
        told.append(task_of({"target": str(tmp_path / f"{scale}.npy"), "dt": 0.1}, ["mmd"]).notes)
    assert re.match(r"target: column 0 is [\d.]+ times as wide as column 1, which", told[0][0])
    assert told[1] == ()


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_a_flow_with_nothing_to_tune_is_run_as_it_is(tmp_path):
    settings = {"n": 9, "m": 11, "steps": 3, "tune": 2, "mmd": {"kernel": "energy"}}
    planned = studies.comparison(settings, ["mmd", "mmd-noise"])
    mmd, noise = planned.study.contenders
    assert dict(mmd.tunable) == {}
    assert {*noise.tunable} == {"beta", "beta_half", "bandwidth", "dt"}
    result = planned.study.run(jobs=1, folder=tmp_path / "rows", progress=False)
    assert {row["role"] for row in result.rows if row["contender"] == "mmd"} >= {"default"}
