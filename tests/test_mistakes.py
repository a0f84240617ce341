"""Honest mistakes of new users, each answered by what was expected, what came and the remedy. All
in one process without this suite's type checks.
"""

from __future__ import annotations

import json
import re

import pytest
from forked import Python

SETTING = """
import json, sys, tempfile, warnings
import numpy as np, torch
import particleflow as pf
warnings.simplefilter("ignore")
K, E, S, M = pf.kernels, pf.estimators, pf.samplers, pf.metrics
rng = np.random.default_rng(0)
x, y = rng.normal(size=(30, 2)), rng.normal(size=(40, 2))
kernel = K.Gaussian(0.5)
flow = pf.mmd_flow(kernel)
path = pf.simulate(flow, x, y, steps=2, dt=0.1)
folder = tempfile.mkdtemp()
class Frame:
    def __array__(self, dtype=None, copy=None):
        return np.array([["a", 1.0]] * 5, dtype=object)
class Counted:
    # a Gaussian that counts the sums it serves
    calls = 0
    def profile(self, s):
        Counted.calls += 1
        return kernel.profile(s)
    def slope(self, s):
        Counted.calls += 1
        return kernel.slope(s)
    def curvature(self, s):
        Counted.calls += 1
        return kernel.curvature(s)
class Drawing:
    # rings that count how often they are drawn from
    dim = 2
    def sample(self, n, *, seed=0, dtype=None, device=None):
        Counted.calls += 1
        return S.Rings().sample(n, seed=seed, dtype=dtype, device=device)
counted, drawing = pf.mmd_flow(Counted()), S.Minibatch(Drawing(), 20)
answers = {}
for line in json.load(sys.stdin):
    Counted.calls = 0
    try:
        eval(line)
    except Exception as error:
        answers[line] = "\\n".join([str(error), *getattr(error, "__notes__", ())]), Counted.calls
print(json.dumps(answers))
"""

