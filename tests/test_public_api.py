"""What users may rely on: the names, that each is documented, and that importing is cheap."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import pickle
import subprocess
import sys
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch

import particleflow as pf

PUBLIC = [
    "Arbel",
    "Arrived",
    "AtRest",
    "AutoFlow",
    "Checkpoint",
    "Clock",
    "Cloud",
    "Continuation",
    "Draws",
    "EnergyBelow",
    "Euler",
    "EulerMaruyama",
    "Fit",
    "Flow",
    "Heun",
    "NoProgress",
    "RK4",
    "Replay",
    "Runs",
    "SaveAt",
    "State",
    "Summary",
    "TargetSignal",
    "Trajectory",
    "__version__",
    "adaptive",
    "auto_flow",
    "clouds",
    "divergences",
    "estimators",
    "fit",
    "flows",
    "ift_flow",
    "integrators",
    "iterate",
    "kale_flow",
    "kernels",
    "labelled",
    "langevin",
    "losses",
    "metrics",
    "mmd_flow",
    "mobilities",
    "mono_flow",
    "pairwise",
    "plotting",
    "reactions",
    "record",
    "renewals",
    "resume",
    "samplers",
    "schedules",
    "scikit",
    "simulate",
    "simulate_many",
    "stragglers",
    "study",
    "testing",
    "transport",
    "two_sample",
    "unbalanced",
    "wgan_flow",
]
MODULES = [
    "adaptive",
    "clouds",
    "divergences",
    "estimators",
    "flows",
    "integrators",
    "kernels",
    "losses",
    "metrics",
    "mobilities",
    "pairwise",
    "plotting",
    "reactions",
    "renewals",
    "samplers",
    "schedules",
    "scikit",
    "study",
    "testing",
    "transport",
]

WITHIN = {
    "adaptive": [
        "Arbel",
        "Continuation",
        "NoiseRule",
        "SignalNoise",
        "TargetSignal",
    ],
    "estimators": [
        "Annealed",
        "BandwidthRule",
        "CTransformCritic",
        "Classifier",
        "ClosedForm",
        "DrMMD",
        "Estimator",
        "FieldWitness",
        "Fit",
        "GradientPenaltyCritic",
        "KALE",
        "KDE",
        "KLIEP",
        "KernelLogistic",
        "Labelled",
        "LipschitzCritic",
        "MMD",
        "Moments",
        "Moreau",
        "RuLSIF",
        "SklearnClassifier",
        "Stragglers",
        "TrainedCTransformCritic",
        "ULSIF",
        "WeightClippingCritic",
        "Witness",
    ],
    "integrators": [
        "Adam",
        "Adaptive",
        "BogackiShampine",
        "Controller",
        "Corrected",
        "Course",
        "Descent",
        "DormandPrince",
        "Embedded",
        "Euler",
        "EulerMaruyama",
        "Heun",
        "Integrator",
        "LengthsOf",
        "Momentum",
        "Optimiser",
        "Paced",
        "Periodic",
        "RK4",
        "Refit",
        "Reflecting",
        "RungeKutta",
        "Snapshot",
        "State",
        "UnconvergedError",
        "suggested_dt",
    ],
    "kernels": [
        "Bandwidth",
        "Cauchy",
        "CrossValidated",
        "Energy",
        "Erf",
        "FeatureKernel",
        "FeatureMap",
        "Gaussian",
        "IMQ",
        "Kernel",
        "Landmarks",
        "Laplace",
        "Matern32",
        "Matern52",
        "Median",
        "Neurons",
        "Periodic",
        "Radial",
        "RandomWaves",
        "ReLU",
        "ScaledKernel",
        "Scott",
        "Tanh",
        "as_kernel",
        "default_bandwidth",
        "median_distance",
    ],
    "pairwise": [
        "Audit",
        "Auto",
        "Compiled",
        "Culled",
        "Dense",
        "Field",
        "Fourier",
        "KeOps",
        "Mesh",
        "Nystroem",
        "PairwiseSum",
        "Promise",
        "Queries",
        "Sources",
    ],
    "samplers": [
        "Checkerboard",
        "Density",
        "Digits",
        "FromArray",
        "FromFile",
        "FromImage",
        "Gaussian",
        "Iris",
        "Minibatch",
        "Mixture",
        "Moons",
        "Rings",
        "Sampler",
        "Sphere",
        "Spiral",
        "SwissRoll",
        "Wine",
    ],
    "testing": [
        "check_backend",
        "check_estimator",
        "check_integrator",
        "check_kernel",
        "check_mobility",
        "check_sampler",
    ],
}


def in_a_new_interpreter(code: str) -> str:
    """What `code` prints, run as users run it: a fresh interpreter, without this suite's run-time
    checks.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:particleflow", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def defined_in(module: Any) -> dict[str, Any]:
    """What a module offers, by name."""
    return {name: getattr(module, name) for name in module.__all__}


