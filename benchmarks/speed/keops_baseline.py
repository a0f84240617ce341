"""The baselines of the speed benchmark: autograd through all pairs, and KeOps with its own flags.

The published codes use autograd through all pairs. The step is that of `problem`: the gradient of
the MMD witness at N particles. The particles are the sources of negative sign, the M targets the
others.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..timing import timed
from .problem import Problem, draw

# Bandwidth of the kernel, in deviations of the clouds.
BANDWIDTH = 0.2


@dataclass(frozen=True, eq=False)
class Broadcast:
    """Differences of all pairs as an array (N, M, d), with automatic differentiation through it.

    As the codes of the MMD and KALE flows do it, but in blocks of rows where the arrays of all rows
    (about 6 of that size) exceed `max_bytes`.
    """

    problem: Problem
    max_bytes: int = 2 * 2**30

    def __call__(self, x: Tensor) -> Tensor:
        pair = 6 * x.shape[1] * x.element_size()
        rows = max(1, self.max_bytes // (pair * (len(x) + len(self.problem.target))))
        return torch.cat([self._gradient(block, x) for block in x.split(rows)])

    def _gradient(self, z: Tensor, x: Tensor) -> Tensor:
        z = z.detach().clone().requires_grad_(True)
        witness = self._kernel(z, self.problem.target).mean(1) - self._kernel(z, x).mean(1)
        (velocity,) = torch.autograd.grad(witness.sum(), z)
        return velocity

    def _kernel(self, z: Tensor, x: Tensor) -> Tensor:
        squared = ((z[:, None, :] - x[None, :, :]) ** 2).sum(-1)
        return torch.exp(-squared / (2 * self.problem.kernel.bandwidth**2))


@dataclass(frozen=True, eq=False)
class FusedKeOps:
    """One fused formula for the gradient, with signed weights, in unmodified pykeops.

    See `plain_pykeops`.
    """

    problem: Problem

    def __post_init__(self) -> None:
        plain_pykeops()

    def __call__(self, x: Tensor) -> Tensor:
        target = self.problem.target
        sources = torch.cat([target, x])
        w = torch.cat(
            [x.new_full((len(target), 1), 1 / len(target)), x.new_full((len(x), 1), -1 / len(x))]
        )
        gamma = x.new_tensor([1 / self.problem.kernel.bandwidth**2])
        velocity: Tensor = _formula(x.shape[1])(x, sources, w, gamma)
        return velocity


@cache
def plain_pykeops() -> tempfile.TemporaryDirectory[str]:
    """Import pykeops with its own flags; return a temporary folder in place of ~/.cache/keops....

    RuntimeError is raised if pykeops was imported before, perhaps with other flags: measure it in a
    process of its own.
    """
    if "pykeops" in sys.modules:
        raise RuntimeError(
            "pykeops was imported before, with flags that may not be its own: measure it in a"
            " process of its own"
        )
    folder = tempfile.TemporaryDirectory(prefix="keops-")
    os.environ.update(
        {"KEOPS_CACHE_FOLDER": folder.name, "KEOPS_VERBOSE": "0", "PYKEOPS_VERBOSE": "0"}
    )
    os.environ.pop("CXXFLAGS", None)
    import pykeops.torch  # noqa: F401

    return folder


def _formula(d: int) -> Any:
    from pykeops.torch import Genred

    variables = [f"z = Vi({d})", f"x = Vj({d})", "w = Vj(1)", "gamma = Pm(1)"]
    return Genred(
        "gamma*Exp(-gamma*SqDist(z,x)*IntInv(2))*w*(x-z)", variables, reduction_op="Sum", axis=1
    )


def broadcast_seconds(
    n: int = 10_000, d: int = 2, dtype: torch.dtype = torch.float32, *, rounds: int = 3
) -> float:
    """Return the median seconds of `Broadcast` in a fresh process of one thread."""
    return _in_a_process("Broadcast", n, d, dtype, rounds)


def keops_seconds(
    n: int = 10_000, d: int = 2, dtype: torch.dtype = torch.float32, *, rounds: int = 3
) -> float:
    """Return the median seconds of `FusedKeOps` in a fresh process of one thread.

    Compilation is excluded.
    """
    return _in_a_process("FusedKeOps", n, d, dtype, rounds)


def _in_a_process(name: str, n: int, d: int, dtype: torch.dtype, rounds: int) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, name, n, d, dtype, rounds).result()


def _measure(name: str, n: int, d: int, dtype: torch.dtype, rounds: int) -> float:
    """Return the processor's seconds: programs that take turns with this one do not count."""
    torch.set_num_threads(1)
    problem = draw(n, d, bandwidth=BANDWIDTH, dtype=dtype)
    run = {"Broadcast": Broadcast, "FusedKeOps": FusedKeOps}[name](problem)
    run(problem.particles(0)[:100])
    return statistics.median(timed(run, problem.particles(k))[0] for k in range(1, rounds + 1))


if __name__ == "__main__":
    for dtype in (torch.float32, torch.float64):
        print(
            f"{dtype}: broadcast autograd {broadcast_seconds(dtype=dtype):.3g} s, KeOps with its"
            f" own flags {keops_seconds(dtype=dtype):.3g} s"
        )
