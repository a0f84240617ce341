"""Every argument of every public constructor and function, given what it cannot be: it is refused
with its name, what came and what to do instead.

All in one process without this suite's type checks, which would answer first.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from forked import Python

WALK = r"""
import inspect, json, re, sys, warnings
import numpy as np, torch
import particleflow as pf

warnings.simplefilter("ignore")
K, E, S, M, Mo, D, PW = (
    pf.kernels,
    pf.estimators,
    pf.samplers,
    pf.metrics,
    pf.mobilities,
    pf.divergences,
    pf.pairwise,
)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(6, 2)), rng.normal(size=(9, 2))
np.savetxt("points.csv", y, delimiter=",")
kernel = K.Gaussian(0.5)
flow = pf.mmd_flow(kernel)
path = pf.simulate(flow, x, y, steps=2, dt=0.1)
states = list(__import__("itertools").islice(pf.iterate(flow, x, y, dt=0.1), 3))


class Thing:
    pass


WRONG = ["wrong", -1, 0, 1.5, float("nan"), float("inf"), None, [], Thing(), {}, True, Thing]
CALLS = []


def call(function, **valid):
    CALLS.append((function, valid))


call(
    pf.simulate,
    flow=flow,
    x0=x,
    target=y,
    steps=2,
    dt=0.1,
    integrator=pf.Euler(),
    stop=pf.Arrived(),
    save=pf.SaveAt(),
    metrics={},
    seed=0,
    progress=False,
)
call(pf.simulate, flow=flow, x0=x, target=y, t1=0.1, dt=0.1, draws=pf.Draws(0))
call(pf.iterate, flow=flow, x0=x, target=y, dt=0.1, integrator=pf.Euler(), seed=0)
MANY = {"flow": flow, "seeds": 2, "jobs": 1}
call(
    pf.simulate_many,
    starts=x,
    target=y,
    steps=1,
    dt=0.1,
    integrator=pf.Euler(),
    save=pf.SaveAt(),
    metrics={},
    progress=False,
    **MANY,
)
call(pf.simulate_many, starts=S.Gaussian(dim=2), target=S.Rings(), n=3, m=4, t1=0.1, dt=0.1, **MANY)
runs = pf.simulate_many(starts=x, target=y, steps=1, dt=0.1, **MANY)
call(runs.band, name="energy", quantiles=(0.1, 0.9))
call(pf.fit, estimator=E.MMD(kernel), x=x, y=y, seed=0)
call(
    pf.Flow,
    estimator=E.KDE(kernel),
    mobility=Mo.Unit(),
    noise=0.1,
    diffusion=0.1,
    reaction=lambda w: w,
)
call(pf.mmd_flow, kernel=kernel, noise=0.1, pairwise=PW.Auto())
call(pf.kale_flow, kernel=kernel, lam=0.1, noise=0.1, pairwise=PW.Auto())
call(pf.mono_flow, estimator=E.KDE(kernel), mobility=Mo.Unit(), noise=0.1)
call(pf.wgan_flow, critic=E.CTransformCritic(), noise=0.1)
call(pf.langevin, target=S.Gaussian(dim=2), temperature=1.0)
call(pf.unbalanced, flow=flow, rate=1.0, resample=0.5, jitter=0.1)
call(pf.ift_flow, kernel=kernel, rate=1.0, noise=0.1, pairwise=PW.Auto(), resample=0.5, jitter=0.1)
call(pf.stragglers, flow=flow, pull=None, reborn=True, beyond=1.0, jitter=0.1)
call(flow.suggest_dt, x=x, y=y)
call(pf.auto_flow, x=x, y=y, kind="auto", kernel=K.IMQ(1.0), bandwidth=0.5, start=9.0, steps=20)
call(pf.auto_flow, x=x, y=y, kind="kale", lam=0.1)
call(pf.auto_flow, x=x, y=y, kind="mono", mobility=Mo.Unit(), pairwise=PW.Auto())
call(E.Annealed, estimator=E.MMD(kernel), bandwidth=pf.Continuation(5))
call(pf.Arrived, after=0, every=5, patience=2)
for save in ({"every": 2}, {"steps": [1]}, {"velocity": True}, {"witness": True}):
    call(pf.SaveAt, **save)
call(pf.Draws, seed=1)
call(pf.Replay, arrays={}, seed=1)
call(pf.Cloud, points=y, mass=np.ones(9))
call(pf.Cloud, points=y, log_mass=np.zeros(9))
call(path.save, path="a.npz")
call(pf.Trajectory.load, path="a.npz")
call(path.cloud, index=0)
call(K.Gaussian.from_denominator, sigma=1.0)
call(K.Gaussian.from_variance, variance=1.0)
call(K.Gaussian.from_gamma, gamma=1.0)
call(K.default_bandwidth, points=y)
call(K.median_distance, points=y)
call(S.Rings().sample, n=3, seed=0, dtype=None)
call(S.Mixture.four_gaussians, side=1.8, std=0.25)
call(M.W2(), x=x, y=y)
call(M.two_sample, x=x, y=y, kernel=kernel, permutations=9, seed=0)
call(M.floor, metric=M.SlicedW2(), y=y, n=10, seed=0)
call(Mo.custom, h=lambda d: d, slope=None)
call(Mo.from_divergence, divergence=D.KL())
FILM = {
    "fps": 20,
    "title": "",
    "color": "start",
    "dark": False,
    "transparent": False,
    "axes": None,
    "xlim": None,
    "ylim": None,
    "as_images": None,
    "size": None,
    "dpi": 50,
}
MORE = {"seconds": 0.1, "pace": "path", "trails": 0.2, "arrows": False, "inset": True}
call(pf.plotting.animate, paths=path, file="a.gif", orbit=None, **FILM, **MORE)
call(
    pf.plotting.player, paths=path, file="a.html", title="two", as_images=(2, 1), python="run()"
)
PICTURE = {"file": "a.png", "ax": None, "title": "", "dark": False, "size": None, "dpi": 60}
LIMITS = {"xlim": None, "ylim": None}
SHOWN = {"color": "start", "trails": 0.2, "arrows": True, "axes": None, "as_images": None}
call(
    pf.plotting.snapshots, paths=path, records=[0], density=None, **SHOWN, **LIMITS, **PICTURE
)
call(pf.plotting.curves, paths=path, metrics=None, **PICTURE)
asked = {"at": 0, "what": "witness", "arrows": True, "points": True}
call(pf.plotting.field, path=path, flow=flow, **asked, **LIMITS, **PICTURE)
call(
    pf.plotting.film,
    states=states,
    file="a.gif",
    target=y,
    **FILM,
)

