"""The start that the command line chooses from the target: it stands for nearly all points, says
which not, and does not ask for their order.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from particleflow import samplers
from particleflow.cli import main, report, starts
from particleflow.cli.task import task as task_of

COUNT = 300


def normal(d, seed=0, count=COUNT):
    return np.random.default_rng(seed).standard_normal((count, d))


def mixture(share, d):
    """share N(-3 e_1, .4^2) + (1 - share) N(2 e_1, .4^2)."""
    points = 0.4 * normal(d)
    points[:, 0] += np.where(np.arange(COUNT) < round(share * COUNT), -3.0, 2.0)
    return points


def three(d):
    points = 0.3 * normal(d)
    points[:, 0] += np.repeat([-4.0, 0.0, 4.0], COUNT // 3)
    return points


def far(d, count, where):
    points = normal(d)
    points[:count] += where
    return points


CLOUDS = {
    **{
        f"{share:g} of a mixture": (lambda d, share=share: mixture(share, d))
        for share in (0.05, 0.15, 0.3, 0.45)
    },
    "three modes": three,
    "heavy tails": lambda d: np.random.default_rng(1).standard_t(2, (COUNT, d)),
    "one far away": lambda d: far(d, 1, 1e6),
    "a twentieth at 30": lambda d: far(d, 15, 30.0),
    "a constant column": lambda d: np.column_stack([mixture(0.3, d), np.full(COUNT, 7.0)]),
    "repeated rows": lambda d: np.round(mixture(0.3, d)),
    "offset": lambda d: mixture(0.3, d) + 5.4e6,
}


def settings_of(points, tmp_path, **given):
    np.save(tmp_path / "points.npy", points)
    return task_of(
        {"target": str(tmp_path / "points.npy"), "dt": 1e-3, "steps": 1, "n": 40} | given,
        ["mmd-noise"],
    )


@pytest.mark.parametrize("d", [1, 2, 10])
@pytest.mark.parametrize("name", CLOUDS)
def test_nine_tenths_or_more_are_kept_and_the_rest_is_told(tmp_path, name, d):
    points = CLOUDS[name](d)
    kept = starts.bulk(torch.tensor(points))
    assert len(kept) >= 0.9 * COUNT
    heading = report.heading(settings_of(points, tmp_path, bandwidth=0.5))
    told = f"start and beta: chosen without {COUNT - len(kept)} of {COUNT} target points, outliers"
    assert (told in heading) == (len(kept) < COUNT)
    if name in ("one far away", "a twentieth at 30"):
        assert COUNT - len(kept) == {"one far away": 1, "a twentieth at 30": 15}[name]
    elif name not in ("0.05 of a mixture", "heavy tails"):
        assert len(kept) == COUNT


@pytest.mark.parametrize("d", [1, 2, 10])
@pytest.mark.parametrize("name", CLOUDS)
def test_the_order_of_the_rows_changes_no_bit_of_the_start(tmp_path, name, d):
    points = CLOUDS[name](d)
    first, second = (
        settings_of(rows, tmp_path, bandwidth=0.5)
        for rows in (points, np.random.default_rng(3).permutation(points))
    )
    assert torch.equal(first.x0, second.x0)
    assert first.settings["mmd-noise"]["beta"] == second.settings["mmd-noise"]["beta"]


def test_the_order_of_the_rows_does_not_turn_a_start_without_a_longest_axis(tmp_path):
    corners = np.array([[x, y] for x in (0.1, 0.4) for y in (0.2, 0.5)]).repeat(5, axis=0)
    rng = np.random.default_rng(0)
    starts = {
        tuple(settings_of(rng.permutation(corners), tmp_path, bandwidth=0.5).settings["start_mean"])
        for _ in range(6)
    }
    assert len(starts) == 1


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("share", [0.15, 0.3])
def test_a_start_reaches_every_mode(tmp_path, share, d):
    """In one of two modes that lie many kernel lengths apart the particles would never feel the
    other.
    """
    task = settings_of(mixture(share, d), tmp_path, n=200)
    minority = task.x0[:, 0] < -1.5
    assert 0.05 < float(minority.double().mean()) < 0.95
    assert (
        "start: as wide as the target, whose parts lie many kernel lengths apart"
        in report.heading(task)
    )


@pytest.mark.parametrize(
    "target",
    [
        "rings",
        "moons",
        "spiral",
        "checkerboard",
        "swissroll",
        "four-gaussians",
        "gaussian",
        "digits",
        "iris",
        "wine",
    ],
)
def test_the_starts_of_the_targets_with_names_are_small_and_beside_the_mean(target):
    task = task_of({"target": target, "dt": 1e-3, "steps": 1}, ["mmd"])
    scale = float(task.y.var(0, unbiased=False).mean().sqrt())
    assert task.settings["start_std"] == pytest.approx(0.35 * scale, rel=1e-3)
    assert "start: " not in report.heading(task)


def test_a_start_far_from_the_origin_keeps_its_place_to_a_thousandth_of_its_width(tmp_path):
    near, far_away = (
        settings_of(mixture(0.3, 2) + offset, tmp_path).settings for offset in (0.0, 5_400_316.0)
    )
    np.testing.assert_allclose(
        np.array(far_away["start_mean"]) - 5_400_316,
        near["start_mean"],
        atol=2e-3 * near["start_std"],
    )


def test_nothing_is_said_of_outliers_where_nothing_is_chosen(tmp_path):
    given = {"start_mean": [0.0], "start_std": 1.0, "beta": 0.1}
    assert "outliers" not in report.heading(settings_of(far(2, 9, 50.0), tmp_path, **given))
    assert "beta: chosen without 9" in report.heading(
        settings_of(far(2, 9, 50.0), tmp_path, **given | {"beta": None})
    )


def test_a_mixture_flows_to_both_of_its_modes(tmp_path, capsys):
    np.save(tmp_path / "points.npy", mixture(0.3, 1))
    call = [
        "run",
        "--target",
        str(tmp_path / "points.npy"),
        "--flow",
        "mono",
        "--metrics",
        "w2",
        "--film",
        "none",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(call) == 0
    row = next(
        line for line in capsys.readouterr().out.splitlines() if " mono " in line and " -> " in line
    )
    assert float(row.split(" -> ")[1].split()[0]) < 0.5


def test_a_target_of_one_place_and_one_outlier(tmp_path):
    points = np.zeros((COUNT, 2))
    points[0] = 1e6
    task = settings_of(points, tmp_path, bandwidth=0.5)
    assert task.settings["start_std"] == pytest.approx(0.35 * 0.5)
    assert math.isfinite(float(task.x0.sum()))
    assert float(task.x0.abs().max()) < 2


def test_rings_are_kept_whole():
    points = samplers.Rings().sample(COUNT, seed=0)
    assert torch.equal(starts.bulk(points), points)
