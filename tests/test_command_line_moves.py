"""Masses that change and stragglers on the command line: each flag is the constructor of Python,
does nothing elsewhere, and is refused with the reason where it cannot be.
"""

from __future__ import annotations

import re

import pytest
import torch

import particleflow as pf
from particleflow._refusals import RefusedValueError
from particleflow.cli import idle, main, names, toml
from particleflow.cli.options import BY_NAME, in_flags
from particleflow.cli.task import task as task_of
from particleflow.integrators import Euler, Paced
from particleflow.kernels import Gaussian
from particleflow.reactions import FisherRao, ForceTransport
from particleflow.renewals import Rebirth, Resampling

QUICK = ["--n", "11", "--m", "17", "--steps", "3", "--film", "none", "--metrics", "mmd2"]
# The flows that have a witness with values and a target's points.
MOVED = [name for name in names.FLOWS if name not in ("langevin", "ift")]


def small(**settings):
    return {"n": 11, "m": 17, "steps": 3, "dt": 1e-3, "bandwidth": 0.3} | settings


def flow_of(name, **settings):
    return task_of(small(**settings), [name]).plans[name].flow


def refused(text):
    return pytest.raises(RefusedValueError, match=re.escape(text))


@pytest.mark.parametrize("name", MOVED)
def test_birth_and_death_is_the_constructor_on_every_flow(name):
    plain, moved = flow_of(name), flow_of(name, birth_death=0.7)
    assert plain.reaction is None
    assert plain.renewals == ()
    assert moved.reaction == FisherRao(0.7)
    assert moved.renewals == (Resampling(0.5),)
    assert moved.estimator == plain.estimator
    assert flow_of(name, birth_death=0.7, resample=0.0).renewals == ()
    assert flow_of(name, birth_death=0.0) == plain


def test_the_mass_stays_and_the_table_says_what_was_chosen():
    task = task_of(small(birth_death=2.0, steps=5, dt=0.2), ["mmd", "kale"])
    plan = task.plans["mmd"]
    path = pf.simulate(plan.flow, task.x0, task.y, steps=plan.steps, dt=plan.dt)
    mass = path.log_mass.exp()
    assert torch.allclose(mass.sum(1), torch.ones(len(mass), dtype=mass.dtype), rtol=0, atol=1e-12)
    assert float((mass[-1] - mass[0]).abs().max()) > 1e-3
    assert {"birth_death": 2.0, "resample": 0.5}.items() <= task.settings["mmd"].items()
    assert not {"birth_death", "stragglers", "beyond"} & {
        *task_of(small(), ["mmd"]).settings["mmd"]
    }


def test_ift_is_force_transport_of_its_own_kernel():
    flow = flow_of("ift")
    assert flow == pf.ift_flow(Gaussian(0.3), 1.0, pairwise=flow.estimator.pairwise)
    assert flow_of("ift", birth_death=3.0, resample=0.2).reaction == ForceTransport(
        Gaussian(0.3), 3.0
    )
    task = task_of({"n": 11, "m": 17, "steps": 3}, ["ift"])
    assert task.settings["ift"]["birth_death"] == 1.0
    assert isinstance(task.plans["ift"].integrator, Euler)


def test_a_flag_for_all_reaches_the_flows_that_take_it():
    task = task_of(small(birth_death=1.0, target="gaussian"), ["mmd", "langevin"])
    assert task.plans["mmd"].flow.reaction == FisherRao(1.0)
    assert task.plans["langevin"].flow.reaction is None
    assert "birth_death" not in task.settings["langevin"]


def test_stragglers_are_told_pulled_or_reborn():
    bare, told = flow_of("mmd"), flow_of("mmd", stragglers="told")
    assert told == pf.stragglers(bare)
    assert flow_of("mmd", stragglers="pulled") == pf.stragglers(bare, pull=pf.kernels.Energy())
    reborn = flow_of("mmd", stragglers="reborn", beyond=0.4, birth_death=1.0)
    assert reborn.renewals == (Rebirth(0.4), Resampling(0.5))
    assert reborn.reaction == FisherRao(1.0)
    table = task_of(small(stragglers="told"), ["mmd"]).settings["mmd"]
    assert (table["stragglers"], table["beyond"]) == ("told", pytest.approx(0.9))
    assert flow_of("w1", stragglers="told", beyond=2.0).estimator.beyond == 2.0


def test_where_the_bandwidth_falls_stragglers_are_beyond_its_last_reach():
    task = task_of({"n": 11, "m": 17, "bandwidth": 0.3, "stragglers": "told"}, ["mmd"])
    flow = task.plans["mmd"].flow
    assert flow.annealed
    assert flow.estimator.beyond == pytest.approx(0.9)
    assert isinstance(task.plans["mmd"].integrator, Paced)


