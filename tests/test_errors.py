"""Bad input: an error before step 0 that names the argument, says what came, and gives the remedy.

Each case is a line that a user may write, run in a process of its own without the suite's run-time
checks of types: what a user sees.
"""

from __future__ import annotations

import json
import re

import pytest
from forked import Python

PRELUDE = """
import json, sys
from dataclasses import dataclass, replace
import numpy as np, torch
import particleflow as pf
from particleflow.clouds import Cloud, Replay
from particleflow.estimators import KALE, KDE, MMD, ClosedForm, Moments
from particleflow.kernels import Energy, Gaussian, IMQ, Laplace, Matern32, Matern52

nan, inf = float("nan"), float("inf")
fits = []

@dataclass(frozen=True)
class Counting(MMD):
    def fit(self, x, y, clock, memory):
        fits.append(1)
        return super().fit(x, y, clock, memory)

rng = np.random.default_rng(0)
x, y = torch.from_numpy(rng.standard_normal((5, 2))), torch.from_numpy(rng.standard_normal((7, 2)))
kernel = Gaussian(0.5)
flow = pf.Flow(Counting(kernel))
score = ClosedForm(lambda z: -z)

def bad(tensor, row, value):
    tensor = tensor.clone()
    tensor[row, 1] = value
    return tensor

def run(x=x, y=y, flow=flow, **settings):
    return pf.simulate(flow, x, y, **({"steps": 3, "dt": 0.1} | settings))

answers = []
for line in json.load(sys.stdin):
    fits.clear()
    try:
        eval(line)
        answers.append(["nothing", "", len(fits)])
    except Exception as error:
        kind = type(error).__name__.removeprefix("Refused")
        answers.append([kind, str(error), len(fits)])
json.dump(answers, sys.stdout)
"""