def documented() -> dict[str, Any]:
    top = {
        name: getattr(pf, name) for name in PUBLIC if name not in MODULES and name != "__version__"
    }
    within = {
        f"{module}.{name}": value
        for module in MODULES
        for name, value in defined_in(getattr(pf, module)).items()
    }
    return {
        **top,
        **{
            name: value
            for name, value in within.items()
            if inspect.isclass(value) or inspect.isfunction(value)
        },
    }


def test_the_public_names() -> None:
    """A name more or less is a decision: change this list with it, and the changelog."""
    assert sorted(pf.__all__) == PUBLIC
    assert sorted(dir(pf)) == PUBLIC


@pytest.mark.parametrize("module", WITHIN)
def test_the_names_within(module: str) -> None:
    assert sorted(getattr(pf, module).__all__) == WITHIN[module]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_shows_what_it_offers(name: str) -> None:
    module = getattr(pf, name)
    assert len(set(module.__all__)) == len(module.__all__) > 0
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, each) for each in module.__all__)
    assert not hasattr(module, "annotations_")  # a name that nothing is near to


def misspelt(name: str) -> str:
    """The name with two of its letters swapped, or with one more where it has two."""
    k = len(name) // 2
    return f"{name[: k - 1]}{name[k]}{name[k - 1]}{name[k + 1 :]}" if len(name) > 3 else f"{name}x"


@pytest.mark.parametrize("module", ["", *MODULES])
def test_a_misspelt_name_is_corrected(module: str) -> None:
    """Every name of the top level and of every module, with a slip in it."""
    room = getattr(pf, module) if module else pf
    wrong = []
    for name in room.__all__:
        slip = misspelt(name)
        if name.startswith("_") or slip in room.__all__ or slip == name:
            continue
        with pytest.raises(AttributeError) as told:
            getattr(room, slip)
        if not str(told.value).endswith(f"has no attribute '{slip}'; did you mean '{name}'?"):
            wrong.append(str(told.value))
    assert wrong == []


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("kernels.Gausian", "Gaussian"),
        ("divergences.Kl", "KL"),
        ("schedules.Geometrc", "Geometric"),
        ("clouds.Clouds", "Cloud"),
        ("kernels.KALE", "particleflow.estimators.KALE"),
        ("kale_flows", "kale_flow"),
    ],
)
def test_names_that_users_mistook(wrong: str, right: str) -> None:
    module, _, name = wrong.rpartition(".")
    with pytest.raises(AttributeError, match=rf"; did you mean '{right}'\?$"):
        getattr(getattr(pf, module) if module else pf, name)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    y = torch.linspace(-1, 1, 14, dtype=torch.float64).reshape(7, 2)
    flow = pf.mmd_flow(pf.kernels.Gaussian(1.0))
    path = pf.simulate(flow, 0.1 * y[:5], y, steps=2, dt=0.1, metrics={"W2": pf.metrics.W2()})
    start = pf.samplers.Gaussian(dim=2)
    runs = pf.simulate_many(flow, start, y, n=5, seeds=[0], jobs=1, steps=2, dt=0.1)
    return {"path": path, "runs": runs, "summary": path.summary()}


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("path", "particle", "particles"),
        ("path", "metric", "metrics"),
        ("path", "logdensity", "log_density"),
        ("path", "sumary", "summary"),
        ("runs", "trajectory", "trajectories"),
        ("runs", "failure", "failures"),
        ("summary", "w2end", "w2_end"),
    ],
)
def test_a_misspelt_attribute_of_a_result_is_corrected(
    results: dict[str, Any], name: str, wrong: str, right: str
) -> None:
    with pytest.raises(AttributeError, match=rf"'{wrong}'; did you mean '{right}'\?$"):
        getattr(results[name], wrong)


