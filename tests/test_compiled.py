"""The exact engine: the contract for every kernel, what float32 keeps, threads, other processors, faults."""

from __future__ import annotations

import pytest
import torch
from conformance import KERNELS, check_backend

from particleflow import kernels
from particleflow.pairwise.compiled import Compiled

names = lambda value: type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=names)
@pytest.mark.parametrize("d", [1, 2, 3, 10])
@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_compiled_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Compiled(), kernel, d, dtype)
