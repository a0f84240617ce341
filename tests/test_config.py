"""Names, options and TOML files: what is understood, and the words in which the rest is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from particleflow import Clock, kernels, samplers
from particleflow._refusals import RefusedValueError
from particleflow._threads import processors
from particleflow.cli import defaults, names, parts, report, starts, toml
from particleflow.cli import task as cli_task
from particleflow.cli.task import task as task_of
from particleflow.estimators import (
    KALE,
    KDE,
    MMD,
    ClosedForm,
    CTransformCritic,
    GradientPenaltyCritic,
    LipschitzCritic,
    TrainedCTransformCritic,
    WeightClippingCritic,
)
from particleflow.pairwise import Auto


def refused(text):
    return pytest.raises(RefusedValueError, match=re.escape(text))


def small(**settings):
    return {"n": 11, "m": 17, "steps": 3, "dt": 1e-3} | settings


# ------------------------------------------------------------------ the catalogue


@pytest.mark.parametrize("name", names.TARGETS)
def test_every_target_of_the_catalogue_can_be_drawn_from(name):
    task = task_of(small(target=name), ["mmd"])
    assert task.y.shape == (17, 2)
    assert task.x0.shape == (11, 2)
    assert task.settings["target"] == name


@pytest.mark.parametrize("name", names.FLOWS)
def test_every_flow_of_the_catalogue_can_be_built(name):
    estimator = task_of(small(target="gaussian"), [name]).plans[name].flow.estimator
    assert (
        type(estimator)
        is {
            "auto": MMD,
            "mmd": MMD,
            "mmd-noise": MMD,
            "kale": KALE,
            "mono": KDE,
            "w1": CTransformCritic,
            "ift": MMD,
            "langevin": ClosedForm,
        }[name]
    )


@pytest.mark.parametrize("name", parts.RATIOS)
def test_every_ratio_of_the_catalogue_is_an_estimator_of_one(name):
    estimator = (
        task_of(small(ratio=name, kernel="imq", bandwidth=0.3), ["mono"])
        .plans["mono"]
        .flow.estimator
    )
    assert type(estimator).__name__.lower() == {"logistic": "kernellogistic"}.get(name, name)
    assert estimator.log_ratio
    assert getattr(estimator, "kernel", kernels.IMQ(0.3)) == kernels.IMQ(0.3)


@pytest.mark.parametrize("name", parts.CRITICS)
def test_every_critic_of_the_catalogue_is_an_estimator_of_a_potential(name):
    estimator = task_of(small(critic=name), ["w1"]).plans["w1"].flow.estimator
    kinds = {
        "exact": CTransformCritic,
        "clip": WeightClippingCritic,
        "gp": GradientPenaltyCritic,
        "lipschitz": LipschitzCritic,
        "c-transform": TrainedCTransformCritic,
    }
    assert type(estimator) is kinds[name]


def test_networks_are_taught_first_as_long_as_asked():
    settings = small(ratio="classifier", critic="gp", first_steps=7)
    task = task_of(settings | {"w1": {"first_steps": 11}}, ["mono", "w1"])
    assert [task.plans[name].flow.estimator.first_steps for name in ("mono", "w1")] == [7, 11]
    assert [task.settings[name]["first_steps"] for name in ("mono", "w1")] == [7, 11]
    task = task_of(small(critic="clip", first_steps=3), ["mono", "w1"])
    assert task.plans["w1"].flow.estimator.first_steps == 3
    assert "first_steps" not in task.settings["mono"]


def test_kale_as_a_ratio_takes_its_penalty_and_accuracy():
    task = task_of(small(ratio="kale", lam=0.3), ["mono"])
    estimator = task.plans["mono"].flow.estimator
    assert (estimator.lam, estimator.pairwise) == (
        0.3,
        Auto(rtol=names.FLOWS["kale"].defaults["rtol"]),
    )
    assert {"lam": 0.3, "rtol": names.FLOWS["kale"].defaults["rtol"]}.items() <= task.settings[
        "mono"
    ].items()
    beside = task_of(small(lam=0.3), ["mono", "kale"])
    assert "lam" not in beside.settings["mono"]


def test_every_kernel_of_the_catalogue_can_be_built():
    for name in parts.KERNELS:
        task = task_of(small(kernel=name), ["mmd"])
        assert type(task.plans["mmd"].flow.estimator.kernel).__name__.lower() == name
        assert ("bandwidth" in task.settings) == (name != "energy")


@pytest.mark.parametrize("name", parts.MOBILITIES)
def test_every_mobility_of_the_catalogue_is_the_one_that_its_line_says(name):
    d = torch.linspace(-2, 2, 5, dtype=torch.float64)
    expected = {
        "logit": d,
        "mle": d.exp(),
        "vanilla": (1 + d.exp()).log(),
        "ns": (1 / (1 + (-d).exp())).log(),
        "arcsinh": (d + (1 + d**2).sqrt()).log(),
        "chi2": (2 * d).exp(),
        "hellinger": (d / 2).exp(),
    }
    torch.testing.assert_close(
        task_of(small(mobility=name), ["mono"]).plans["mono"].flow.mobility.h(d), expected[name]
    )


@pytest.mark.parametrize("name", parts.INTEGRATORS)
def test_every_integrator_of_the_catalogue_can_be_built(name):
    integrator = task_of(
        small(target="gaussian", integrator=name), ["langevin" if "maruyama" in name else "mmd"]
    )
    (plan,) = integrator.plans.values()
    made = {"nesterov": "momentum"}.get(name, name.replace("-", ""))
    assert type(plan.integrator).__name__.lower() == made


def test_every_metric_of_the_catalogue_measures():
    task = task_of(small(metrics=list(parts.METRICS)), ["mmd"])
    assert len(task.metrics) == len(parts.METRICS)
    for metric in task.metrics.values():
        assert metric(task.x0, task.y) > 0
    assert task.metrics["MMD"](task.x0, task.y) ** 2 == pytest.approx(
        task.metrics["MMD^2"](task.x0, task.y)
    )


# ------------------------------------------------------------------ what is chosen


def test_what_is_left_open_is_chosen_from_the_scale_of_the_data():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((40, 2)) @ np.diag([3.0, 1.0])
    tasks = []
    for unit in (1.0, 100.0):
        law = samplers.FromArray(unit * points + 5 * unit)
        x0, _, start = starts.start(
            {}, law.points, float(law.points.var(0, unbiased=False).mean().sqrt()), 1
        )
        _, bandwidth = cli_task.kernel_of({}, law.points)
        tasks.append((x0, start["start_std"], bandwidth, start["start_mean"]))
        assert bandwidth == pytest.approx(kernels.default_bandwidth(law.points), rel=1e-3)
    for small_unit, large_unit in zip(*tasks, strict=True):
        np.testing.assert_allclose(100 * np.asarray(small_unit), np.asarray(large_unit), rtol=5e-3)
    # beside the mean along the first axis, by seven tenths of its deviation, and towards larger
    # values
    offset = np.array(tasks[0][3]) - (points.mean(0) + 5)
    assert offset[0] == pytest.approx(
        0.7 * np.sqrt(np.linalg.eigvalsh(np.cov(points.T, bias=True))[-1]), rel=0.05
    )


def test_outliers_move_neither_the_start_nor_its_width():
    points = samplers.Rings().sample(300, seed=0)
    clean = task_of({"target": "rings", "dt": 1e-3}, ["mmd-noise"]).settings
    lost = torch.cat([points, torch.tensor([[1e4, -3e5], [-7e3, 2e5]], dtype=torch.float64)])
    assert torch.equal(starts.bulk(lost), points)
    assert torch.equal(starts.bulk(points), points)
    x0, _, start = starts.start(
        {}, starts.bulk(lost), float(points.var(0, unbiased=False).mean().sqrt()), 1
    )
    assert (start["start_mean"], start["start_std"]) == (clean["start_mean"], clean["start_std"])
    assert float(x0.abs().max()) < 3
    most_coincide = torch.cat([torch.zeros(9, 2, dtype=torch.float64), points[:5]])
    assert torch.equal(starts.bulk(most_coincide), most_coincide)


def test_an_outlier_in_a_file_does_not_widen_the_noise(tmp_path):
    points = samplers.Rings().sample(300, seed=0).numpy()
    np.save(tmp_path / "clean.npy", points)
    np.save(tmp_path / "lost.npy", np.concatenate([points, [[1e5, 0.0]]]))
    clean, lost = (
        task_of({"target": str(tmp_path / f"{name}.npy"), "dt": 1e-3}, ["mmd-noise"]).settings
        for name in ("clean", "lost")
    )
    assert lost["mmd-noise"]["beta"] == clean["mmd-noise"]["beta"]
    assert (lost["start_std"], lost["start_mean"]) == (clean["start_std"], clean["start_mean"])
    assert lost["bandwidth"] == pytest.approx(clean["bandwidth"], rel=0.05)


@pytest.mark.parametrize(
    ("steps", "records", "every"),
    [
        (400, 50, 8),
        (400, 60, 8),
        (400, 100, 4),
        (6, 50, 1),
        (400, 1, 400),
        (100, 30, 4),
        (401, 50, 8),
        (7, 3, 2),
        (10**30, 50, 2 * 10**28),
    ],
)
def test_records_are_equally_far_apart(steps, records, every):
    assert cli_task.spacing(steps, records) == every


def test_records_divide_the_steps_wherever_a_divisor_is_near_and_never_exceed_what_is_allowed():
    for steps in range(1, 200):
        for records in (1, 3, 10, 50):
            every = cli_task.spacing(steps, records)
            near = [
                e
                for e in range(1, steps + 1)
                if steps % e == 0 and records / 1.5 <= steps / e <= 1.5 * records
            ]
            assert steps % every == 0 or not near
            assert steps / cli_task.spacing(steps, records, 5) <= 5
            assert every <= 1.5 * steps / min(records, steps)


def test_each_flow_has_its_own_dt():
    task = task_of({"n": 5, "m": 7}, ["mmd", "kale"])
    for name, plan in task.plans.items():
        assert plan.dt == plan.flow.suggest_dt(task.x0, task.y) == task.settings[name]["dt"]
    assert task.plans["kale"].dt < task.plans["mmd"].dt


def test_noise_starts_at_the_targets_scale_and_all_but_vanishes():
    task = task_of(small(steps=80), ["mmd-noise"])
    noise = task.plans["mmd-noise"].flow.noise
    start = noise(Clock(step=0))
    assert start == pytest.approx(float(task.y.var(0, unbiased=False).mean().sqrt()), rel=1e-3)
    assert noise(Clock(step=80)) == pytest.approx(start / 2**defaults.HALVINGS)


def test_a_file_of_points_is_used_row_by_row_up_to_a_thousand(tmp_path):
    points = np.random.default_rng(0).standard_normal((1203, 2))
    np.save(tmp_path / "many.npy", points)
    np.save(tmp_path / "few.npy", points[:31])
    few = task_of({"target": str(tmp_path / "few.npy"), "dt": 1e-3}, ["mmd"])
    np.testing.assert_array_equal(few.y, points[:31])
    many = task_of({"target": str(tmp_path / "many.npy"), "dt": 1e-3}, ["mmd"])
    assert many.y.shape == (defaults.ROWS, 2)
    assert many.rows == 1203


def test_a_start_from_a_file(tmp_path):
    points = np.random.default_rng(0).standard_normal((9, 2))
    np.save(tmp_path / "start.npy", points)
    task = task_of({"start": str(tmp_path / "start.npy"), "dt": 1e-3}, ["mmd"])
    np.testing.assert_array_equal(task.x0, points)
    assert task.settings["n"] == 9


def test_a_file_of_many_columns_is_projected_on_request(tmp_path):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 5)) * [1, 5, 1, 9, 1]
    np.save(tmp_path / "p.npy", points)
    target = str(tmp_path / "p.npy")
    assert task_of({"target": target, "dt": 1e-3}, ["mmd"]).y.shape == (50, 5)
    y = task_of({"target": target, "pca": 2, "dt": 1e-3}, ["mmd"]).y
    variances = np.linalg.eigvalsh(np.cov(points.T))[::-1]
    np.testing.assert_allclose(np.cov(y.T.numpy()), np.diag(variances[:2]), atol=1e-8)


def test_a_picture_is_a_target(tmp_path):
    from PIL import Image

    pixels = np.full((8, 8), 255, np.uint8)
    pixels[:, :2] = 0
    Image.fromarray(pixels).save(tmp_path / "bar.png")
    dark = task_of(small(target=str(tmp_path / "bar.png")), ["mmd"]).y
    bright = task_of(small(target=str(tmp_path / "bar.png"), bright=True), ["mmd"]).y
    assert float(dark[:, 0].max()) <= -0.5 <= float(bright[:, 0].min())


# ------------------------------------------------------------------ large clouds


@pytest.mark.parametrize(
    ("n", "m", "names"),
    [(2000, 2000, ["w2", "mmd2"]), (2001, 9, ["sliced", "mmd2"]), (9, 2001, ["sliced", "mmd2"])],
)
def test_exact_transport_is_for_small_clouds(n, m, names):
    task = task_of({"n": n, "m": m, "dt": 1e-3}, ["mmd"])
    assert task.settings["metrics"] == names
    assert task.notes == (
        ("metrics: sliced W2 and not W2, which takes long beyond 2000 points",)
        if n + m < 4000
        else ()
    )
    asked = task_of({"n": n, "m": m, "dt": 1e-3, "metrics": ["w1", "w2"]}, ["mmd"])
    assert (asked.settings["metrics"], asked.notes) == (["w1", "w2"], ())


@pytest.mark.parametrize("metric", ["w1", pytest.param("w2", marks=pytest.mark.slow)])
def test_exact_transport_of_large_clouds_is_refused_but_on_the_line(tmp_path, metric):
    with refused(
        f"`metrics` {metric} is exact, for at most 5000 points, got 5001: use sliced, or leave"
        " it out"
    ):
        task_of({"n": 11, "m": 5001, "metrics": [metric], "dt": 1e-3}, ["mmd"])
    np.save(tmp_path / "line.npy", np.random.default_rng(0).standard_normal((5001, 1)))
    line = {"target": str(tmp_path / "line.npy"), "m": 5001, "dt": 1e-3}
    assert task_of({**line, "metrics": [metric]}, ["mmd"]).metrics
    assert task_of(line, ["mmd"]).settings["metrics"] == ["w2", "mmd2"]


def test_sums_over_pairs_are_as_accurate_as_asked():
    flows = ["mmd", "mmd-noise", "kale", "mono"]
    unsaid = task_of(small(), flows)
    asked = task_of(small(rtol=1e-3, kale={"rtol": 1e-7}), flows)
    mmd, kale, kde = (
        MMD(kernels.Gaussian(1)),
        KALE(kernels.Gaussian(1), lam=1),
        KDE(kernels.Gaussian(1)),
    )
    usual = {"mmd": mmd, "mmd-noise": mmd, "kale": kale, "mono": kde}
    for name in flows:
        assert (
            unsaid.plans[name].flow.estimator.pairwise
            == usual[name].pairwise
            == Auto(rtol=unsaid.settings[name]["rtol"])
        )
        assert asked.plans[name].flow.estimator.pairwise == Auto(rtol=asked.settings[name]["rtol"])
        assert asked.settings[name]["rtol"] == (1e-7 if name == "kale" else 1e-3)
    assert "rtol" not in task_of(small(target="gaussian"), ["langevin"]).settings["langevin"]


def test_sliced_transport_takes_fewer_directions_of_large_clouds():
    directions = [
        task_of({"n": n, "m": 100, "metrics": ["sliced"], "dt": 1e-3}, ["mmd"])
        .metrics["sliced W2"]
        .projections
        for n in (300, 99_900, 1_000_000)
    ]
    assert directions == [200, 40, 32]


def test_records_are_bounded_in_memory():
    settings = {"n": 2_000_000, "m": 11, "steps": 400, "metrics": ["sliced"], "dt": 1e-3}
    for flows in (["mmd"], ["mmd", "mmd-noise"]):
        task = task_of(settings, flows)
        held = sum(
            (plan.steps // task.every[name] + 1) * task.x0.nbytes
            for name, plan in task.plans.items()
        )
        assert held <= defaults.RECORDED
        assert held > defaults.RECORDED / 2
        most = defaults.RECORDED // (2_000_000 * 2 * 8 * len(flows)) - 1
        assert task.notes == (
            f"records: at most {most} and not 50, which would take more than 1 GB",
        )
        assert task.settings["records"] == 50
    assert task_of({**settings, "steps": 20}, ["mmd"]).notes == ()


def test_more_than_a_thousand_points_use_all_processors():
    for sizes, expected in (
        ((1000, 1000), 1),
        ((1001, 9), processors()),
        ((9, 1001), processors()),
    ):
        task = task_of({"n": sizes[0], "m": sizes[1], "metrics": ["mmd2"], "dt": 1e-3}, ["mmd"])
        assert task.threads == task.settings["threads"] == expected


def test_a_start_from_a_large_file_counts_too(tmp_path):
    np.save(tmp_path / "start.npy", np.random.default_rng(0).standard_normal((1001, 2)))
    task = task_of(
        {"start": str(tmp_path / "start.npy"), "m": 17, "metrics": ["mmd2"], "dt": 1e-3}, ["mmd"]
    )
    assert task.threads == processors()


def test_how_many_dimensions_there_are(tmp_path):
    for d, words in ((1, "in 1 dimension"), (2, "in 2 dimensions")):
        np.save(tmp_path / "p.npy", np.random.default_rng(0).standard_normal((9, d)))
        task = task_of({"flow": "mmd", "target": str(tmp_path / "p.npy"), "dt": 1e-3}, ["mmd"])
        assert report.heading(task).splitlines()[0].endswith(f"9 of 9 points {words}")


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("flows", "settings", "text"),
    [
        (
            ["kale"],
            {"kernel": "energy"},
            "`kernel` energy is not positive, which kale needs: use it with mmd or mmd-noise",
        ),
        (
            ["mmd"],
            {"kernel": "energy", "bandwidth": 1.0},
            "`bandwidth` has no meaning for the kernel energy: leave it out",
        ),
        (
            ["mmd"],
            {"bright": True},
            "`bright` is for pictures (.png .jpg .jpeg), and the target is rings: leave it out",
        ),
        (
            ["mmd"],
            {"key": "a"},
            "`key` chooses an array of an .npz file, and the target is rings: leave it out",
        ),
        (
            ["mmd"],
            {"pca": 2},
            (
                "`pca` is for data of more than two dimensions, and the target rings is in the"
                " plane: leave it out"
            ),
        ),
        (
            ["mmd"],
            {"start_mean": [1.0, 2.0, 3.0]},
            "`start_mean` must be one number or 2, one for each coordinate of the target, got 3",
        ),
        (
            ["mono"],
            {"mobility": "mle", "shift": 1.0},
            "`shift` is for the mobility vanilla, and the mobility is mle: leave it out",
        ),
        (["mono"], {"lam": 0.1}, "`lam` is for the ratio kale, and the ratio is kde: leave it out"),
        (
            ["mono", "kale"],
            {"mono": {"lam": 0.1}},
            "`lam` is for the ratio kale, and the ratio is kde: leave it out",
        ),
        (
            ["mono"],
            {"ratio": "classifier", "rtol": 1e-3},
            (
                "`rtol` is for the ratio kde, kale, ulsif, rulsif or kliep, and the ratio is"
                " classifier: leave it out"
            ),
        ),
        (
            ["mono"],
            {"first_steps": 9},
            "`first_steps` is for the ratio classifier, and the ratio is kde: leave it out",
        ),
        (
            ["mono", "w1"],
            {"w1": {"first_steps": 9}},
            (
                "`first_steps` is for the critic clip, gp, lipschitz or c-transform, and the critic"
                " is exact: leave it out"
            ),
        ),
        (
            ["w1"],
            {"critic": "gp", "integrator": "heun"},
            "`integrator` must be euler for the network of w1",
        ),
        (
            ["langevin"],
            {},
            (
                "`target` must have a known density for langevin, one of four-gaussians, gaussian,"
                " got rings"
            ),
        ),
        (
            ["langevin"],
            {"target": "gaussian", "integrator": "heun"},
            "`integrator` must be euler-maruyama for langevin",
        ),
    ],
)
def test_settings_that_do_not_go_together(flows, settings, text):
    with refused(text):
        task_of(small(**settings), flows)


@pytest.mark.parametrize(
    ("flow", "settings", "text"),
    [
        ("mmd", {"bandwidth": -1.0}, "`bandwidth` must be > 0, got -1: pass a length"),
        ("kale", {"lam": 0.0}, "`lam` must be > 0, got 0"),
        ("mmd", {"dt": 0.0}, "`dt` must be > 0, got 0: leave it out to have one chosen"),
        ("mmd", {"steps": 0}, "`steps` must be >= 1, got 0"),
        ("mmd", {"n": 0}, "`n` must be >= 1, got 0"),
        ("mmd", {"m": 0}, "`m` must be >= 1, got 0"),
        ("mmd", {"seed": -1}, "`seed` must be >= 0, got -1"),
        ("mmd", {"records": 0}, "`records` must be >= 1, got 0"),
        ("mmd", {"start_std": 0.0}, "`start_std` must be > 0, got 0"),
        ("mmd-noise", {"beta": -1.0}, "`beta` must be >= 0, got -1"),
        (
            "langevin",
            {"target": "gaussian", "temperature": -1.0},
            "`temperature` must be >= 0, got -1",
        ),
    ],
)
def test_numbers_out_of_range(flow, settings, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        task_of(small(**settings), [flow])


def test_a_start_of_another_dimension(tmp_path):
    np.save(tmp_path / "start.npy", np.ones((4, 3)))
    with pytest.raises(
        ValueError, match=re.escape("`target` must be (M, 3) like `start`, got (17, 2)")
    ):
        task_of(small(start=str(tmp_path / "start.npy"), n=None), ["mmd"])


# ------------------------------------------------------------------ files


def written(tmp_path, text):
    file = tmp_path / "c.toml"
    file.write_text(text)
    return str(file)


def test_what_is_written_is_read_back(tmp_path):
    settings = task_of(
        {"dt": 1 / 3, "target": "digits", "n": 11, "m": 17}, ["kale", "mono"]
    ).settings
    toml.write({"flows": ["kale", "mono"], **settings}, tmp_path / "c.toml", "two\nlines")
    assert (tmp_path / "c.toml").read_text().startswith("# two\n# lines\n")
    assert toml.read(str(tmp_path / "c.toml"), "compare") == {
        "flows": ["kale", "mono"],
        **settings,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bandwith = 1", "`bandwith` in FILE is not a setting; did you mean 'bandwidth'?"),
        ("[kael]\nlam = 1", "`kael` in FILE is not a setting; did you mean 'kale'?"),
        ("[kale]\nbeta = 1", "`beta` in [kale] of FILE is not a setting"),
        (
            "[mmd-noise]\nbeta_haf = 1",
            "`beta_haf` in [mmd-noise] of FILE is not a setting; did you mean 'beta_half'?",
        ),
        ("kale = 1", "`kale` in FILE must be a table of the flow's own settings, [kale], got 1"),
        ("n = '3'", "`n` in FILE must be a whole number, got '3'"),
        ("n = 0", "`n` in FILE must be >= 1, got 0"),
        ("[kale]\nlam = 0", "`lam` in [kale] of FILE must be > 0, got 0"),
        ("dt = inf", "`dt` in FILE must be finite, got inf: leave it out to have one chosen"),
        ("start_mean = [1, nan]", "`start_mean` in FILE must be finite, got nan"),
        ("threads = 1000", "`threads` in FILE must be <= "),
        ("n = 3.5", "`n` in FILE must be a whole number, got 3.5"),
        ("n = true", "`n` in FILE must be a whole number, got True"),
        ("[kale]\nlam = 'small'", "`lam` in [kale] of FILE must be a number, got 'small'"),
        ("target = 3", "`target` in FILE must be text, got 3"),
        ("bright = 1", "`bright` in FILE must be true or false, got 1"),
        ("metrics = 'w2'", "`metrics` in FILE must be a list of names, got 'w2'"),
        ("metrics = []", "`metrics` in FILE must be a list of names, got []"),
        (
            "metrics = ['w2', 'w3']",
            (
                "`metrics` in FILE must be one of w2, w1, sliced, mmd2, mmd, energy, got 'w3'; did"
                " you mean 'w2'?"
            ),
        ),
        ("metrics = ['w2', 'w2']", "`metrics` in FILE must name each once, got w2,w2"),
        (
            "start_mean = ['a']",
            "`start_mean` in FILE must be a number or a list of numbers, got ['a']",
        ),
        (
            "flow = 'kael'",
            (
                "`flow` in FILE must be one of auto, mmd, mmd-noise, kale, mono, w1, ift, langevin,"
                " got 'kael'; did you mean 'kale'?"
            ),
        ),
        (
            "flows = ['mmd']",
            (
                "`flows` in FILE belongs to `particleflow compare`: use that command, or write"
                " `flow` instead"
            ),
        ),
        ("m = 3\nn = x", "--config FILE is not TOML: Invalid value (at line 2, column 5)"),
        ("target = 'ringz'", "got 'ringz'; did you mean 'rings'?"),
        (
            "target = 'points.xls'",
            "a file that ends in .csv .tsv .txt .npy .npz .png .jpg .jpeg, got 'points.xls'",
        ),
    ],
)
def test_a_file_that_is_wrong(tmp_path, text, expected):
    file = written(tmp_path, text)
    with refused(expected.replace("FILE", file)):
        toml.read(file, "run")


def test_a_file_that_is_not_there(tmp_path):
    with refused("nowhere.toml cannot be read: No such file or directory"):
        toml.read(str(tmp_path / "nowhere.toml"), "run")


def test_paths_in_a_file_are_relative_to_its_folder(tmp_path):
    settings = toml.read(
        written(tmp_path, "target = 'points.csv'\nout = 'there'\nstart = 'auto'"), "run"
    )
    assert settings == {
        "target": str(tmp_path / "points.csv"),
        "out": str(tmp_path / "there"),
        "start": "auto",
    }


def test_flags_win_over_the_file_and_over_its_tables(tmp_path):
    file = toml.read(written(tmp_path, "n = 5\nlam = 3\ndt = 1\n[kale]\nlam = 1\nsteps = 7"), "run")
    settings = toml.merged({"n": 6, "lam": 0.5}, file)
    assert settings["n"] == 6
    assert [toml.of_flow(settings, "kale", name) for name in ("lam", "steps", "dt")] == [
        0.5,
        7,
        1.0,
    ]
    assert toml.of_flow(file, "kale", "lam") == 1.0
    assert toml.of_flow(settings, "mmd", "steps") is None
