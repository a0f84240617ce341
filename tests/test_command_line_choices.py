"""What the command line takes as a start, which flags serve which file, and what it suggests in the
place of a wrong word.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from particleflow import Trajectory, samplers
from particleflow._refusals import RefusedValueError
from particleflow.cli import main, options, toml, values
from particleflow.cli.command import _remedy
from particleflow.cli.names import TARGETS
from particleflow.cli.task import task as task_of

QUICK = ["--steps", "2", "--dt", "1e-4", "--metrics", "mmd2", "--film", "none"]


def error_of(capsys, *arguments):
    assert main(list(arguments)) == 2
    return capsys.readouterr().err.removeprefix("particleflow: error: ").strip()


def task(**settings):
    return task_of({"dt": 1e-3, "steps": 1} | settings, ["mmd"])


# ------------------------------------------------------------------ starts


@pytest.fixture
def recorded(tmp_path):
    assert (
        main(
            [
                "run",
                "--flow",
                "mmd",
                "--n",
                "14",
                "--m",
                "19",
                *QUICK,
                "--out",
                str(tmp_path / "first"),
            ]
        )
        == 0
    )
    return tmp_path / "first" / "trajectory.npz"


def test_a_trajectory_is_a_start_and_a_target(recorded, tmp_path):
    last = Trajectory.load(recorded).particles[-1]
    assert torch.equal(task(start=str(recorded)).x0, last)
    assert torch.equal(task(target=str(recorded), start="moons", n=9).y, last)
    for role in ("--start", "--target"):
        call = [
            "run",
            "--flow",
            "mmd",
            role,
            str(recorded),
            *QUICK,
            "--out",
            str(tmp_path / "next"),
        ]
        assert main(call) == 0
        assert (
            main(
                [
                    "run",
                    "--config",
                    str(tmp_path / "next" / "config.toml"),
                    "--out",
                    str(tmp_path / "again"),
                ]
            )
            == 0
        )
        one, two = (
            Trajectory.load(tmp_path / folder / "trajectory.npz") for folder in ("next", "again")
        )
        assert torch.equal(one.particles, two.particles)


def test_a_run_does_not_write_over_its_own_start(recorded, tmp_path, capsys):
    call = ["run", "--flow", "mmd", "--start", str(recorded), *QUICK, "--out", str(recorded.parent)]
    before = recorded.read_bytes()
    assert (
        error_of(capsys, *call)
        == f"--out must not hold the file that is the start, {recorded}, which the run would write"
        " over: choose another"
    )
    assert recorded.read_bytes() == before


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_is_a_start(name, tmp_path):
    built = task(target="rings", start=name, n=21, m=33)
    assert built.x0.shape == (21, 2)
    assert built.settings["start"] == name


def test_a_picture_is_a_start(tmp_path):
    pixels = np.full((8, 8), 255, np.uint8)
    pixels[:, 2] = 0
    picture = str(tmp_path / "bar.png")
    Image.fromarray(pixels).save(picture)
    built = task(target="rings", start=picture, n=25)
    assert built.x0.shape == (25, 2)
    assert float(built.x0[:, 0].max()) < 0
    assert task(target="rings", start=picture, bright=True, n=25).settings["bright"] is True


# ------------------------------------------------------------------ options of files


def test_a_start_goes_through_the_projection_of_the_target(tmp_path):
    rng = np.random.default_rng(0)
    target, start = rng.normal(size=(60, 5)) * [1, 4, 9, 2, 1], rng.normal(size=(23, 5)) + 1
    np.save(tmp_path / "y.npy", target)
    np.save(tmp_path / "x.npy", start)
    built = task(target=str(tmp_path / "y.npy"), start=str(tmp_path / "x.npy"), pca=2)
    fitted = PCA(2, svd_solver="full").fit(target)
    np.testing.assert_allclose(built.x0, fitted.transform(start), atol=1e-12)
    np.save(tmp_path / "x.npy", start[:, :3])
    with pytest.raises(
        RefusedValueError,
        match="`start` must have all coordinates of the target or its 2 of `pca`, got 3",
    ):
        task(target=str(tmp_path / "y.npy"), start=str(tmp_path / "x.npy"), pca=2)


def test_the_projection_of_a_data_set_is_its_own(tmp_path):
    whole = samplers.Digits().points
    np.save(tmp_path / "digits.npy", whole.numpy())
    built = task(target="digits", m=1797, start=str(tmp_path / "digits.npy"))
    np.testing.assert_allclose(built.x0, samplers.Digits(pca=2).points, atol=1e-10)


def test_key_serves_every_npz_file(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(31, 2)), rng.normal(size=(17, 2))
    np.savez(tmp_path / "two.npz", a=a, b=b)
    np.savez(tmp_path / "other.npz", b=b + 1, c=a)
    two, other = str(tmp_path / "two.npz"), str(tmp_path / "other.npz")
    np.testing.assert_array_equal(task(start=two, key="a").x0, a)
    built = task(target=other, start=two, key="b")
    np.testing.assert_array_equal(built.x0, b)
    np.testing.assert_array_equal(built.y, b + 1)
    with pytest.raises(
        RefusedValueError,
        match=r"`key` chooses an array of an \.npz file, and the target is rings",
    ):
        task(key="a")
    np.savetxt(tmp_path / "y.csv", a, delimiter=",")
    with pytest.raises(RefusedValueError, match=r"`key` chooses an array of an \.npz file"):
        task(target=str(tmp_path / "y.csv"), key="a")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--flow", "mmd", "--lam", "1"], "--lam is an option of kale, mono, got the flows mmd"),
        (["--flow", "kale", "--mobility", "ns"], "--mobility is an option of mono"),
        (["--flow", "mono", "--critic", "gp"], "--critic is an option of w1"),
        (["--flow", "kale", "--ratio", "kde"], "--ratio is an option of mono"),
        (["--flow", "mono", "--beta", "1"], "--beta is an option of mmd-noise"),
        (["--flow", "mono", "--lam", "1"], "--lam is for the ratio kale"),
        (
            ["--flow", "mono", "--mobility", "mle", "--shift", "1"],
            "--shift is for the mobility vanilla",
        ),
        (
            ["--flow", "mmd", "--kernel", "energy", "--bandwidth", "1"],
            "--bandwidth has no meaning for the kernel energy",
        ),
        (["--flow", "mmd", "--pca", "2"], "--pca is for data of more than two dimensions"),
        (["--flow", "mmd", "--bright"], "--bright is for pictures"),
        (
            ["--flow", "mmd", "--columns", "0,1"],
            "--columns chooses coordinates in a file of points",
        ),
        (
            ["--flow", "mmd", "--start", "moons", "--start-std", "1"],
            "--start-mean and --start-std are for a Gaussian start",
        ),
        (
            ["--flow", "w1", "--metrics", "w2", "--bandwidth", "1"],
            "--bandwidth is for the kernel, which neither the flows w1 nor the metrics w2 use",
        ),
        (
            ["--flow", "langevin", "--target", "gaussian", "--metrics", "w2", "--kernel", "imq"],
            "--kernel is for the kernel, which neither",
        ),
        (
            ["--flow", "mmd-noise", "--beta", "0", "--beta-half", "3"],
            "--beta-half is of the noise, and --beta is 0",
        ),
    ],
)
def test_a_flag_acts_or_is_refused(tmp_path, capsys, flags, said):
    assert error_of(
        capsys,
        "run",
        *flags,
        *([] if "--metrics" in flags else ["--metrics", "mmd2"]),
        "--out",
        str(tmp_path / "o"),
    ).startswith(said)


def test_in_a_comparison_a_flag_serves_the_flows_that_take_it(tmp_path, capsys):
    flows = [
        "compare",
        "--flows",
        "mmd,w1",
        "--n",
        "9",
        "--m",
        "11",
        *QUICK,
        "--metrics",
        "w2",
        "--bandwidth",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert main(flows) == 0
    refused = ["compare", "--flows", "mmd,kale", "--mobility", "ns", "--out", str(tmp_path)]
    assert error_of(capsys, *refused).startswith(
        "--mobility is an option of mono, got the flows mmd, kale"
    )


def test_warnings_of_files_speak_of_flags(tmp_path, capsys):
    rows = "\n".join(f"{k},{k % 7 * 0.37 - 1},{k % 5 * 0.51}" for k in range(40))
    (tmp_path / "p.csv").write_text("id,x,y\n" + rows)
    assert (
        main(
            [
                "run",
                "--flow",
                "mmd",
                "--target",
                str(tmp_path / "p.csv"),
                *QUICK,
                "--out",
                str(tmp_path / "o"),
            ]
        )
        == 0
    )
    said = capsys.readouterr()
    assert "--columns x,y" in said.err
    assert "columns=" not in said.err
    assert "Warning" not in said.err


# ------------------------------------------------------------------ suggestions

MEANT = {
    "flow": {
        "kael": "kale",
        "monoflow": "mono",
        "wgan": "w1",
        "wasserstien": "w1",
        "kl": "mono",
        "mmd_noise": "mmd-noise",
        "foo": "",
        "svgd": "",
    },
    "mobility": {
        "js": "vanilla",
        "JS": "vanilla",
        "kl": "logit",
        "gan": "vanilla",
        "jensen-shannon": "vanilla",
        "arcsin": "arcsinh",
        "unit": "logit",
        "xy": "",
    },
    "kernel": {
        "rbf": "gaussian",
        "gausian": "gaussian",
        "gauss": "gaussian",
        "matern": "matern32",
        "linear": "",
        "polynomial": "",
        "x": "",
    },
    "critic": {"wgan": "clip", "exakt": "exact", "spectral": "lipschitz", "none": ""},
    "ratio": {
        "kdee": "kde",
        "logreg": "logistic",
        "logistic-regression": "logistic",
        "nn": "classifier",
        "lsif": "ulsif",
        "knn": "",
    },
    "integrator": {"rk45": "rk4", "rk2": "heun", "sgd": ""},
    "target": {
        "ring": "rings",
        "digit": "digits",
        "mnist": "digits",
        "gaussians": "four-gaussians",
        "cifar": "",
        "cats": "",
    },
    "metrics": {"w2sq": "w2", "W2^2": "w2", "sw": "sliced", "sliced-w2": "sliced", "accuracy": ""},
    "start": {"normal": "gaussian", "random": "gaussian", "zeros": "", "uniform": ""},
}


@pytest.mark.parametrize(
    ("option", "word", "meant"),
    [(option, *pair) for option, words in MEANT.items() for pair in words.items()],
)
def test_a_wrong_name_is_answered_by_what_is_meant_or_by_no_guess(option, word, meant):
    with pytest.raises(RefusedValueError) as caught:
        values.from_text(options.BY_NAME[option], word)
    assert str(caught.value).partition("; did you mean ")[2] == (f"'{meant}'?" if meant else "")


def test_there_is_one_way_to_leave_out_the_film():
    assert _remedy("run", "--no-gif") == "run and compare take --film none"


@pytest.mark.parametrize(
    ("word", "meant"),
    {
        "--lr": "--dt",
        "--sigma": "--bandwidth",
        "--bandwith": "--bandwidth",
        "--std": "--start-std",
        "--output": "--out",
        "--epochs": "--steps",
        "--lambda": "--lam",
        "--metric": "--metrics",
        "--gif": "--film",
        "--device": "",
        "--foo": "",
        "--batch": "",
        "--wandb": "",
        "--x": "",
    }.items(),
)
def test_a_wrong_flag_is_answered_by_what_is_meant_or_by_what_there_is(word, meant):
    said = _remedy("run", word)
    assert (
        said == f"; did you mean '{meant}'?"
        if meant
        else "did you mean" not in said and "--threads" in said
    )


# ------------------------------------------------------------------ names of files


@pytest.mark.parametrize(
    "name",
    [
        'it\'s a "b", back\\slash #hash [table]',
        "two\nlines",
        "\N{SNOWMAN}\N{PILE OF POO}",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("a b", "it's", 'a "b"', "back\\slash", "#hash", "[table]")
        ),
    ],
)
def test_odd_names_of_files_and_folders_are_read_back(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    np.save(folder / f"{name}.npy", np.random.default_rng(0).normal(size=(13, 2)))
    call = ["run", "--flow", "mmd", "--target", str(folder / f"{name}.npy"), "--n", "7", *QUICK]
    assert main([*call, "--out", str(folder / "out")]) == 0
    assert (
        main(
            ["run", "--config", str(folder / "out" / "config.toml"), "--out", str(folder / "again")]
        )
        == 0
    )
    one, two = (Trajectory.load(folder / out / "trajectory.npz") for out in ("out", "again"))
    assert torch.equal(one.particles, two.particles)


@pytest.mark.parametrize("role", ["target", "start"])
def test_a_name_that_is_no_utf8_is_refused_before_any_work(tmp_path, capsys, role):
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.npy")
    np.save(strange, np.random.default_rng(0).normal(size=(13, 2)))
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "config.toml").write_text("seed = 3")
    said = error_of(
        capsys, "run", "--flow", "mmd", f"--{role}", strange, *QUICK, "--out", str(tmp_path / "o")
    )
    assert said.startswith(
        f"--{role} must have a name in UTF-8, which config.toml can hold, got"
        f" {tmp_path}/caf\\udce9.npy: rename or link it"
    )
    assert (tmp_path / "o" / "config.toml").read_text() == "seed = 3"


def test_results_go_into_a_folder_whose_name_is_no_utf8(tmp_path, python):
    out = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    call = ["-m", "particleflow", "run", "--flow", "mmd", "--n", "7", "--m", "9", *QUICK]
    done = python.run(*call, "--out", out)
    assert done.returncode == 0, done.stderr
    assert Trajectory.load(out + "/trajectory.npz").status == "completed"


def test_a_config_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    toml.write({"seed": 3}, tmp_path / "config.toml", "one")
    with pytest.raises(UnicodeEncodeError):
        toml.write({"target": "caf\udce9"}, tmp_path / "config.toml", "two")
    assert toml.read(str(tmp_path / "config.toml"), "run") == {"seed": 3}
    assert [file.name for file in tmp_path.iterdir()] == ["config.toml"]
