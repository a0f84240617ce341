"""Sum exactly, by the fastest exact backend, where an approximate backend cannot."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor

from particleflow import _checks
from particleflow._libraries import package
from particleflow.kernels import Kernel
from particleflow.kernels.declared import is_built_in
from particleflow.pairwise.exact.compiled import Compiled, CompiledSources, has_code
from particleflow.pairwise.exact.dense import Dense, DenseSources
from particleflow.pairwise.exact.keops import KeOps, KeOpsSources, unavailable
from particleflow.pairwise.field import SumField
from particleflow.pairwise.inputs import as_matrix
from particleflow.pairwise.promise import KernelSources
from particleflow.pairwise.terms import What

ExactSources: TypeAlias = CompiledSources | KeOpsSources | DenseSources


def exact_backend(kernel: Kernel, device: torch.device) -> Compiled | KeOps | Dense:
    """Return Compiled on the CPU and KeOps elsewhere where they can sum, else Dense."""
    if device.type == "cpu":
        return _on_cpu(type(kernel))
    why = "" if not is_built_in(kernel) else unavailable(device)
    if why:
        warn_once(f"exact sums on {device} go through Dense(), which is slower: {why}")
    return Dense() if why or not is_built_in(kernel) else KeOps()


@functools.lru_cache(maxsize=256)
def _on_cpu(kind: type) -> Compiled | Dense:
    return Compiled() if usable("llvmlite.binding") and has_code(kind) else Dense()


def exact_sources(kernel: Kernel, points: Tensor) -> ExactSources:
    return exact_backend(kernel, points.device).sources(kernel, points)


def undeclared(backend: str, kernel: Kernel, points: Tensor) -> ExactSources:
    """Return exact sources of a kernel that does not declare its scale, and warn once."""
    told = f"{backend} sums a {type(kernel).__name__} kernel exactly: it does not declare its scale"
    warn_once(
        f"{told}. Give it with_bandwidth (pf.kernels.ScaledKernel), or ask for Dense() or Auto()"
    )
    return exact_sources(kernel, points)


def exact_sum(parts: Iterable[tuple[KernelSources, Tensor]]) -> SumField:
    """Return the exact field of parts (sources, weights)."""
    fields = (exact_sources(sources.kernel, sources.points).field(w) for sources, w in parts)
    return functools.reduce(operator.add, fields)


def exact_values(kernel: Kernel, points: Tensor, w: Tensor, what: What, z: Tensor) -> Tensor:
    """Return exact float64 sums (Q, K, components) of w (N,) or (N, K) at z (Q, d)."""
    return exact_sources(kernel, points.double()).sums(what, as_matrix(w).double(), z.double())


@functools.cache
def usable(module: str) -> bool:
    """Can the module be imported? If not, warn once a process."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        name = package(module)
        warn_once(
            f"sums over pairs do without {name}, and are slower: {error}. Remedy: pip install"
            f" {name}"
        )
        return False
    return True


@functools.cache
def warn_once(message: str) -> None:
    """Warn once a process, whatever the warnings' filter."""
    _checks.warn(message)