# what is written, the error's type, its text (a regular expression; all of it)
CASES = [
    # not finite: the first bad row, and how many
    (
        "run(x=bad(bad(x, 4, nan), 2, nan))",
        "ValueError",
        (
            r"`x0` must be finite, got \[.*, nan\] in row 2 \(2 bad rows of 5\): drop them with"
            r" .*isfinite.*"
        ),
    ),
    (
        "run(y=bad(y, 6, inf))",
        "ValueError",
        r"`target` must be finite, got \[.*, inf\] in row 6 \(1 bad rows of 7\): drop them with .*",
    ),
    (
        "run(y=bad(y, 0, -inf))",
        "ValueError",
        r"`target` must be finite, got \[.*, -inf\] in row 0 .*",
    ),
    ("run(x=bad(x, 1, nan).numpy())", "ValueError", r"`x0` must be finite, .* in row 1 .*"),
    ("run(x=bad(x, 1, nan).tolist())", "ValueError", r"`x0` must be finite, .* in row 1 .*"),
    ("run(x=Cloud(bad(x, 1, nan)))", "ValueError", r"`x0` must be finite, .* in row 1 .*"),
    ("pf.fit(KDE(kernel), bad(x, 3, nan), y)", "ValueError", r"`x` must be finite, .* in row 3 .*"),
    (
        "pf.fit(KDE(kernel), x, y[:, :1])",
        "ValueError",
        r"`y` must be \(M, 2\) like `x`, got \(7, 1\): .*",
    ),
    (
        "pf.fit(KDE(kernel), x)",
        "ValueError",
        (
            r"`y` must be \(M, d\) points for KDE, got None: pass samples of the target"
            r" distribution"
        ),
    ),
    (
        "next(pf.iterate(flow, bad(x, 3, nan), y, dt=0.1))",
        "ValueError",
        r"`x0` must be finite, .* in row 3 .*",
    ),
    ("flow.suggest_dt(bad(x, 3, nan), y)", "ValueError", r"`x` must be finite, .* in row 3 .*"),
    (
        "pf.samplers.FromArray(bad(x, 3, nan))",
        "ValueError",
        r"`points` must be finite, .* in row 3 .*",
    ),
    # empty, wrong rank
    (
        "run(x=x[:0])",
        "ValueError",
        r"`x0` must hold at least one point of at least one coordinate, got shape \(0, 2\)",
    ),
    (
        "run(y=y[:, :0])",
        "ValueError",
        r"`target` must hold at least one point of at least one coordinate, got shape \(7, 0\)",
    ),
    ("run(x=[])", "ValueError", r"`x0` must be \(n, d\), one row a point, got shape \(0,\).*"),
    (
        "run(x=x[0])",
        "ValueError",
        (
            r"`x0` must be \(n, d\), one row a point, got shape \(2,\): one coordinate per point is"
            r" x0\[:, None\]"
        ),
    ),
    (
        "run(x=x[None])",
        "ValueError",
        r"`x0` must be \(n, d\), one row a point, got shape \(1, 5, 2\)",
    ),
    ("run(x=3.0)", "ValueError", r"`x0` must be \(n, d\), one row a point, got shape \(\)"),
    # two clouds that cannot meet
    (
        "run(y=torch.ones(500, 3).double())",
        "ValueError",
        (
            r"`target` must be \(M, 2\) like `x0`, got \(500, 3\): pass the same coordinates, or"
            r" project with sklearn\.decomposition\.PCA"
        ),
    ),
    (
        "run(y=y.float())",
        "TypeError",
        (
            r"`x0` and `target` must have one dtype, got torch\.float64 and torch\.float32: convert"
            r" one, .*target\.to\(x0\.dtype\).*"
        ),
    ),
    (
        "__import__('particleflow._checks')._checks.same_space(x, y.to('meta'))",
        "ValueError",
        r"`x` and `y` must be on one device, got cpu and meta: move one, e\.g\. y\.to\(x\.device\)",
    ),
    (
        "run(y=pf.samplers.Minibatch(pf.samplers.Gaussian(dim=3), 9))",
        "ValueError",
        r"`target` must be \(M, 2\) like `x0`, got \(9, 3\): .*",
    ),
    (
        (
            "run(x=x.float(), y=pf.samplers.Minibatch(pf.samplers.Gaussian(dim=2), 9,"
            " dtype=torch.float64))"
        ),
        "TypeError",
        r"`x0` and `target` must have one dtype, .*",
    ),
    # types that are none
    (
        "run(x=x.half())",
        "TypeError",
        (
            r"`x0` must be float32 or float64, got torch\.float16: convert it with x0\.float\(\) or"
            r" x0\.double\(\)"
        ),
    ),
    (
        "run(y=y.bfloat16())",
        "TypeError",
        r"`target` must be float32 or float64, got torch\.bfloat16: convert it with .*",
    ),
    (
        "run(x=x.numpy().astype('float16'))",
        "TypeError",
        r"`x0` must be float32 or float64, got float16: convert it with x0\.astype\('float64'\)",
    ),
    (
        "run(x=x.to(torch.complex128))",
        "TypeError",
        r"`x0` must be float32 or float64, got torch\.complex128: .*",
    ),
    (
        "run(x='points.csv')",
        "TypeError",
        r"`x0` must be an \(n, d\) array of real numbers, got str .*",
    ),
    (
        "run(x=[[1.0, 2.0], [3.0]])",
        "TypeError",
        r"`x0` must be an \(n, d\) array of numbers, got rows of different lengths: .*",
    ),
    (
        "run(x=[['a', 'b']])",
        "TypeError",
        r"`x0` must be an \(n, d\) array of real numbers, got list .*",
    ),
    (
        "run(x=None)",
        "TypeError",
        r"`x0` must be an \(n, d\) array of real numbers, got NoneType .*",
    ),
    (
        "run(x=pf.samplers.Gaussian(dim=2))",
        "TypeError",
        (
            r"`x0` must be points, got the sampler Gaussian\(.*\): draw some,"
            r" x0=Gaussian\(\.\.\.\)\.sample\(300, seed=0\)"
        ),
    ),
    (
        "run(y=pf.samplers.Rings())",
        "TypeError",
        r"`target` must be points, got the sampler Rings\(.*\): draw some,"
        r" target=Rings\(\.\.\.\)\.sample\(300, seed=0\), "
        r"or a fresh batch at every step, target=Minibatch\(Rings\(\.\.\.\), 300\)",
    ),
    # masses
    (
        "run(x=Cloud(x, log_mass=torch.zeros(4).double()))",
        "ValueError",
        r"`log_mass` must be \(5,\), one for each point, got shape \(4,\)",
    ),
    (
        "run(x=Cloud(x, log_mass=torch.full((5,), nan).double()))",
        "ValueError",
        r"`x0` must have a total mass > 0 and finite, got nan: .*logsumexp.*",
    ),
    (
        "run(y=Cloud(y, log_mass=torch.full((7,), -inf).double()))",
        "ValueError",
        r"`target` must have a total mass > 0 .*, got 0: .*logsumexp.*",
    ),
    # kernels and estimators
    *(
        (
            f"{name}({value})",
            "ValueError",
            (
                rf"`bandwidth` must be > 0, got {value}: pass a length, e\.g\."
                r" .*default_bandwidth\(target\)"
            ),
        )
        for name in ("Gaussian", "Laplace", "Matern32", "Matern52", "IMQ")
        for value in ("0", "-1")
    ),
    ("Gaussian(nan)", "ValueError", r"`bandwidth` must be finite, got nan: .*"),
    (
        "Gaussian('median')",
        "TypeError",
        r"`bandwidth` must be a number, got str: pass a length, .*",
    ),
    ("Gaussian.from_denominator(-0.1)", "ValueError", r"`sigma` must be > 0, got -0\.1"),
    (
        "pf.kernels.median_distance(torch.ones(9, 2))",
        "ScaleError",
        (
            r"`points` must not be a constant cloud: the median distance between its 9 points is 0,"
            r" .*: pass bandwidth= yourself"
        ),
    ),
    (
        "pf.kernels.default_bandwidth([[1.0, 2.0]])",
        "ScaleError",
        r"`points` must not be a constant cloud: .* its 1 points is 0, .*",
    ),
    (
        "pf.kale_flow(kernel, lam=0)",
        "ValueError",
        (
            r"`lam` must be > 0, got 0: it is the weight of the penalty; 1e-2 is a fair start,"
            r" larger is nearer to MMD"
        ),
    ),
    (
        "KALE(kernel, lam=-1e-3)",
        "ValueError",
        r"`lam` must be > 0, got -0\.001: it is the weight .*",
    ),
    ("KALE(kernel, lam=nan)", "ValueError", r"`lam` must be finite, got nan: it is the weight .*"),
    (
        "KALE(kernel, lam='small')",
        "TypeError",
        r"`lam` must be a number, got str: it is the weight .*",
    ),
    ("KALE(kernel, lam=1, rtol=0)", "ValueError", r"`rtol` must be > 0, got 0"),
    (
        "KALE(kernel, lam=1, max_iterations=0)",
        "ValueError",
        r"`max_iterations` must be >= 1, got 0",
    ),
    (
        "pf.mmd_flow(0.2)",
        "TypeError",
        (
            r"`kernel` must be a kernel such as pf\.kernels\.Gaussian\(bandwidth=0\.2\) or a"
            r" callable .*, got float 0.2"
        ),
    ),
    (
        "KDE(Energy())",
        "TypeError",
        (
            r"`kernel` must be positive to estimate a density, got Energy\(\): use Gaussian,"
            r" Laplace, Matern32, Matern52, IMQ or Cauchy"
        ),
    ),
    (
        "pf.langevin(3.0)",
        "TypeError",
        (
            r"`target` must have log_density and score, or be a callable z -> log density or score,"
            r" got float: .*lambda z: -z"
        ),
    ),
    (
        "ClosedForm(score.target, current=3)",
        "TypeError",
        r"`current` must have log_density and score, or be Moments\(\), got int",
    ),
    ("ClosedForm(score.target, clip=0)", "ValueError", r"`clip` must be > 0, got 0"),
    ("Moments(jitter=-1)", "ValueError", r"`jitter` must be >= 0, got -1"),
    # flows
    (
        "pf.Flow(MMD(kernel), mobility=pf.mobilities.Vanilla())",
        "ValueError",
        (
            r"`mobility` must be Unit\(\) or Linear\(\) for MMD, got Vanilla\(shift=0\.0\): its"
            r" witness is a potential, .*: use an estimator .*"
        ),
    ),
    (
        "pf.mono_flow(MMD(kernel), pf.mobilities.Arcsinh())",
        "ValueError",
        r"`mobility` must be Unit\(\) or Linear\(\) for MMD, got Arcsinh\(\): .*",
    ),
    (
        "pf.Flow(kernel)",
        "TypeError",
        (
            r"`estimator` must be an estimator, got Gaussian: e\.g\."
            r" pf\.estimators\.KDE\(pf\.kernels\.Gaussian\(0\.2\)\)"
        ),
    ),
    (
        "pf.Flow(MMD)",
        "TypeError",
        r"`estimator` must be an estimator, got the class MMD without its parentheses: .*",
    ),
    (
        "pf.mono_flow(KDE(kernel), pf.mobilities.Vanilla)",
        "TypeError",
        r"`mobility` must have .*, got the class Vanilla without its parentheses: .*",
    ),
    (
        "pf.mono_flow(KDE(kernel), torch.sigmoid)",
        "TypeError",
        r"`mobility` must have h, slope and curvature, got .*: e\.g\. pf\.mobilities\.Vanilla\(\)",
    ),
    (
        "pf.mobilities.Exponential(-1)",
        "ValueError",
        r"`alpha` must be > 0, got -1: a monotone h needs alpha > 0; for alpha -> 0 use Unit\(\)",
    ),
    (
        "pf.mmd_flow(kernel, noise=-0.1)",
        "ValueError",
        (
            r"`noise` must be >= 0, got -0\.1: pass a number, a schedule such as"
            r" pf\.schedules\.Geometric, or a callable"
        ),
    ),
    (
        "pf.Flow(MMD(kernel), diffusion='yes')",
        "TypeError",
        r"`diffusion` must be a number, got str: pass a number, a schedule .*",
    ),
    (
        "pf.langevin(score.target, temperature=-1)",
        "ValueError",
        r"`temperature` must be >= 0, got -1",
    ),
    # time
    (
        "run(dt=0)",
        "ValueError",
        r"`dt` must be > 0, got 0: leave it out to have one chosen: flow\.suggest_dt\(x, y\)",
    ),
    ("run(dt=-0.1)", "ValueError", r"`dt` must be > 0, got -0\.1: leave it out .*"),
    ("run(dt=nan)", "ValueError", r"`dt` must be finite, got nan: leave it out .*"),
    ("run(dt='auto')", "TypeError", r"`dt` must be a number, got str: leave it out .*"),
    ("pf.iterate(flow, x, y, dt=-1)", "ValueError", r"`dt` must be > 0, got -1: leave it out .*"),
    (
        "run(steps=None)",
        "ValueError",
        r"pass exactly one of `steps` and `t1`, got steps=None and t1=None",
    ),
    (
        "run(steps=3, t1=1.0)",
        "ValueError",
        r"pass exactly one of `steps` and `t1`, got steps=3 and t1=1\.0",
    ),
    ("run(steps=0)", "ValueError", r"`steps` must be >= 1, got 0"),
    ("run(steps=2.5)", "TypeError", r"`steps` must be an integer, got 2\.5"),
    (
        "run(steps=None, t1=0)",
        "ValueError",
        r"`t1` must be later than the start, t = 0, got 0: pass a later time, or steps=",
    ),
    ("run(steps=None, t1=inf)", "ValueError", r"`t1` must be finite, got inf"),
    ("run(seed=-1)", "ValueError", r"`seed` must be >= 0, got -1"),
    ("run(seed=1.5)", "TypeError", r"`seed` must be an integer, got 1\.5"),
    # what belongs together
    (
        "run(flow=kernel)",
        "TypeError",
        (
            r"`flow` must be a Flow, got Gaussian: e\.g\."
            r" pf\.mmd_flow\(pf\.kernels\.Gaussian\(0\.2\)\)"
        ),
    ),
    ("run(flow=MMD(kernel))", "TypeError", r"`flow` must be a Flow, got MMD: .*"),
    (
        "run(y=None)",
        "ValueError",
        (
            r"`target` must be \(M, d\) points for Counting, got None: pass samples of the target"
            r" distribution"
        ),
    ),
    (
        "flow.suggest_dt(x)",
        "ValueError",
        (
            r"`y` must be \(M, d\) points for Counting, got None: pass samples of the target"
            r" distribution"
        ),
    ),
    (
        "run(integrator=pf.Heun)",
        "TypeError",
        (
            r"`integrator` must be an integrator, got <class .*>: e\.g\. pf\.Heun\(\) \(with its"
            r" parentheses\)"
        ),
    ),
    (
        "run(integrator='heun')",
        "TypeError",
        r"`integrator` must be an integrator, got 'heun': e\.g\. pf\.Heun\(\) .*",
    ),
    (
        "run(flow=pf.langevin(score.target), y=None, integrator=pf.RK4())",
        "ValueError",
        r"`integrator` must add the flow's diffusion, got RK4: use pf\.EulerMaruyama\(\)",
    ),
    (
        "run(metrics={'W2': 3})",
        "TypeError",
        (
            r"`metrics` must map names to metrics, got \{'W2': 3\}: e\.g\. \{'W2':"
            r" pf\.metrics\.W2\(\)\}"
        ),
    ),
    (
        "run(metrics=pf.metrics.W2())",
        "TypeError",
        r"`metrics` must map names to metrics, got W2\(.*\): .*",
    ),
    (
        "run(flow=pf.langevin(score.target), y=None, metrics={'W2': pf.metrics.W2()})",
        "ValueError",
        (
            r"`metrics` \['W2'\] compare with a target, got target=None: pass samples of the"
            r" target too"
        ),
    ),
    (
        "pf.SaveAt(every=2, steps=[1])",
        "ValueError",
        r"pass `every` or `steps`, not both, got every=2 and steps=\[1\]",
    ),
    ("pf.SaveAt(every=0)", "ValueError", r"`every` must be >= 1, got 0"),
    (
        "Replay({'noise': x[None]}).normal('brownian', 0, x)",
        "ValueError",
        r"`arrays` must hold the stream 'brownian', got \['noise'\]: record it too",
    ),
    (
        "run(flow=pf.Flow(KALE(kernel, lam=1e-3, max_iterations=1)))",
        "ValueError",
        r"`flow` cannot start: the estimator did not converge \(.*\): .*; no step was taken",
    ),
]


@pytest.fixture(scope="module")
def answers(python: Python) -> dict[str, tuple[str, str, int]]:
    lines = [line for line, _, _ in CASES]
    done = python.run("-c", PRELUDE, given=json.dumps(lines))
    assert done.returncode == 0, done.stderr
    return {
        line: tuple(answer) for line, answer in zip(lines, json.loads(done.stdout), strict=True)
    }


@pytest.mark.parametrize(("line", "kind", "text"), CASES, ids=[line for line, _, _ in CASES])
def test_bad_input_is_refused_by_name_before_any_work(
    answers: dict[str, tuple[str, str, int]], line: str, kind: str, text: str
) -> None:
    found, message, fits = answers[line]
    assert found == kind, message
    assert re.fullmatch(f"{text}(: .+)?", message, re.DOTALL), message
    assert re.search(r": \w", message), f"no remedy: {message}"
    assert fits == 0, "a fit was made before the input was refused"


def test_no_line_is_tested_twice() -> None:
    assert len({line for line, _, _ in CASES}) == len(CASES)
