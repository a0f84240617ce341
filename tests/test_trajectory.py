"""What a run leaves: recorded, written, read back, gone on from; files that are none."""

from __future__ import annotations

import json
import math
import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import particleflow as pf
from particleflow.clouds import Cloud, Replay
from particleflow.estimators import KALE, MMD
from particleflow.kernels import Gaussian
from particleflow.saving import SaveAt
from particleflow.trajectory import Trajectory

KERNEL = Gaussian(0.8)


def normal(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


X, Y = 0.6 * normal(13, 2, 0, 0.9), normal(17, 2, 1)


def weighted(points: Tensor, seed: int) -> Cloud:
    return Cloud(
        points,
        log_mass=torch.from_numpy(
            np.random.default_rng(seed).dirichlet(2 * np.ones(len(points)))
        ).log(),
    )


def run(**changes) -> Trajectory:
    settings = {
        "steps": 6,
        "dt": 0.02,
        "save": SaveAt(every=2, velocity=True),
        "metrics": {"W2": pf.metrics.W2(), "MMD2": pf.metrics.MMD2(KERNEL)},
    }
    return pf.simulate(pf.Flow(KALE(KERNEL, lam=0.1)), X, Y, **(settings | changes))


def test_shapes_types_and_names() -> None:
    path = run()
    assert path.particles.shape == (4, 13, 2)
    assert path.times.shape == path.energy.shape == path.metrics["W2"].shape == (4,)
    assert path.times.dtype == path.energy.dtype == path.metrics["W2"].dtype == torch.float64
    assert path.steps.dtype == torch.int64
    assert path.velocity is not None
    assert path.velocity.shape == (4, 13, 2)
    assert len(path) == 4
    assert path.status == "completed"
    assert path.state.clock.step == 6
    assert torch.equal(path.state.x.points, path.particles[-1])
    assert torch.equal(path.cloud(1).points, path.particles[1])
    assert path.cloud(1).log_mass is None


def test_repr_says_how_it_went() -> None:
    path = run(metrics={"W2": lambda x, y: 0.5})
    assert (
        repr(path)
        == "Trajectory(completed, arrived at step 6, t = 0.12; 4 records of 13 particles in 2-d, W2"
        " 0.5 -> 0.5)"
    )
    assert (
        repr(run(metrics=None))
        == "Trajectory(completed, arrived at step 6, t = 0.12; 4 records of 13 particles in 2-d)"
    )


def test_numpy_holds_everything() -> None:
    path = run()
    arrays = path.numpy()
    assert set(arrays) == {
        "particles",
        "times",
        "steps",
        "energy",
        "target",
        "velocity",
        "W2",
        "MMD2",
    }
    assert all(isinstance(a, np.ndarray) for a in arrays.values())
    assert np.array_equal(arrays["particles"], path.particles.numpy())
    assert np.array_equal(arrays["W2"], path.metrics["W2"].numpy())
    plain = pf.simulate(pf.langevin(pf.samplers.Gaussian(dim=2)), X, steps=2, dt=0.1)
    assert set(plain.numpy()) == {"particles", "times", "steps", "energy"}


def test_energy_is_nan_where_there_is_none() -> None:
    path = pf.simulate(pf.langevin(lambda z: -z), X, steps=2, dt=0.1)
    assert bool(path.energy.isnan().all())


@pytest.mark.parametrize(
    "kind", ["plain", "float32", "weighted", "no target", "diverged", "long name"]
)
def test_what_is_saved_comes_back(kind: str, tmp_path: Path) -> None:
    match kind:
        case "plain":
            path = run()
        case "float32":
            path = pf.simulate(pf.mmd_flow(KERNEL), X.float(), Y.float(), steps=3, dt=0.1)
        case "weighted":
            path = pf.simulate(pf.mmd_flow(KERNEL), weighted(X, 1), weighted(Y, 2), steps=3, dt=0.1)
        case "no target":
            path = pf.simulate(pf.langevin(pf.samplers.Gaussian(dim=2)), X, steps=3, dt=0.1, seed=8)
        case "diverged":
            path = pf.simulate(
                pf.Flow(pf.estimators.ClosedForm(lambda z: -(z**3))), X, steps=50, dt=2.0
            )
        case _:
            path = run(metrics={"a/b: c": lambda x, y: math.nan})
    file = tmp_path / "run.npz"
    assert path.save(file) == file
    assert os.listdir(tmp_path) == ["run.npz"]
    back = Trajectory.load(file)
    expected, found = path.numpy(), back.numpy()
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array, equal_nan=array.dtype.kind == "f")
    assert (back.status, back.message, back.report) == (path.status, path.message, path.report)
    assert list(back.metrics) == list(path.metrics)
    assert back.state.clock == path.state.clock
    assert torch.equal(back.state.x.points, path.state.x.points)
    for group in ("memory", "stepper"):
        mine, other = getattr(path.state, group), getattr(back.state, group)
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[k], other[k]) for k in mine)
    assert repr(back) == repr(path)