def test_results_are_asked_for_attributes_by_programs(results: dict[str, Any]) -> None:
    """Copies, pickles, and questions for methods that there are not."""
    for value in results.values():
        assert not hasattr(value, "_ipython_canary_method_should_not_exist_")
        assert not hasattr(value, "__array_interface__")
        assert repr(copy.copy(value)) == repr(value)
        assert repr(pickle.loads(pickle.dumps(value))) == repr(value)
        empty = object.__new__(type(value))
        with pytest.raises(AttributeError, match=r"no attribute 'nothing_of_the_kind'$"):
            attrgetter("nothing_of_the_kind")(empty)


def test_a_property_keeps_its_own_error(results: dict[str, Any]) -> None:
    class Broken(type(results["path"])):
        @property
        def worst(self) -> float:
            return self.particles.wurst

    broken = Broken(**{f.name: getattr(results["path"], f.name) for f in fields(results["path"])})
    with pytest.raises(AttributeError, match="'Tensor' object has no attribute 'wurst'"):
        attrgetter("worst")(broken)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there(name: str) -> None:
    value = getattr(pf, name)
    if name in MODULES:
        assert value is importlib.import_module(f"particleflow.{name}")
        assert value.__doc__


@pytest.mark.parametrize("name", documented())
def test_every_public_function_and_class_is_documented(name: str) -> None:
    value = documented()[name]
    doc = inspect.getdoc(value) if inspect.isfunction(value) else value.__doc__
    assert doc, f"{name} has no docstring"
    signature = f"{name.rpartition('.')[2]}("
    assert not (doc.startswith(signature) and doc.endswith(")")), (
        f"{name} has only the signature that dataclass writes"
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'particleflow' has no attribute 'mmd_flows'"):
        attrgetter("mmd_flows")(pf)
    assert not hasattr(pf, "torch")


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert pf.__version__ == version("particleflow-sim")


def test_the_example_of_the_package_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "+SKIP" not in (pf.__doc__ or "")
    example = doctest.DocTestParser().get_doctest(pf.__doc__ or "", {}, "particleflow", None, 0)
    told: list[str] = []
    run = doctest.DocTestRunner().run(example, out=told.append)
    assert run.attempted
    assert not run.failed, "".join(told)
    assert (tmp_path / "rings.png").exists()


def test_importing_is_cheap() -> None:
    """`import particleflow` imports neither torch nor numpy, nor does asking for its names."""
    code = (
        "import sys, particleflow; dir(particleflow); print(sorted({'torch', 'numpy', 'scipy',"
        " 'matplotlib'} & set(sys.modules)))"
    )
    assert in_a_new_interpreter(code) == "[]"


def test_a_plain_run_needs_few_libraries() -> None:
    """A run with a metric solved by POT: pykeops and geomloss stay out (KeOps compiles, and dies
    where there is no compiler), matplotlib too.
    """
    code = """
import sys
import particleflow as pf
y = pf.samplers.Rings().sample(30, seed=0)
x = pf.samplers.Gaussian(dim=2).sample(20, seed=1)
for flow in (
    pf.mmd_flow(pf.kernels.Gaussian(0.2)),
    pf.kale_flow(pf.kernels.Gaussian(0.2), lam=1e-2),
):
    path = pf.simulate(
        flow,
        x,
        y,
        steps=3,
        metrics={"W2": pf.metrics.W2(), "MMD": pf.metrics.MMD(pf.kernels.Gaussian(0.2))},
    )
    assert path.status == "completed", path.message
    assert len(path.metrics["W2"]) == 4
assert "ot" in sys.modules
print(sorted({"pykeops", "keopscore", "geomloss", "matplotlib"} & set(sys.modules)))
"""
    assert in_a_new_interpreter(code) == "[]"
