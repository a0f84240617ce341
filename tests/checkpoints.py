"""Small checkpoints whose every number follows from its step, and processes that write them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from particleflow.checkpoint import Store

HEAD = {"flow": "MMD", "dt": 0.1, "bound": float("inf")}
TARGET = torch.arange(10.0).view(5, 2)


def row(step: int) -> dict[str, Tensor]:
    return {
        "particles": torch.arange(6.0).view(3, 2) + step,
        "log_mass": torch.full((3,), float(step), dtype=torch.float64),
        "anew": torch.tensor([step % 2 == 0, True, False]),
    }


def is_large(step: int) -> bool:
    """Is the state of a step written to a file of its own, and not within its manifest?"""
    return step % 4 != 2


def state(step: int) -> dict[str, Tensor]:
    weights = {"memory/weights": torch.full((2100,), step / 7, dtype=torch.float64)}
    return {
        **(weights if is_large(step) else {}),
        "state/points": torch.arange(6.0).view(3, 2) * step,
        "memory/count": torch.tensor(step),
        "memory/none": torch.zeros(0, 4),
        "stepper/moments": torch.full((2, 3), step / 7, dtype=torch.float64).T,
    }


def scalars(step: int) -> dict[str, Any]:
    return {"t": step / 3, "energy": float("nan"), "metrics": {"W2": step}}


def go_on(
    store: Store, steps: int | None, *, every: int = 1, then: Callable[[], object] = int
) -> None:
    """Take further steps, or steps for ever: a record at each, a commit after every `every`.

    `then` is called after each step.
    """
    store.flush()
    first = 1 + (store.last.step if store.last else 0)
    new = []
    for step in itertools.count(first) if steps is None else range(first, first + steps):
        store.append(row(step))
        new.append(scalars(step))
        if step % every == 0:
            store.commit(step, state(step), {"step": step, "nan": float("nan")}, new)
            new = []
        then()


def made(folder: Path, steps: int, *, every: int = 1) -> Path:
    """A folder with a run of these steps."""
    with Store.create(folder, HEAD, {"target": TARGET}) as store:
        go_on(store, steps, every=every)
    return folder


def check(store: Store) -> None:
    """Require every number of a run at its last commit."""
    assert store.head == HEAD
    assert torch.equal(store.tensors["target"], TARGET)
    last = store.last
    if last is None:
        assert not store.columns()
        return
    assert last.facts["step"] == last.step == last.records
    wanted = state(last.step)
    assert list(last.tensors) == list(wanted)
    for name, tensor in wanted.items():
        assert last.tensors[name].dtype == tensor.dtype
        assert torch.equal(last.tensors[name], tensor)
    columns = store.columns()
    assert set(columns) == set(row(0))
    for name, column in columns.items():
        right = torch.stack([row(step)[name] for step in range(1, last.step + 1)])
        assert column.dtype == right.dtype
        assert torch.equal(column, right)
    assert repr(store.scalars()) == repr([scalars(step) for step in range(1, last.step + 1)])


@contextmanager
def forked(task: Callable[[int], object]) -> Iterator[tuple[int, int]]:
    """A process that does `task(pipe)`: its id, and the end of the pipe to read from.

    It is killed at the end of the block.
    """
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(read)
            task(write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    try:
        yield process, read
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(read)


def told(read: int) -> str:
    """All that a process says until it ends."""
    parts = []
    while data := os.read(read, 4096):
        parts.append(data)
    return b"".join(parts).decode()


def write_until_killed(folder: Path, seed: int, pipe: int) -> None:
    """Go on with a run for ever; each number in the pipe is a step that the disk holds."""
    chance = random.Random(seed)
    store = (
        Store.open(folder)
        if Store.exists(folder)
        else Store.create(folder, HEAD, {"target": TARGET})
    )

    def sometimes_sure() -> None:
        if chance.random() < 0.3:
            store.flush()
            assert store.last
            os.write(pipe, struct.pack("q", store.last.step))

    go_on(store, None, then=sometimes_sure)


def killed(folder: Path, seed: int) -> int:
    """Let a process write, and kill it at some moment; the last step of which it was sure."""
    with forked(lambda pipe: write_until_killed(folder, seed, pipe)) as (process, read):
        time.sleep(random.Random(seed).uniform(0.0, 0.15))
        os.kill(process, signal.SIGKILL)
        sure = 0
        while data := os.read(read, 8):
            (sure,) = struct.unpack("q", data)
    return sure
