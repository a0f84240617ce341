"""The suggested time step beside the largest stable one, for each kernel and flow.

A step is stable if `STEPS` steps of it end as well as shorter ones:

1. The run completes: its energy does not rise, and the particles stay (`Trajectory.status`).
2. The energy of a conservative flow is at most `WORSE` times that of each shorter step tried, after
   as many steps. These cover less time: an energy that falls is higher there.
3. So is W2 to the target. Where it is not, the flow itself may lead away from the target. Then W2
   is at most `WORSE` times that of a quarter of the step at the same time.
4. The particles do not hop. The second difference of the last three states (root mean square) is
   at most `HOP` times the spacing of the target's points. Diffusion hops, and is left out.

The largest stable step is searched from a quarter of the suggested one: the suggested one, factors
of 2, then one of sqrt 2.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

import particleflow as pf
from particleflow.clouds import as_cloud
from particleflow.estimators import KDE, ClosedForm, Moments
from particleflow.kernels import default_bandwidth
from particleflow.kernels.bandwidth import spacing
from particleflow.samplers import Gaussian, Mixture, Moons, Rings, Sampler

from . import environment, options, report

# Steps of a run: some twenty times the inverse of the fastest rate at a suggested step.
STEPS = 200
# The factor by which an end may be worse than that of shorter steps: a tenth, which noise is not.
WORSE = 1.1
# The second difference of the particles in spacings of the target: half the way to a neighbour.
HOP = 0.5
# The most doublings of a suggested step that are tried.
DOUBLINGS = 10
# Particles and points of the target.
SIZES = (50, 60)

# Start and target of each task.
TASKS: dict[str, tuple[Sampler, Sampler]] = {
    "rings": (Gaussian(mean=(0.0, -0.3), std=0.1), Rings()),
    "moons": (Gaussian(mean=(0.0, -0.3), std=0.3), Moons()),
    "gaussian": (Gaussian(mean=(1.0, 0.5), std=0.5), Gaussian(dim=2)),
    "far": (Gaussian(mean=(5.0, 0.0), std=0.5), Gaussian(dim=2)),
    "line": (Gaussian(dim=1, mean=-1.0, std=0.5), Gaussian(dim=1)),
    "five": (Gaussian(dim=5, mean=0.5, std=0.5), Gaussian(dim=5)),
}
KERNELS: dict[str, Callable[[float], pf.kernels.Kernel]] = {
    "Gaussian": pf.kernels.Gaussian,
    "Matern52": pf.kernels.Matern52,
    "Matern32": pf.kernels.Matern32,
    "IMQ": pf.kernels.IMQ,
    "Cauchy": pf.kernels.Cauchy,
    "Laplace": pf.kernels.Laplace,
    "Energy": lambda bandwidth: pf.kernels.Energy(),
}
# Flows of a kernel.
FLOWS: dict[str, Callable[[pf.kernels.Kernel], pf.Flow]] = {
    "mmd": pf.mmd_flow,
    "kale-0.1": partial(pf.kale_flow, lam=0.1),
    "kale-0.001": partial(pf.kale_flow, lam=1e-3),
    "kde": lambda kernel: pf.mono_flow(KDE(kernel)),
}
# Flows of a known density.
KNOWN: dict[str, Callable[[Sampler], pf.Flow]] = {
    "closed": lambda law: pf.mono_flow(ClosedForm(law, current=Moments())),
    "langevin": pf.langevin,
}


@dataclass(frozen=True)
class Problem:
    """A flow, its start and its target."""

    name: str
    flow: pf.Flow
    x: Tensor
    y: Tensor

    @property
    def seen(self) -> Tensor | None:
        """The target as the flow sees it."""
        return self.y if self.flow.estimator.needs_target else None

    @property
    def suggested(self) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.flow.suggest_dt(self.x, self.seen)


@dataclass(frozen=True)
class End:
    """The energy (0 without one), W2 and the particles' second difference at the end of a run."""

    energy: float
    w2: float
    hop: float