def test_a_file_needs_numpy_alone_and_no_pickle(tmp_path: Path) -> None:
    path = run()
    with np.load(path.save(tmp_path / "run.npz"), allow_pickle=False) as file:
        assert np.array_equal(file["particles"], path.particles.numpy())
        facts = json.loads(str(file["facts"]))
    assert facts["status"] == "completed"
    assert facts["report"]["dt"] == 0.02


def test_saving_again_replaces_and_a_string_is_a_path(tmp_path: Path) -> None:
    file = str(tmp_path / "run.npz")
    run().save(file)
    run(steps=2).save(file)
    assert len(Trajectory.load(file)) == 2


def test_a_weighted_target_survives_where_the_run_goes_on_without_naming_it(tmp_path: Path) -> None:
    flow, x, y = pf.mmd_flow(KERNEL), weighted(X, 1), weighted(Y, 2)
    whole = pf.simulate(flow, x, y, steps=6, dt=0.1)
    half = pf.simulate(flow, x, y, steps=3, dt=0.1)
    assert torch.equal(pf.simulate(flow, half, steps=3).particles, whole.particles)
    loaded = Trajectory.load(half.save(tmp_path / "half.npz"))
    assert torch.equal(pf.simulate(flow, loaded, steps=3).particles, whole.particles)


def test_a_loaded_run_goes_on_where_the_first_stood(tmp_path: Path) -> None:
    flow = pf.mmd_flow(KERNEL, noise=0.3)
    whole = pf.simulate(flow, X, Y, steps=8, dt=0.1, seed=4)
    half = Trajectory.load(
        pf.simulate(flow, X, Y, steps=3, dt=0.1, seed=4).save(tmp_path / "half.npz")
    )
    rest = pf.simulate(flow, half, steps=5)
    assert torch.equal(rest.particles, whole.particles)
    assert torch.equal(rest.times, whole.times)
    assert rest.report["seed"] == 4


def test_recorded_noise_is_not_saved_and_going_on_without_it_says_so(tmp_path: Path) -> None:
    flow, noise = (
        pf.mmd_flow(KERNEL, noise=0.3),
        {"noise": np.stack([normal(13, 2, k) for k in range(6)])},
    )
    whole = pf.simulate(flow, X, Y, steps=6, dt=0.1, draws=Replay(noise))
    half = Trajectory.load(
        pf.simulate(flow, X, Y, steps=3, dt=0.1, draws=Replay(noise)).save(tmp_path / "half.npz")
    )
    with pytest.raises(ValueError, match=r"`draws`"):
        pf.simulate(flow, half, steps=3)
    assert torch.equal(
        pf.simulate(flow, half, steps=3, draws=Replay(noise)).particles, whole.particles
    )
    assert pf.simulate(pf.mmd_flow(KERNEL), half, steps=3).status == "completed"


# ---- files that are none
# --------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nothing.npz"
    with pytest.raises(
        FileNotFoundError,
        match=re.escape(f"`path` must be a saved trajectory, and there is no file '{file}'"),
    ):
        Trajectory.load(file)


