"""Derivatives whatever the caller's mode: within torch.no_grad() and torch.inference_mode() too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def recording() -> Iterator[None]:
    """Graphs are recorded, and tensors made here may be part of one."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def plain(tensor: Tensor) -> Tensor:
    """The same numbers in a tensor that a graph can hold, which an inference tensor is not."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def leaf(points: Tensor) -> Tensor:
    """The same numbers, to be differentiated by; to be called while `recording`."""
    return plain(points).detach().requires_grad_(True)
