"""A trajectory as the folder of a run holds it, read when it is looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from particleflow._refusals import Argument, Refusal
from particleflow.checkpoint import Store

T = TypeVar("T")


def is_run(path: str | Path) -> bool:
    """Is it the folder of a run?"""
    return Path(path).is_dir() and Store.exists(path)


def read(path: str | Path, made: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> T:
    """What is `made` of the tensors and the facts of a run's folder; see `told`."""
    try:
        store = Store.open(path, write=False)
    except Refusal as error:
        raise error.renamed({"folder": Argument("path")}) from None
    return made(*told(store))


def told(store: Store) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of the trajectory in a folder, up to its last commit.

    They have the names of `Trajectory.save`. Records are memory maps.
    """
    head, last, rows = store.head, store.last, store.scalars()
    if last is None:
        raise ValueError(f"`path` '{store.folder}' must hold records, got a run before its start")
    facts = last.facts
    names = dict.fromkeys([*facts["recorder"]["known"], *head["asked"]["metrics"]])
    tensors = {
        **maps(
            store, placed=facts["recorder"]["placed"], weighted="state/log_mass" in last.tensors
        ),
        "steps": torch.tensor([row["step"] for row in rows], dtype=torch.int64),
        "times": _column(row["t"] for row in rows),
        "energy": _column(row["energy"] for row in rows),
        **{
            f"metrics/{name}": _column(row["metrics"].get(name, float("nan")) for row in rows)
            for name in names
        },
        **last.tensors,
    }
    if head["fixed"]:
        tensors["target"] = store.tensors["first/points"]
        if "first/log_mass" in store.tensors:
            tensors["target_log_mass"] = store.tensors["first/log_mass"]
    if "axes" in store.tensors:
        tensors["witness_axes"] = store.tensors["axes"]
    ending = facts["ending"] or {
        "status": "interrupted",
        "message": f"the run is at step {last.step}: pf.resume({str(store.folder)!r}) goes on",
        "report": {**head["report"], "seconds": facts["seconds"], **facts["summary"]},
    }
    return tensors, {**ending, **facts["state"], "seed": head["seed"]}


def maps(store: Store, *, placed: bool, weighted: bool) -> dict[str, Tensor]:
    """The records of a folder by the names that a trajectory has for them.

    `placed`: was a particle placed anew? `weighted`: has the last cloud masses? A trajectory lacks
    these columns otherwise.
    """
    unused = {"anew": not placed, "log_mass": not weighted}
    return {name: column for name, column in store.columns().items() if not unused.get(name)}


def _column(values: Any) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)