def problem(
    flow: str, kernel: str, task: str, seed: int = 0, sizes: tuple[int, int] = SIZES
) -> Problem:
    """A flow with a kernel of the target's default bandwidth; a known density has no kernel."""
    start, law = TASKS[task]
    draws = pf.Draws(seed)
    x = start.sample(sizes[0], seed=draws.child_seed("start", 0))
    y = law.sample(sizes[1], seed=draws.child_seed("target", 0))
    if flow in KNOWN:
        return Problem(f"{flow} {task}", KNOWN[flow](law), x, y)
    made = FLOWS[flow](KERNELS[kernel](default_bandwidth(y)))
    return Problem(f"{flow} {kernel} {task}", made, x, y)


def ended(one: Problem, dt: float, steps: int = STEPS) -> End | None:
    """How a run ends; None where it did not complete."""
    last = pf.SaveAt(steps=[0, steps - 2, steps - 1, steps])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pf.simulate(one.flow, one.x, one.seen, steps=steps, dt=dt, save=last)
    if path.status != "completed":
        return None
    _, before, middle, end = path.particles
    diffusing = one.flow.diffusion is not None
    hop = 0.0 if diffusing else float((end - 2 * middle + before).square().sum(1).mean().sqrt())
    # a rise by less than rounding is none
    energy = float(path.energy[-1] / path.energy[0]) + 1e-9 if one.flow.conservative else 0.0
    return End(energy, pf.metrics.W2()(end, one.y), hop)


def stable(one: Problem, dt: float, shorter: Iterable[End], steps: int = STEPS) -> End | None:
    """How a run of a stable step ends; None for another step. See the head of this file."""
    found, others = ended(one, dt, steps), list(shorter)
    if found is None or found.hop > HOP * spacing(as_cloud(one.y, "y")):
        return None
    if any(found.energy > WORSE * other.energy for other in others):
        return None
    if any(found.w2 > WORSE * other.w2 for other in others):
        then = ended(one, dt / 4, 4 * steps)
        if then is None or found.w2 > WORSE * then.w2:
            return None
    return found


def is_stable(one: Problem, steps: int = STEPS) -> bool:
    """Whether the suggested step is stable beside a quarter of it."""
    dt = one.suggested
    quarter = ended(one, dt / 4, steps)
    return quarter is not None and stable(one, dt, [quarter], steps) is not None


def largest(one: Problem) -> float:
    """The largest stable step over the suggested one; 0 where no step down to 1/256 is stable."""
    dt, good = one.suggested, dict[float, End]()

    def holds(factor: float) -> bool:
        found = stable(one, factor * dt, (end for step, end in good.items() if step < factor))
        if found is not None:
            good[factor] = found
        return found is not None

    factor = next((start for start in (0.25, 2**-4, 2**-6, 2**-8) if holds(start)), 0.0)
    if factor == 0.25 and holds(1.0):
        factor = 1.0
    doubled = 0
    while factor and doubled < DOUBLINGS and holds(2 * factor):
        factor, doubled = 2 * factor, doubled + 1
    return factor * (math.sqrt(2) if factor and holds(math.sqrt(2) * factor) else 1.0)


def ratio(flow: str, kernel: str, tasks: Sequence[str], seed: int) -> float:
    """The geometric mean over tasks of the largest stable step over the suggested one."""
    found = [max(largest(problem(flow, kernel, task, seed)), 2**-9) for task in tasks]
    # powers of sqrt 2: their mean may be 4, without an error of rounding
    return round(statistics.geometric_mean(found), 12)