# The mistake; the argument, what came and the remedy, in this order.
MISTAKES = {
    "pf.simulate(flow, x[:, 0], y, steps=2)": (
        r"`x0` must be \(n, d\).*got shape \(30,\): .*x0\[:, None\]"
    ),
    "pf.simulate(flow, x.T, y, steps=2)": (
        r"`target` must be \(M, 30\) like `x0`, got \(40, 2\): pass"
    ),
    "pf.simulate(flow, x[None], y, steps=2)": (
        r"`x0` must be \(n, d\), one row a point, got shape \(1, 30, 2\)"
    ),
    "pf.simulate(x, y, flow, steps=2)": r"`flow` must be a Flow, got ndarray: e\.g\.",
    "pf.simulate(kernel, x, y, steps=2)": r"`flow` must be a Flow, got Gaussian: e\.g\.",
    "pf.simulate(pf.mmd_flow, x, y, steps=2)": r"`flow` must be a Flow, got function: e\.g\.",
    "pf.simulate(flow, S.Rings, y, steps=2)": r"`x0` must be points, got the class Rings: pass",
    "pf.simulate(flow, S.Rings(), y, steps=2)": (
        r"`x0` must be points, got the sampler Rings.*: draw some"
    ),
    "pf.simulate(flow, [['a', 'b']], y, steps=2)": (
        r"`x0` must be an \(n, d\) array of real numbers, got list"
    ),
    "pf.simulate(flow, Frame(), y, steps=2)": (
        r"`x0` must be an \(n, d\) array of real numbers, got Frame"
    ),
    "pf.simulate(flow, x, y, steps=2, dt='0.1')": r"`dt` must be a number, got str: leave it out",
    "pf.simulate(flow, x, y, steps=2, dt=-1)": r"`dt` must be > 0, got -1: leave it out",
    "pf.simulate(flow, x, y, steps=0)": r"`steps` must be >= 1, got 0: pass how many steps",
    "pf.simulate(flow, x, y, steps=1.5)": (
        r"`steps` must be an integer, got 1\.5: pass how many steps"
    ),
    "pf.simulate(flow, x, y, steps='10')": (
        r"`steps` must be an integer, got '10': pass how many steps"
    ),
    "pf.simulate(flow, x, y)": (
        r"exactly one of `steps` and `t1`, got steps=None and t1=None: e\.g\. steps=100"
    ),
    "pf.simulate(flow, x, y, steps=2, t1=1)": (
        r"exactly one of `steps` and `t1`, got steps=2 and t1=1: leave one out"
    ),
    "pf.simulate(flow, x, y, steps=2, metrics=[M.W2()])": (
        r"`metrics` must map names to metrics, got \[W2.*: e\.g\."
    ),
    "pf.simulate(flow, x, y, steps=2, metrics={'W2': M.W2})": (
        r"`metrics` must map names to metrics, got .*W2.*: e\.g\."
    ),
    "pf.simulate(flow, x, y, steps=2, metrics={'v': lambda a, b: np.zeros(3)})": (
        r"`metrics` 'v' must return one number, got ndarray of .*3.*: pass"
    ),
    "pf.simulate(flow, x, y, steps=2, metrics={'v': lambda a: 1.0})": (
        r"`metrics` 'v' must take two clouds.*got function .*: pass"
    ),
    "pf.simulate(flow, x, steps=2)": r"`target` must be \(M, d\) points for MMD, got None: pass",
    "pf.simulate(flow, x, y[:, :1], steps=2)": (
        r"`target` must be \(M, 2\) like `x0`, got \(40, 1\): pass"
    ),
    "pf.simulate(flow, torch.tensor(x).float(), torch.tensor(y), steps=2)": (
        r"`x0` and `target` must have one dtype, got .*float32.*: convert"
    ),
    "pf.simulate(flow, x, lambda clock: y, steps=2)": (
        r"`target` must be an \(n, d\) array of real numbers, got function"
    ),
    "pf.simulate(flow, x, y, steps=2, seed=1.5)": (
        r"`seed` must be an integer, got 1\.5: pass a whole number"
    ),
    "pf.simulate(flow, x, y, steps=2, seed=-1)": (
        r"`seed` must be >= 0, got -1: pass a whole number"
    ),
    "pf.simulate(flow, x, y, steps=2, save=10)": r"`save` must be a SaveAt, got 10: e\.g\.",
    "pf.simulate(flow, x, y, steps=2, integrator=pf.Heun)": (
        r"`integrator` must be an integrator, got .*Heun.*: e\.g\. pf\.Heun\(\)"
    ),
    "pf.simulate(flow, x, y, steps=2, integrator='heun')": (
        r"`integrator` must be an integrator, got 'heun': e\.g\."
    ),
    "pf.simulate(pf.langevin(S.Gaussian(dim=2)), x, steps=2, integrator=pf.Heun())": (
        r"`integrator` must add the flow's diffusion, got Heun: use"
    ),
    "pf.simulate(pf.langevin(lambda z: 0.0), x, steps=2, dt=0.1)": (
        r"`target` must map z \(Q, d\) to a log density .*got float: pass"
    ),
    "pf.mmd_flow(kernel, noise='big')": r"`noise` must be a number, got str: pass",
    "pf.mmd_flow(kernel, noise=-1)": r"`noise` must be >= 0, got -1: pass",
    "pf.mmd_flow(lambda clock: clock.t)": r"`kernel` must map .*got <function <lambda>.*: pass",
    "pf.kale_flow(kernel, lam=0)": r"`lam` must be > 0, got 0: it is",
    "pf.mono_flow(E.KDE(kernel), 'js')": (
        r"`mobility` must have h, slope and curvature, got str: e\.g\."
    ),
    "pf.mono_flow(E.KDE, pf.mobilities.Unit())": (
        r"`estimator` must be an estimator, got the class KDE without its parentheses: e\.g\."
    ),
    "pf.mono_flow(kernel)": r"`estimator` must be an estimator, got Gaussian: e\.g\.",
    "E.KDE(lambda s: torch.exp(-s))": (
        r"`kernel` must be positive to estimate a density, got Radial.*: use"
    ),
    "E.Moreau(kernel, divergence='js', lam=0.1)": r"`divergence` must be an entropy .*got str",
    "K.Gaussian()": r"`bandwidth` must be a number for Gaussian, got nothing: pass",
    "K.default_bandwidth(S.Rings())": r"`points` must be .*got the sampler Rings.*: draw some",
    "S.Rings().sample(0)": r"`n` must be >= 1, got 0: pass how many points",
    "S.Minibatch(S.Rings(), 0)": r"`size` must be >= 1, got 0: pass how many points",
    "S.FromFile(folder + '/nothing.csv').sample(3)": (
        r"`path` must be a file that exists, got .*nothing\.csv: pass"
    ),
    "M.W2()(x, y[:, :1])": r"`y` must be \(M, 2\) like `x`, got \(40, 1\): pass",
    "path.plot(folder + '/a.foo')": r"`file` must end in .*got '.*a\.foo': pass",
    "path.animate(folder + '/a.txt')": r"`file` must end in \.gif \.mp4, got '.*a\.txt': pass",
    "path.save('/nowhere/at/all/a.npz')": (
        r"`path` '/nowhere/at/all/a\.npz' could not be written: .*: choose"
    ),
    "path.cloud(99)": r"`index` must be between -3 and 2, got 99: the run has 3 records",
    "pf.plotting.film(path)": r"`states` must be states of one run, got a Trajectory: use",
    "pf.fit(E.KDE(kernel), x)": r"`y` must be \(M, d\) points for KDE, got None: pass",
    "pf.kernals": r"has no attribute 'kernals'; did you mean 'kernels'\?",
    "pf.kernels.Gausian": r"has no attribute 'Gausian'; did you mean 'Gaussian'\?",
    "pf.estimators.Kale": r"has no attribute 'Kale'; did you mean 'KALE'\?",
    "pf.simulat": r"has no attribute 'simulat'; did you mean 'simulate'\?",
    "pf.nothing_of_the_kind": r"has no attribute 'nothing_of_the_kind'$",
    "pf.KALE": r"has no attribute 'KALE'; did you mean 'particleflow\.estimators\.KALE'\?",
    "pf.metrics.KALE": r"has no attribute 'KALE'; did you mean 'particleflow\.estimators\.KALE'\?",
    "pf.metrics.SlicedW": r"has no attribute 'SlicedW'; did you mean 'SlicedW2'\?",
    "pf.mobilities.Vanila": r"has no attribute 'Vanila'; did you mean 'Vanilla'\?",
    "pf.plotting.animat": r"has no attribute 'animat'; did you mean 'animate'\?",
    "pf.losses.Bce": r"has no attribute 'Bce'; did you mean 'BCE'\?",
    "pf.divergences.JensenShanon": (
        r"has no attribute 'JensenShanon'; did you mean 'JensenShannon'\?"
    ),
    "pf.schedules.Geometrc": r"has no attribute 'Geometrc'; did you mean 'Geometric'\?",
    "pf.flows.mmd_flows": r"has no attribute 'mmd_flows'; did you mean 'mmd_flow'\?",
    "pf.clouds.Clouds": r"has no attribute 'Clouds'; did you mean 'Cloud'\?",
    "pf.scikit.RatioClasifier": (
        r"has no attribute 'RatioClasifier'; did you mean 'RatioClassifier'\?"
    ),
    "pf.simulate(flow, x, y, steps=2, metrics={'mine': lambda a, b: 1 / 0})": (
        r"division by zero\nraised in `metrics` 'mine' \(<lambda>,"
    ),
    "pf.SaveAt(steps=5)": (
        r"`steps` must be several, got 5: pass a list of step numbers, .*SaveAt\(every=5\)"
    ),
    "pf.SaveAt(steps='all')": r"`steps` must be several, got 'all': pass a list",
    "pf.SaveAt(steps=[1.5])": r"`steps` must be an integer, got 1\.5: pass whole numbers",
    "pf.SaveAt(every=0)": r"`every` must be >= 1, got 0: the number of steps between two records",
    "pf.SaveAt(velocity='yes')": r"`velocity` must be True or False, got 'yes': write",
    "pf.plotting.film([path])": (
        r"`states` must be states of one run, got a Trajectory among them: .*animate"
    ),
    "pf.plotting.film({'MMD': path})": r"`states` must be several, got \{'MMD'.*: .*animate",
    "pf.plotting.film(5, 'a.gif')": (
        r"`states` must be several, got 5: pass what pf\.iterate yields"
    ),
    "pf.plotting.film(iter([]))": (
        r"`file` must be a path that ends in \.gif or \.mp4, got None: pass"
    ),
    "path.save('x.csv')": r"`path` must end in \.npz, got 'x\.csv': pass 'x\.npz'; for a table",
    "path.save(5)": r"`path` must be the path of a file, got 5: pass e\.g\. 'run\.npz'",
    "pf.Trajectory.load('nothing.npz')": (
        r"`path` must be a saved trajectory, and there is no file 'nothing\.npz': pass"
    ),
    "path.cloud(0.5)": r"`index` must be an integer, got 0\.5: pass the number of a record",
    "S.Rings(noise=-1)": r"`noise` must be >= 0, got -1: pass 0 or more",
    "S.Mixture(S.Rings())": r"`components` must be several, got Rings.*: pass a list",
    "M.floor(M.W2, y, 10)": r"`metric` must be a metric, got the class W2: e\.g\.",
    "pf.schedules.Piecewise(100, [1.0, 0.1])": (
        r"`boundaries` must be several, got 100: pass a list of numbers"
    ),
}