def test_who_pulls_steps_evenly_and_no_farther_than_the_kernel_allows():
    """The velocity of a straggler jumps: no pace follows it. The rate of the kernel near the target
    is that without the pull.
    """
    settings = {"n": 11, "m": 17, "steps": 3, "bandwidth": 0.1}
    pulled = task_of({**settings, "stragglers": "pulled"}, ["mmd"]).plans["mmd"]
    assert isinstance(pulled.integrator, Euler)
    assert not pulled.flow.annealed
    plain = task_of({**settings, "anneal": 0.0, "integrator": "euler"}, ["mmd"]).plans["mmd"]
    assert pulled.dt <= plain.dt


def test_a_run_tells_what_happened_and_is_repeated_bit_for_bit(tmp_path, capsys):
    flags = ["--flow", "mmd", "--start", "four-gaussians", "--stragglers", "reborn"]
    flags += ["--birth-death", "4", "--resample", "0.9", "--bandwidth", "0.1", "--dt", "0.05"]
    assert main(["run", *flags, *QUICK, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^mmd: beyond reach: \d+ particles at the start, \d+ at the end$", said, re.M)
    assert re.search(r"^mmd: reborn: \d times?, \d+ particles?$", said, re.M)
    path = pf.Trajectory.load(tmp_path / "trajectory.npz")
    task = task_of(toml.read(str(tmp_path / "config.toml"), "run"), ["mmd"])
    plan = task.plans["mmd"]
    again = pf.simulate(plan.flow, task.x0, task.y, steps=3, dt=plan.dt, seed=task.seed)
    assert torch.equal(path.particles[-1], again.particles[-1])
    assert torch.equal(path.log_mass[-1], again.log_mass[-1])
    assert path.report["renewals"] == again.report["renewals"]


REFUSED = {
    "--flow langevin --target gaussian --birth-death 1": (
        "--birth-death is an option of auto, mmd, mmd-noise, kale, mono, w1, ift, got the flows"
        " langevin: leave it out"
    ),
    "--flow langevin --target gaussian --stragglers told": "--stragglers is an option of auto, mmd",
    "--flow mmd --birth-death -1": "--birth-death must be >= 0, got -1",
    "--flow ift --birth-death 0": (
        "--birth-death must be > 0, got 0: leave it out, or take --flow mmd"
    ),
    "--flow mmd --resample 0.3": (
        "--resample is for masses that change, and these stay the same: leave it out, or add"
        " --birth-death 1"
    ),
    "--flow mmd --birth-death 0 --resample 0.3": "--resample is for masses that change",
    "--flow mmd --birth-death 1 --resample 1": "--resample must be <= 0.99, got 1: 0.5 is usual",
    "--flow mmd --beyond 2": (
        "--beyond is where stragglers begin, and nobody looks for them: leave it out, or add"
        " --stragglers told"
    ),
    "--flow mmd --stragglers rebirth": (
        "--stragglers must be one of none, told, pulled, reborn, got 'rebirth'; did you mean"
        " 'reborn'?"
    ),
    "--flow auto --stragglers told": (
        "--beyond must be given for auto with the kernel imq, which states no reach: give a"
        " distance to the nearest target point"
    ),
    "--flow w1 --stragglers told": "--beyond must be given for w1 with no kernel",
    "--flow ift --kernel energy": "--kernel energy is not positive, which ift needs",
    "--flow ift --stragglers pulled": "--stragglers is of no use beside force transport",
    "--flow mono --mobility vanilla --stragglers pulled": (
        "--stragglers needs a flow whose mobility has a constant slope, got Vanilla(shift=0.0):"
        " its slope would rescale the pull: use --stragglers reborn"
    ),
    "--flow mmd --stragglers pulled --integrator paced": (
        "--integrator must have steps of one length for mmd"
    ),
    "--flow mmd --integrator descent --birth-death 1": "it lowers the energy of a conservative",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_is_refused(flags, tmp_path, capsys):
    assert main(["run", *flags.split(), *QUICK, "--out", str(tmp_path)]) == 2
    assert REFUSED[flags] in capsys.readouterr().err


def test_the_page_has_no_masses(capsys):
    with pytest.raises(SystemExit):
        main(["live", "--help"])
    said = capsys.readouterr().out
    assert not any(BY_NAME[name].flag in said for name in names.MOVES)


def test_in_a_table_of_a_flow_stragglers_are_looked_for_first():
    with refused("`beyond` is for the stragglers told, pulled or reborn"):
        task_of(small() | {"mmd": {"beyond": 2.0}}, ["mmd"])
    assert idle.changing({"mmd": {"birth_death": 1.0}}, "mmd")
    assert not idle.changing({"birth_death": 1.0}, "langevin")


def test_in_python_the_words_are_those_of_python():
    flow = pf.mono_flow(pf.estimators.KDE(), pf.mobilities.Vanilla())
    with pytest.raises(RefusedValueError, match=r"`pull` needs a flow .* use reborn=True") as error:
        pf.stragglers(flow, pull=pf.kernels.Energy(), beyond=1.0)
    assert in_flags(error.value).endswith("use --stragglers reborn")