def drawn(seed: int) -> Problem:
    """A random problem: flow, kernel, bandwidth, target, start, unit, sizes, d = 1 to 5."""
    rng = np.random.default_rng(seed)
    dim, unit = int(rng.integers(1, 6)), 10 ** rng.uniform(-3, 3)
    n, m = (int(count) for count in rng.choice(np.arange(20, 81), 2, replace=False))
    means = rng.normal(scale=rng.uniform(0, 4), size=(int(rng.integers(1, 4)), dim))
    parts = [Gaussian(mean=unit * mean, std=unit * 10 ** rng.uniform(-1, 0)) for mean in means]
    law = parts[0] if len(parts) == 1 else Mixture(parts)
    middle, deviation = rng.normal(scale=2, size=dim), 10 ** rng.uniform(-1.5, 0.3)
    x = Gaussian(mean=unit * middle, std=unit * deviation).sample(n, seed=seed)
    y = law.sample(m, seed=seed + 1)
    name = str(rng.choice([*FLOWS, *KNOWN]))
    if name in KNOWN and isinstance(law, Mixture):
        name = "mmd"
    if name in KNOWN:
        return Problem(f"{name} d = {dim}", KNOWN[name](law), x, y)
    kernel = str(rng.choice([kind for kind in KERNELS if name == "mmd" or kind != "Energy"]))
    bandwidth = default_bandwidth(y) * 2 ** rng.uniform(-1, 1)
    return Problem(f"{name} {kernel} d = {dim}", FLOWS[name](KERNELS[kernel](bandwidth)), x, y)


def main(argv: Sequence[str]) -> int:
    args = _options(argv)
    cases = [
        (flow, kernel)
        for flow in args.flows
        for kernel in (["-"] if flow in KNOWN else args.kernels)
        if flow in ("mmd", *KNOWN) or kernel != "Energy"
    ]
    rows: list[dict[str, object]] = []
    with environment.until_stopped(rows), environment.workers(args.jobs, 1) as pool:
        asked = {
            case: {
                task: [pool.submit(measured, *case, task, seed) for seed in range(args.seeds)]
                for task in args.tasks
                if case[0] not in KNOWN or task not in ("rings", "moons")
            }
            for case in cases
        }
        for (flow, kernel), tasks in asked.items():
            row: dict[str, object] = {"flow": flow, "kernel": kernel}
            found: list[float] = []
            for task, futures in tasks.items():
                results = [future.result() for future in futures]
                found += [over for _, over in results]
                dt = statistics.median(dt for dt, _ in results)
                over = statistics.median(over for _, over in results)
                row[task] = f"{over:.2g} ({dt:.2g})"
            row["all"] = f"{statistics.median(found):.2g} ({min(found):.2g}-{max(found):.2g})"
            rows.append(row)
            print(*row.values(), flush=True)
    shown = ["flow", "kernel", *args.tasks, "all"]
    text = (
        f"Largest stable dt over the suggested one (the suggested dt); N, M = {SIZES},"
        f" {args.seeds} seed(s): medians; in the last column the range in brackets.\n\n"
    )
    text += report.table(shown, [[row.get(key, "-") for key in shown] for row in rows])
    print("\n" + text)
    report.save(args.out, "dt", {"suite": "dt", "seeds": args.seeds, "rows": rows}, text, rows)
    return 0


def measured(flow: str, kernel: str, task: str, seed: int) -> tuple[float, float]:
    """The suggested step, and the largest stable one over it."""
    one = problem(flow, kernel, task, seed)
    return one.suggested, largest(one)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("dt", __doc__, record=False, jobs=1)
    parser.add_argument("--quick", action="store_true", help="mmd, on the line and the rings")
    parser.add_argument("--flows", type=options.names([*FLOWS, *KNOWN]), metavar="A,B")
    parser.add_argument(
        "--kernels", type=options.names(KERNELS), metavar="A,B", default=list(KERNELS)
    )
    parser.add_argument("--tasks", type=options.names(TASKS), metavar="A,B")
    parser.add_argument("--seeds", type=options.positive, default=1, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    args.flows = args.flows or (["mmd"] if args.quick else [*FLOWS, *KNOWN])
    args.tasks = args.tasks or (["rings", "line"] if args.quick else list(TASKS))
    return args