# The same of runs that would begin with work: the kernel's sums and the sampler's draws are
# counted.
BEFORE_WORK = {
    "pf.simulate(counted, x, y)": "exactly one of `steps` and `t1`",
    "pf.simulate(counted, x, y, steps=0)": "`steps` must be >= 1",
    "pf.simulate(counted, x, y, steps=2, dt=-1)": "`dt` must be > 0",
    "pf.simulate(counted, x, y, t1='later')": "`t1` must be a number",
    "pf.simulate(counted, x, y, t1=-1)": "`t1` must be later than the start",
    "pf.simulate(counted, x, y[:, :1], steps=2)": r"`target` must be \(M, 2\)",
    "pf.simulate(counted, np.full((3, 2), np.nan), y, steps=2)": "`x0` must be finite",
    "pf.simulate(counted, x, y, steps=2, metrics={'v': lambda a: 1.0})": (
        "`metrics` 'v' must take two clouds"
    ),
    "pf.simulate(counted, x, y, steps=2, metrics=[M.W2()])": "`metrics` must map names to metrics",
    "pf.simulate(counted, x, y, steps=2, save=10)": "`save` must be a SaveAt",
    "pf.simulate(counted, x, y, steps=2, save=pf.SaveAt(steps=5))": "`steps` must be several",
    "pf.simulate(counted, x, y, steps=2, integrator='heun')": "`integrator` must be an integrator",
    "pf.simulate(counted, x, y, steps=2, seed=1.5)": "`seed` must be an integer",
    "pf.simulate(counted, x, y, steps=2, seed=1, draws=pf.Draws(1))": (
        "pass `seed` or `draws`, not both"
    ),
    "pf.simulate(counted, x, y, steps=2, draws=5)": "`draws` must have normal",
    "pf.simulate(counted, x, drawing, steps=0)": "`steps` must be >= 1",
    "pf.simulate(counted, x, drawing, steps=2, save=10)": "`save` must be a SaveAt",
    "pf.simulate(counted, x, drawing, steps=2, dt='small')": "`dt` must be a number",
    "pf.simulate(counted, x, Drawing(), steps=2)": "`target` must be points, got the sampler",
    "pf.simulate(counted, Drawing(), y, steps=2)": "`x0` must be points, got the sampler",
    "pf.simulate(counted, x, drawing, steps=2, integrator='heun')": (
        "`integrator` must be an integrator"
    ),
    "pf.simulate(counted, x, drawing, steps=2, metrics=[M.W2()])": (
        "`metrics` must map names to metrics"
    ),
    "pf.simulate(counted, x, drawing, t1=-1, dt=0.1)": "`t1` must be later than the start",
    "pf.iterate(counted, x, y, dt=-1)": "`dt` must be > 0",
    "pf.plotting.film(pf.iterate(counted, x, y, dt=0.1), 'a.txt')": r"`file` must end in \.gif",
    "pf.plotting.film(pf.iterate(counted, x, y, dt=0.1))": (
        r"`file` must be a path that ends in \.gif or \.mp4"
    ),
    "pf.fit(counted.estimator, x)": r"`y` must be \(M, d\) points",
    "pf.fit(counted.estimator, x, y, seed=-1)": "`seed` must be >= 0",
}


@pytest.fixture(scope="module")
def answers(python: Python) -> dict[str, tuple[str, int]]:
    lines = [*MISTAKES, *BEFORE_WORK]
    done = python.run("-c", SETTING, given=json.dumps(lines))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_by_its_name_its_value_and_the_remedy(
    answers: dict[str, tuple[str, int]], mistake: str
) -> None:
    told, _ = answers.get(mistake, (None, 0))
    assert told is not None, "it was accepted"
    assert re.search(MISTAKES[mistake], told, re.DOTALL), told


@pytest.mark.parametrize("mistake", BEFORE_WORK)
def test_a_mistake_is_answered_before_any_work(
    answers: dict[str, tuple[str, int]], mistake: str
) -> None:
    told, calls = answers.get(mistake, (None, 0))
    assert told is not None, "it was accepted"
    assert re.search(BEFORE_WORK[mistake], told, re.DOTALL), told
    assert calls == 0, "work was done before the refusal"


def test_work_is_counted(python: Python) -> None:
    code = (
        SETTING.partition("answers = {}")[0]
        + "Counted.calls = 0; pf.simulate(counted, x, drawing, steps=2, dt=0.1);"
        " print(Counted.calls)"
    )
    assert int(python.run("-c", code).stdout) > 5