labels = {"x_labels": [0, 1] * 3, "y_labels": [0, 1, 1] * 3, "between": 0.0}
call(E.Labelled, estimator=E.MMD(kernel), **labels)
call(pf.labelled, flow=flow, **labels)
call(pf.record, states=states, save=pf.SaveAt(), metrics={}, stop=pf.AtRest())
call(pf.AtRest, rtol=0.1, atol=0.1, every=2)
call(pf.EnergyBelow, rtol=0.1, atol=0.1, every=2)
call(pf.NoProgress, rtol=0.1, every=2, patience=3)
call(pf.Checkpoint, folder="kept", every=2, seconds=0.5)

KNOWN = {
    "kernel": kernel,
    "lam": 0.1,
    "estimator": E.MMD(kernel),
    "beyond": 1.0,
    "divergence": D.JensenShannon(),
    "target": S.Gaussian(dim=2),
    "dim": 2,
    "sampler": S.Rings(),
    "size": 3,
    "components": [S.Gaussian(dim=2)],
    "points": y,
    "path": "points.csv",
    "data": y,
    "count": 5,
    "value": 1.0,
    "initial": 1.0,
    "final": 0.5,
    "length": 4.0,
    "steps": 5,
    "radius": 0.5,
    "start": 1.0,
    "boundaries": [1.0],
    "values": [1.0, 2.0],
    "alpha": 0.5,
    "factor": 1.0,
    "bandwidth": 0.5,
    "of": torch.exp,
    "integrator": pf.Euler(),
    "low": -9.0,
    "high": 9.0,
}
# Results, that users do not make; and what needs a picture or a compiler.
LEFT_OUT = {
    "Annealed",
    "Course",
    "Labelled",
    "Fit",
    "FieldWitness",
    "Floor",
    "TwoSample",
    "Audit",
    "Promise",
    "Clock",
    "Snapshot",
    "UnconvergedError",
    "RungeKutta",
    "Embedded",
    "NoiseRule",
    "SignalNoise",
    "State",
    "FromImage",
    "KeOps",
    "Custom",
    "Induced",
    "Moments",
    "FixedTarget",
    "FixedCloud",
    "Kept",
    "FeatureKernel",
}
for room in (K, E, S, M, Mo, D, PW, pf.losses, pf.schedules, pf.adaptive, pf.integrators):
    own = [
        name
        for name, value in vars(room).items()
        if inspect.isclass(value) and value.__module__ == room.__name__
    ]
    for name in getattr(room, "__all__", own):
        made = getattr(room, name)
        if (
            name in LEFT_OUT
            or name.startswith("_")
            or not inspect.isclass(made)
            or getattr(made, "_is_protocol", False)
            or inspect.isabstract(made)
        ):
            continue
        asked = inspect.signature(made).parameters.values()
        needed = {p.name for p in asked if p.default is p.empty} | {"bandwidth", "dim"}
        given = {p.name: KNOWN.get(p.name) if p.name in needed else p.default for p in asked}
        call(made, **given)

found = {}
for function, valid in CALLS:
    name = getattr(function, "__qualname__", type(function).__name__)
    found.setdefault(name, [])
    try:
        function(**valid)
    except Exception as error:
        found[name].append(f"the valid call was refused: {error!r}")
    for argument in valid:
        refused = 0
        for wrong in WRONG:
            try:
                function(**{**valid, argument: wrong})
            except Exception as error:
                told, refused = str(error), refused + 1
                named = f"`{argument}`" in told or name in ("floor", "W2.__call__")
                answered = re.search(r"(got|and|needed|looked)\b.*?(: |e\.g\. )", told, re.DOTALL)
                if not (named and answered):
                    found[name].append(f"{argument}={wrong!r:.30}: {type(error).__name__}: {told}")
        if not refused:
            found[name].append(f"{argument} takes anything")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def walked(python: Python, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    done = python.run("-c", WALK, cwd=tmp_path_factory.mktemp("walk"))
    assert done.returncode == 0, done.stderr
    found: Any = json.loads(done.stdout.splitlines()[-1])
    return dict(found)


def test_every_argument_that_cannot_be_is_refused_with_its_name_what_came_and_a_remedy(
    walked: dict[str, list[str]],
) -> None:
    wrong = {name: answers for name, answers in walked.items() if answers}
    assert not wrong, "\n".join(
        f"{name}: {answer}" for name, answers in wrong.items() for answer in answers
    )


def test_the_walk_goes_over_the_public_names(walked: dict[str, list[str]]) -> None:
    assert len(walked) > 80
    assert {
        "simulate",
        "Gaussian",
        "KALE",
        "Mesh",
        "Minibatch",
        "SlicedW2",
        "film",
        "field",
        "SaveAt",
        "Geometric",
    } <= set(walked)
