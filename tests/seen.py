"""How the walk over all signatures looks at things: small clouds, what is seen of each kind of
part, and values that are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import particleflow as pf
from particleflow.clouds import Clock, Cloud, Draws

K, E, S, P = pf.kernels, pf.estimators, pf.samplers, pf.pairwise
SCHEDULES, LOSSES = pf.schedules, pf.losses


def normal(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)))


X, Y, Z = 0.7 * normal(12, 2, 0) + 0.6, normal(17, 2, 1), normal(9, 2, 2)
HEAVY = torch.linspace(0.5, 1.5, 12, dtype=torch.float64)
G, WIDE = K.Gaussian(0.8), K.Gaussian(1.6)
NOISY = pf.mmd_flow(G, noise=0.3)
ROUGH = P.Nystroem(rank=2, rtol=0.5)


@dataclass(frozen=True)
class Refused:
    """A value that is refused with this text, at the latest when the result is seen."""

    value: Any
    words: str


@dataclass(frozen=True)
class Warned:
    """A value that is taken, with a warning with this text."""

    value: Any
    words: str


@dataclass(frozen=True)
class Later:
    """A value that needs a folder to write to."""

    make: Callable[[Path], Any]


@dataclass(frozen=True)
class Elsewhere:
    """Tested in the test or file of this name."""

    words: str

    def found(self) -> bool:
        return any(
            self.words in path.name or f"def {self.words}" in path.read_text()
            for path in Path(__file__).parent.glob("test_*.py")
        )


class Acts:
    """How the parameters of one callable act: `see` of the result, what is `given`, and for each
    parameter (one value, another, further given).
    """

    def __init__(
        self, see: Callable[[Any], Any], given: Mapping[str, Any] | None = None, /, **pairs: Any
    ) -> None:
        self.see, self.given, self.pairs = see, given or {}, pairs


def bits(seen: Any) -> Any:
    """Something that is equal only where what was seen is."""
    if isinstance(seen, torch.Tensor):
        seen = seen.detach().cpu().numpy()
    if isinstance(seen, np.ndarray):
        return (seen.shape, str(seen.dtype), seen.tobytes())
    if isinstance(seen, Cloud):
        return bits((seen.points, seen.mass))
    if isinstance(seen, Mapping):
        return tuple((name, bits(value)) for name, value in sorted(seen.items()))
    if isinstance(seen, tuple | list):
        return tuple(bits(part) for part in seen)
    return seen


# ---------------------------------------------------------------- what is seen


def made_with(problem: Any, lam: float = 1.0) -> pf.Flow:
    return pf.mmd_flow(pf.kernels.Gaussian(lam * problem.bandwidth))


def made_wide(problem: Any, lam: float = 1.0) -> pf.Flow:
    return pf.mmd_flow(pf.kernels.Gaussian(3 * lam * problem.bandwidth))


A_TASK = pf.study.Task(
    "a",
    pf.samplers.Gaussian(dim=2),
    pf.samplers.Rings(),
    particles=5,
    targets=7,
    steps=2,
)
A_CONTENDER = pf.study.Contender("mmd", made_with, stepping=None)


def of_contender(contender: Any) -> Any:
    setup = contender.build(A_TASK.draw(0), contender.default)
    return contender.name, contender.title, sorted(contender.default), repr(setup.flow)


def of_task(task: Any) -> Any:
    drawn = task.draw(0)
    words = (task.name, task.title, task.as_images, drawn.steps, drawn.bandwidth)
    return (*words, drawn.x0, drawn.target)


def of_study(study: Any) -> Any:
    """What a study leaves, without the seconds, which are never the same."""
    found = []
    for row in study.run(progress=False).rows:
        curve = {name: values for name, values in row["curve"].items() if name != "seconds"}
        words = [row[name] for name in ("task", "contender", "role", "seed", "trajectory")]
        found.append((*words, curve))
    return found


def of_kernel(kernel: Any) -> Any:
    s = torch.linspace(0.1, 4, 7, dtype=torch.float64)
    return kernel.profile(s), kernel.slope(s), getattr(kernel, "bandwidth", None)


def of_features(choice: Any) -> Any:
    return choice.map(G, X, Y, Draws(0)).features(Z)


def of_neurons(neurons: Any) -> Any:
    d = 3 if neurons.output_weight is False else 4
    return neurons.features(normal(5, d, 3))


def of_rule(rule: Any) -> float:
    return float(rule.of(Cloud(Y)))


def of_fit(estimator: Any, *, x: Any = X, y: Any = Y) -> Any:
    fit = pf.fit(estimator, x, y)
    value = fit.witness.value_and_grad(Z)
    facts = {
        name: fit.report[name]
        for name in ("converged", "iterations", "gap", "slope", "gradient")
        if name in fit.report
    }
    return value, fit.value, facts


def of_two_fits(estimator: Any) -> Any:
    first = pf.fit(estimator, X, Y)
    second = estimator.fit(Cloud(X), Cloud(Y), Clock(0.1, 1, Draws(0)), first.memory)
    return first.witness.value_and_grad(Z), second.witness.value_and_grad(Z)


def of_mobility(mobility: Any) -> Any:
    w = torch.linspace(-2, 2, 9, dtype=torch.float64)
    return mobility.h(w), mobility.slope(w), mobility.curvature(w)


def of_sampler(sampler: Any) -> Any:
    return sampler.sample(50, seed=3)


def of_cloud(cloud: Any) -> Any:
    return cloud.points, cloud.mass


def of_sum(backend: Any, *, n: int = 300, kernel: Any = G, d: int = 2) -> Any:
    x, z = normal(n, d, 0), normal(40, d, 1)
    field = backend.sources(kernel, x).field(torch.full((n,), 1 / n, dtype=torch.float64))
    return field.value_and_grad(z), field.explain(z)["backend"], repr(field.promise(z))


def of_schedule(schedule: Any) -> list[float]:
    return [schedule(Clock(0.3 * n, n)) for n in range(9)]


def of_bandwidth(rule: Any) -> list[float]:
    """The bandwidths of a rule as the particles come nearer."""
    found: list[float] = []
    memory: dict[str, Any] = {}
    for step in range(8):
        x = Cloud(X + 4 - 0.5 * step)
        length, memory = rule.at(x, Cloud(Y), Clock(step=step), memory)
        found.append(length)
    return found


def of_noise(rule: Any) -> float:
    flow = pf.mmd_flow(K.Gaussian(0.6), noise=rule)
    return flow.beta(Cloud(X), pf.fit(flow.estimator, X, Y), Clock())


def of_entropy(f: Any) -> Any:
    return f.conjugate(torch.linspace(-0.4, 0.4, 5, dtype=torch.float64)), getattr(
        f, "recession", None
    )


def of_loss(loss: Any) -> Any:
    d = torch.linspace(0.2, 0.8, 5, dtype=torch.float64)
    return loss.phi(d), loss.psi(d), loss.log_ratio(d)


def of_metric(metric: Any) -> Any:
    return metric(X, Y)


def of_flow(flow: Any) -> Any:
    clock = Clock(0.2, 2)
    fit = flow.estimator.fit(Cloud(X), Cloud(Y), clock, {})
    moved = pf.simulate(flow, X, Y, steps=2, dt=0.05)
    return flow.velocity(Cloud(X), fit, clock), moved.particles, moved.log_mass is None


def of_path(path: Any) -> Any:
    kept = {
        name: path.report.get(name) for name in ("dt", "dt_suggested", "integrator", "flow", "seed")
    }
    return (
        path.particles,
        path.times,
        path.metrics,
        path.velocity is None,
        path.witness,
        path.target,
        kept,
    )


def of_runs(runs: Any) -> Any:
    return runs.seeds, [of_path(path) for path in runs]


def of_states(states: Iterator[Any]) -> Any:
    return [(state.x.points, state.clock.t) for _, state in zip(range(4), states, strict=False)]


def of_files(made: Any) -> Any:
    path = Path(made) if isinstance(made, str | Path) else None
    if path is None:
        made.canvas.draw()
        return np.asarray(made.canvas.buffer_rgba()).copy()
    return path.name, path.read_bytes()


def of_cloud_pair(pair: Any) -> Any:
    return [of_cloud(cloud) for cloud in pair]


def of_ratio(classifier: Any) -> Any:
    return classifier.fit(torch.cat([X, Y]).numpy(), np.repeat([0, 1], [12, 17])).predict_proba(
        Z.numpy()
    )


def of_ratio_fit(classifier: Any) -> Any:
    return classifier.predict_proba(Z.numpy())


def fitted(seed: int) -> Any:
    return pf.fit(E.ClosedForm(S.Gaussian(dim=2)), normal(8, 2, seed))


@dataclass(frozen=True)
class FewStates:
    """The first states of a run, as often as they are asked for."""

    kernel: Any

    def __iter__(self) -> Iterator[Any]:
        return islice(pf.iterate(pf.mmd_flow(self.kernel), X, Y, dt=0.3), 4)


CLASSIFIER = pf.scikit.RatioClassifier(E.KDE(G)).fit(
    torch.cat([X, Y]).numpy(), np.repeat([0, 1], [12, 17])
)


@dataclass(frozen=True)
class Fresh:
    """A new generator at each use."""

    seed: int


class Falling:
    """h = -w."""

    def h(self, w: torch.Tensor) -> torch.Tensor:
        return -w

    def slope(self, w: torch.Tensor) -> torch.Tensor:
        return torch.full_like(w, -1)

    def curvature(self, w: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(w)


def itself(value: Any) -> Any:
    return value


@cache
def run(flow: Any = pf.mmd_flow(G), steps: int = 6) -> pf.Trajectory:
    return pf.simulate(
        flow, X, Y, steps=steps, dt=0.1, save=pf.SaveAt(every=1), metrics={"W2": pf.metrics.W2()}
    )


@cache
def runs() -> pf.Runs:
    return pf.simulate_many(NOISY, X, Y, seeds=3, steps=4, dt=0.1, metrics={"W2": pf.metrics.W2()})


def png(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def picture(folder: Path, falling: bool = True) -> Path:
    ramp = np.linspace(0, 255, 40)[None].repeat(30, 0)
    ramp[:, :20] = 255
    return png(folder / f"{falling}.png", (ramp if falling else ramp[:, ::-1]).astype(np.uint8))


def table(
    folder: Path,
    name: str = "a.csv",
    text: str = "0.5,1.5,2.5\n1.25,2.25,3.75\n4.5,0.5,6.5\n2.5,3.5,1.5\n",
) -> Path:
    (folder / name).write_text(text)
    return folder / name


def archive(folder: Path) -> Path:
    np.savez(folder / "a.npz", a=X.numpy(), b=Y.numpy())
    return folder / "a.npz"


def wide(folder: Path) -> Path:
    np.save(folder / "wide.npy", normal(4, 9, 0).numpy())
    return folder / "wide.npy"
