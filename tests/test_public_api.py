"""What users may rely on: the names, that each is documented, and that importing is cheap."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    """The public functions and classes of a module: its __all__, or what it defines without an
    underscore.
    """
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and inspect.getmodule(value) is module
        and (inspect.isclass(value) or inspect.isfunction(value))
    }


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
        pf.mmd_flows  # noqa: B018
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
