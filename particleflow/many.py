"""Runs of one flow from several seeds, in several processes: simulate_many()."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from particleflow import _checks
from particleflow._inputs import Metrics, clouds_of
from particleflow._progress import bar
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow._supplied import Supplied, in_short
from particleflow._threads import threads
from particleflow.clouds import Clock, Cloud, Draws, as_cloud
from particleflow.engine import begin, simulate
from particleflow.flows import Flow
from particleflow.integrators import Integrator
from particleflow.runs import Runs
from particleflow.samplers.base import Sampler
from particleflow.saving import SaveAt
from particleflow.trajectory import Trajectory

# Any number: a run that is checked and not made needs a step that is not computed from its clouds.
UNUSED_DT = 1.0


@dataclass(frozen=True)
class Source:
    """Where the clouds of the runs come from: a sampler, one cloud for each seed, or one for all.

    A moving target and None pass through as the one for all.
    """

    name: str
    given: Any
    size: int | None = None
    each: bool = False

    @classmethod
    def of(cls, given: Any, name: str, size: Any, size_name: str, seeds: Sequence[int]) -> Source:
        """The checked source of an argument `name`, whose sampler draws `size_name` points."""
        if _draws(given):
            if size is None:
                raise RefusedTypeError(
                    size_name,
                    f"must say how many points to draw from the sampler `{name}`",
                    None,
                    f"pass e.g. {size_name}=300",
                )
            return cls(name, given, _checks.count(size, size_name))
        if size is not None:
            raise RefusedValueError(
                size_name,
                f"is for a sampler `{name}`",
                f"{_checks.said(size)} and {_checks.kind(given)}",
                "leave it out",
            )
        if not _clouds(given):
            return cls(name, given)
        if len(given) != len(seeds):
            raise RefusedValueError(
                name,
                f"must hold one cloud for each of the {len(seeds)} seeds",
                f"{len(given)} clouds",
                "pass as many, or one cloud for all",
            )
        copies = [as_cloud(cloud, f"{name}[{k}]") for k, cloud in enumerate(given)]
        return cls(name, copies, each=True)

    def cloud(self, place: int, seed: int, like: Tensor | None) -> Any:
        """The cloud of the run at `place`; a sampler draws in the dtype and device of `like`."""
        if self.size is None:
            return self.given[place] if self.each else self.given
        kind = {} if like is None else {"dtype": like.dtype, "device": like.device}
        stream = Draws(seed).child_seed(self.name.removesuffix("s"), 0)
        with Supplied(self.name, self.given):
            return self.given.sample(self.size, seed=stream, **kind)

    def called(self, place: int) -> str:
        """The name of the cloud at `place`, for messages."""
        return f"{self.name}[{place}]" if self.each else self.name

    def like(self, place: int) -> Tensor | None:
        """The tensor that decides the dtype of the other cloud; None where there is none."""
        one = self.given[place] if self.each else self.given
        one = one.points if isinstance(one, Cloud) else one
        return one if isinstance(one, Tensor) and one.dtype in _checks.FLOATS else None


@dataclass(frozen=True)
class Job:
    """What all runs have in common; sent to each process."""

    flow: Flow
    starts: Source
    target: Source
    options: Mapping[str, Any]

    def clouds(self, place: int, seed: int) -> tuple[Any, Any]:
        return (
            self.starts.cloud(place, seed, self.target.like(place)),
            self.target.cloud(place, seed, self.starts.like(place)),
        )

    def run(self, place: int, seed: int) -> tuple[int, Trajectory | str]:
        """The seed, and its run in one thread; the error as text where it raised."""
        with threads(1):
            try:
                x0, target = self.clouds(place, seed)
                return seed, simulate(self.flow, x0, target, seed=seed, **self.options)
            except Exception as error:
                return seed, in_short(error)


def simulate_many(
    flow: Flow,
    starts: Any,
    target: Any = None,
    *,
    n: int | None = None,
    m: int | None = None,
    seeds: int | Sequence[int] = 10,
    jobs: int | None = None,
    steps: int | None = None,
    t1: float | None = None,
    dt: float | None = None,
    integrator: Integrator | None = None,
    save: SaveAt | None = None,
    metrics: Metrics | None = None,
    progress: bool = False,
) -> Runs:
    """Run a flow once for each of several seeds, in several processes, and record the runs.

    The run of a seed s is `simulate(flow, x0, y, seed=s, ...)`, where

        x0 = starts.sample(n, seed=Draws(s).child_seed("start", 0)),
        y = target.sample(m, seed=Draws(s).child_seed("target", 0)),

    so start, target and noise are independent. Each run uses one thread. The result is the same bit
    for bit for any `jobs`.

    Parameters
    ----------
    flow : Flow
        That of all runs.
    starts : Sampler, (N, d) points or Cloud, or a list of clouds
        A sampler is drawn from with each seed. One cloud starts all runs. A list has one cloud for
        each seed.
    target : Sampler, (M, d) points or Cloud, a list of clouds, Target or None
        As `starts`. A `Minibatch` is drawn anew at every step.
    n, m : int
        How many points to draw from the samplers `starts` and `target`.
    seeds : int or sequence of int
        How many: 0, 1, ..., or which.
    jobs : int
        Processes; None and 1 mean this one. They are started fresh by joblib (loky), so they need
        no `if __name__ == "__main__"`, and take lambdas and classes of a script or notebook. The
        first start takes some seconds; later calls use the same processes.
    steps, t1, dt, integrator, save, metrics
        See `simulate`. Left out, dt is each run's own `flow.suggest_dt(x0, y)`.
    progress : bool
        Show a progress bar over the seeds, on a terminal or in a notebook.

    Returns
    -------
    Runs
        The trajectories, in the order of the seeds; `runs.band("W2")` gives median and quantiles.

    Raises
    ------
    ValueError
        A value cannot be used, as in `simulate`; seeds repeat; a list has another number of clouds
        than there are seeds. Raised before the first run.
    TypeError
        An argument has a wrong type; `n` or `m` is missing for a sampler. Raised before the first
        run.
    RuntimeError
        Every run raised. If only some do, a warning says so and `Runs.failures` has their errors.
    KeyboardInterrupt
        Ctrl-C came before any run was finished. Later it leaves the finished runs, with a warning;
        the others are among the failures.

    Cost: that of the runs, shared by `jobs` processes; all trajectories are held in memory.

    >>> normal = pf.samplers.Gaussian(dim=1)
    >>> drift = pf.Flow(pf.estimators.ClosedForm(normal))  # v = -x
    >>> runs = pf.simulate_many(drift, normal, n=4, seeds=3, steps=2, dt=0.5)
    >>> [tuple(run.particles.shape) for run in runs]
    [(3, 4, 1), (3, 4, 1), (3, 4, 1)]
    >>> torch.allclose(runs[1].particles[-1], runs[1].particles[0] / 4)
    True
    """
    numbers = _seeds(seeds)
    processes = 1 if jobs is None else _checks.count(jobs, "jobs", remedy="pass e.g. jobs=4")
    _checks.flag(progress, "progress")
    options: dict[str, Any] = {
        "steps": steps,
        "t1": t1,
        "integrator": integrator,
        "save": save,
        "metrics": metrics,
    }
    first = Source.of(starts, "starts", n, "n", numbers)
    second = Source.of(target, "target", m, "m", numbers)
    job = Job(flow, first, second, {**options, "dt": dt})
    _check(job, numbers)
    runs, failures = {}, {}
    cause: BaseException | None = None
    answers = _answers(job, numbers, min(processes, len(numbers)))
    try:
        for seed, answer in _with_bar(answers, len(numbers), progress):
            if isinstance(answer, str):
                failures[seed] = answer
            elif answer.status == "interrupted":
                raise KeyboardInterrupt
            else:
                runs[seed] = answer
    except (Exception, KeyboardInterrupt) as error:  # Ctrl-C, or a process that was killed
        cause = error
        if isinstance(error, KeyboardInterrupt) and not runs:
            raise
        told = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else in_short(error)
        for seed in numbers:
            if seed not in runs:
                failures.setdefault(seed, f"not finished: {told}")
    failures = {seed: failures[seed] for seed in numbers if seed in failures}
    if not runs:
        seed = numbers[0]
        raise RuntimeError(
            f"none of the {len(numbers)} runs was made, got {failures[seed]} for seed {seed}: call"
            f" simulate(..., seed={seed}) to see where it comes from"
        ) from cause
    if failures:
        seed, told = next(iter(failures.items()))
        _checks.warn(
            f"{len(failures)} of {len(numbers)} runs were not made, e.g. that of seed {seed}:"
            f" {told}; the others are kept, and `failures` has the errors"
        )
    kept = tuple(seed for seed in numbers if seed in runs)
    return Runs(tuple(runs[seed] for seed in kept), kept, failures)


def _seeds(seeds: Any) -> list[int]:
    """The checked seeds, all different."""
    if isinstance(seeds, Integral | float):
        return list(range(_checks.count(seeds, "seeds", remedy="pass how many, e.g. 10")))
    remedy = "pass how many, e.g. 10, or whole numbers >= 0, e.g. [0, 1, 2]"
    given = _checks.several(seeds, "seeds", remedy=remedy)
    numbers = [_checks.count(seed, "seeds", least=0, remedy=remedy) for seed in given]
    if not numbers or len(set(numbers)) < len(numbers):
        raise RefusedValueError("seeds", "must be different numbers", _checks.said(given), remedy)
    return numbers


def _draws(given: Any) -> bool:
    """Is it a sampler, and not its class?"""
    return isinstance(given, Sampler) and not isinstance(given, type)


def _clouds(given: Any) -> bool:
    """Is it a list of clouds, and not one cloud given as a list of rows?"""
    return (
        isinstance(given, list | tuple)
        and len(given) > 0
        and all(
            isinstance(one, Cloud) or (isinstance(one, Tensor | np.ndarray) and one.ndim == 2)
            for one in given
        )
    )


def _check(job: Job, seeds: Sequence[int]) -> None:
    """Refuse what a run would refuse, under the names of `simulate_many`.

    Listed clouds are all looked at; otherwise the clouds of the first seed stand for all.
    """
    listed = job.starts.each or job.target.each
    for place, seed in enumerate(seeds if listed else seeds[:1]):
        x_name, y_name = job.starts.called(place), job.target.called(place)
        x0, target = job.clouds(place, seed)
        clouds_of(x0, target, x_name, y_name, Clock(draws=Draws(seed)))
    dt = job.options["dt"]
    options = {**job.options, "dt": UNUSED_DT if dt is None else dt}
    begin(job.flow, *job.clouds(0, seeds[0]), seed=seeds[0], progress=False, **options)


def _answers(job: Job, seeds: Sequence[int], processes: int) -> Iterable[tuple[int, Any]]:
    """The answers of `Job.run` for all seeds, each as soon as it is there."""
    if processes == 1:
        return (job.run(place, seed) for place, seed in enumerate(seeds))
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        # arrays are sent whole: joblib would map large ones from files, which cannot be written to
        pool = Parallel(
            n_jobs=processes, return_as="generator_unordered", batch_size=1, max_nbytes=None
        )
    answers: Iterable[tuple[int, Any]] = pool(
        delayed(job.run)(place, seed) for place, seed in enumerate(seeds)
    )
    return answers


def _with_bar(answers: Iterable[Any], total: int, progress: bool) -> Iterable[Any]:
    """The answers, under a progress bar if it is wanted."""
    if not progress:
        return answers
    shown: Iterable[Any] = bar(answers, total=total, unit="run")
    return shown
