"""A flow on the command line is one record: added here, it is listed, helped, run and refused."""

from __future__ import annotations

import pytest

from particleflow import Trajectory
from particleflow.cli import main, names, options
from particleflow.cli.maker import Maker
from particleflow.cli.records import Flow

GENTLE = Flow(
    name="gentle",
    line="KALE's flow at its own pace",
    where="particleflow.flows:kale_flow",
    arguments=("kernel", "lam", "pairwise"),
    options=("rtol", "lam"),
    defaults={"lam": 0.7},
)
QUICK = [
    "--n",
    "11",
    "--m",
    "17",
    "--steps",
    "3",
    "--dt",
    "1e-3",
    "--metrics",
    "mmd2",
    "--film",
    "none",
]


@pytest.fixture
def gentle(monkeypatch):
    monkeypatch.setitem(names.FLOWS, "gentle", GENTLE)


def refused(capsys, *arguments):
    assert main(["run", "--flow", "gentle", *arguments]) == 2
    return capsys.readouterr().err.removeprefix("particleflow: error: ").strip()


@pytest.mark.usefixtures("gentle")
def test_a_record_is_a_flow_that_runs_and_repeats(tmp_path, capsys):
    assert main(["run", "--flow", "gentle", *QUICK, "--out", str(tmp_path / "a")]) == 0
    assert "gentle  steps 3, dt 0.001, integrator euler, rtol 1e-05, lam 0.7\n" in (
        capsys.readouterr().out
    )
    assert "[gentle]\nsteps = 3\n" in (tmp_path / "a" / "config.toml").read_text()
    config = str(tmp_path / "a" / "config.toml")
    assert main(["run", "--config", config, "--out", str(tmp_path / "b")]) == 0
    one, two = (Trajectory.load(tmp_path / name / "trajectory.npz") for name in "ab")
    assert one.particles.equal(two.particles)
    assert not one.particles[0].equal(one.particles[-1])


@pytest.mark.usefixtures("gentle")
def test_a_record_is_listed_and_suggested(capsys):
    assert main(["list"]) == 0
    assert "  gentle              KALE's flow at its own pace\n" in capsys.readouterr().out
    assert main(["run", "--flow", "gentel"]) == 2
    assert "langevin, gentle, got 'gentel'; did you mean 'gentle'?" in capsys.readouterr().err
    assert main(["gentle"]) == 2
    assert "did you mean 'run --flow gentle'?" in capsys.readouterr().err


@pytest.mark.usefixtures("gentle")
def test_a_record_takes_its_own_options_alone(tmp_path, capsys):
    said = refused(capsys, "--beta", "1")
    assert said == "--beta is an option of mmd-noise, got the flows gentle: leave it out"
    assert refused(capsys, "--lam", "0").startswith("--lam must be > 0, got 0")
    (tmp_path / "c.toml").write_text("[gentle]\nshift = 1\n")
    said = refused(capsys, "--config", str(tmp_path / "c.toml"))
    assert said.startswith("`shift` in [gentle] of ")
    assert "is not a setting" in said


@pytest.mark.parametrize("name", names.FLOWS)
def test_a_flow_asks_for_no_option_that_its_record_does_not_take(name, monkeypatch, tmp_path):
    asked = set()
    value = Maker.value

    def watched(maker, option, *others):
        asked.add(option)
        return value(maker, option, *others)

    monkeypatch.setattr(Maker, "value", watched)
    call = ["run", "--flow", name, "--target", "gaussian", *QUICK, "--out", str(tmp_path)]
    assert main(call) == 0
    assert asked <= {*names.FLOWS[name].takes}


def test_every_option_of_a_record_is_an_option():
    for flow in names.FLOWS.values():
        assert {*flow.takes} <= {*options.BY_NAME}
