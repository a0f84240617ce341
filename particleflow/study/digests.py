"""Digests of what a study's rows depend on: tasks, contenders, metrics."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from particleflow.study.contender import Contender
from particleflow.study.store import digest
from particleflow.study.task import Task

# Where an object's repr says its place in memory, which differs between processes.
ADDRESS = re.compile(r" at 0x[0-9a-f]+")

# Number of points that tell a distribution from another one with the same repr: of the same class,
# with other data.
FEW = 16


def of_task(task: Task) -> str:
    """The digest of a task: its distributions by their reprs and a few points, and its sizes."""
    points = [sampler.sample(FEW).tolist() for sampler in (task.start, task.target)]
    return digest([points, *(said(value) for name, value in vars(task).items() if name != "title")])


def of_contender(contender: Contender) -> str:
    """The digest of a contender: the code of `make` and what it holds, and the parameters.

    Code that `make` calls elsewhere does not count.
    """
    return digest([of_function(contender.make), said(contender.tunable)])


def of_metrics(metrics: Mapping[str, Callable[..., Any]]) -> str:
    """The digest of the metrics."""
    return digest({name: said(metric) for name, metric in metrics.items()})


def of_function(function: Any) -> list[str]:
    """The code of a function, its defaults and the values that it closes over."""
    if isinstance(function, functools.partial):
        bound = said([function.args, function.keywords])
        return [*of_function(function.func), bound]
    code = getattr(function, "__code__", None)
    if code is None:  # an object with a method __call__
        return [said(function)]
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):  # typed in, or read by exec
        text = repr((code.co_code, code.co_names, code.co_consts))
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [of_function(cell) if callable(cell) else [said(cell)] for cell in cells]
    return [text, said([function.__defaults__, function.__kwdefaults__]), *map(str, held)]


def said(value: Any) -> str:
    """The repr of a value, without places in memory."""
    return ADDRESS.sub("", repr(value))
