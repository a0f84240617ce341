"""Sums by non-uniform Fourier transforms: the contract, and the promise against exact sums."""

from __future__ import annotations

import pytest
import torch
from conformance import KERNELS, check_backend

from particleflow import kernels
from particleflow.pairwise.fourier import Fourier

names = lambda value: type(value).__name__ if hasattr(value, "profile") else str(value).removeprefix("torch.")


@pytest.mark.filterwarnings("ignore:Fourier:UserWarning")
@pytest.mark.parametrize(("d", "dtype"), [(1, torch.float64), (2, torch.float64), (2, torch.float32), (3, torch.float64)], ids=names)
@pytest.mark.parametrize("kernel", KERNELS, ids=names)
def test_fourier_keeps_the_contract(kernel: kernels.Kernel, d: int, dtype: torch.dtype) -> None:
    check_backend(Fourier(1e-6), kernel, d, dtype, rtol=1e-5, peak=True)