@pytest.mark.parametrize(
    "kind", ["text", "truncated", "half", "other npz", "empty", "npy", "no particles", "folder"]
)
def test_a_file_that_is_none_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "run.npz"
    good = run().save(file).read_bytes()
    match kind:
        case "text":
            file.write_text("x,y\n1,2\n")
        case "truncated":
            file.write_bytes(good[:-40])
        case "half":
            file.write_bytes(good[: len(good) // 2])
        case "other npz":
            np.savez(file, a=np.zeros(3))
        case "empty":
            file.write_bytes(b"")
        case "npy":
            with file.open("wb") as stream:
                np.save(stream, np.zeros(3))
        case "no particles":
            with np.load(file) as arrays:
                rest = {k: arrays[k] for k in arrays.files if k != "particles"}
            np.savez(file, **rest)
        case "folder":
            file.unlink()
            file.mkdir()
    words = f"`path` must be a file written by Trajectory.save, and '{file}' is not: "
    words += "it is a folder, and holds no run" if kind == "folder" else ""
    with pytest.raises(ValueError, match=re.escape(words)):
        Trajectory.load(file)


def test_damage_anywhere_is_noticed_or_without_effect(tmp_path: Path) -> None:
    """Without effect: a date or a size in one of the archive's headers that stands in its directory
    too.
    """
    file, path = tmp_path / "run.npz", run()
    good = path.save(file).read_bytes()
    noticed = []
    for start in range(0, len(good) - 20, len(good) // 60):
        file.write_bytes(
            good[:start] + bytes(255 - b for b in good[start : start + 20]) + good[start + 20 :]
        )
        try:
            read = Trajectory.load(file)
        except ValueError as error:
            noticed.append(str(error))
        else:
            now, then = read.numpy(), path.numpy()
            assert now.keys() == then.keys()
            assert all(
                np.array_equal(now[name], then[name], equal_nan=now[name].dtype.kind == "f")
                for name in then
            )
            assert read.report == path.report
    assert len(noticed) >= 45
    assert all(
        told.startswith(f"`path` must be a file written by Trajectory.save, and '{file}' is not: ")
        for told in noticed
    )


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    file = run().save(tmp_path / "run.npz")
    with np.load(file) as arrays:
        content = {k: arrays[k] for k in arrays.files}
    facts = json.loads(str(content.pop("facts"))) | {"format": 99}
    np.savez(file, facts=np.array(json.dumps(facts)), **content)
    with pytest.raises(
        ValueError, match=r"has format 99, this version reads 1: install the version that wrote it"
    ):
        Trajectory.load(file)


def test_a_name_without_npz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in \.npz, got '.*run\.txt'"):
        run().save(tmp_path / "run.txt")
    assert os.listdir(tmp_path) == []


def test_a_path_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """A folder that is missing, and a file in the place of one: works also for a user to whom
    permissions mean nothing.
    """
    path = run()
    (tmp_path / "file").write_text("")
    for file in (tmp_path / "missing" / "run.npz", tmp_path / "file" / "run.npz"):
        message = (
            re.escape(f"`path` '{file}' could not be written: ")
            + r".+: choose a folder that exists and is writable"
        )
        with pytest.raises(OSError, match=message):
            path.save(file)


def test_an_old_file_survives_a_write_that_fails(tmp_path: Path) -> None:
    file = run().save(tmp_path / "run.npz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match=r"could not be written"):
            run(steps=2).save(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(Trajectory.load(file)) == 4
    assert [left.name for left in tmp_path.iterdir()] == ["run.npz"]


# ---- SaveAt
# --------------------------------------------------------------------------------------------------


def test_save_at_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(
        ValueError, match=r"pass `every` or `steps`, not both, got every=2 and steps=\[1, 2\]"
    ):
        SaveAt(every=2, steps=[1, 2])
    with pytest.raises(ValueError, match="`every` must be >= 1, got 0"):
        SaveAt(every=0)
    with pytest.raises(ValueError, match="`steps` must be >= 0, got -1"):
        SaveAt(steps=[3, -1])


def test_going_on_saves_multiples_of_every_counted_from_the_very_start() -> None:
    half = pf.simulate(pf.Flow(MMD(KERNEL)), X, Y, steps=5, dt=0.1, save=SaveAt(every=4))
    whole = pf.simulate(pf.Flow(MMD(KERNEL)), half, steps=5, save=SaveAt(every=4))
    assert half.steps.tolist() == [0, 4, 5]
    assert whole.steps.tolist() == [0, 4, 5, 8, 10]


@pytest.mark.parametrize(
    "save",
    [SaveAt(), SaveAt(every=1), SaveAt(every=7), SaveAt(steps=[0, 3, 40, 40, 41, 900])],
    ids=str,
)
def test_what_will_be_recorded_is_counted_without_a_walk_over_all_steps(save: SaveAt) -> None:
    for first, last in ((0, 1), (0, 41), (3, 40), (14, 28), (5, 350), (7, 8)):
        assert save.between(first, last) == sum(map(save.wants(last), range(first + 1, last)))
    assert SaveAt(every=10**8).between(10**8, 10**10) == 98
    assert SaveAt().between(0, 10**10) == 99
