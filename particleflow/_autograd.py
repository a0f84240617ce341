"""Derivatives in every mode of the caller, torch.no_grad() and torch.inference_mode() too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def recording() -> Iterator[None]:
    """Record graphs; tensors made within may be part of one."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def plain(tensor: Tensor) -> Tensor:
    """The same numbers in a tensor that a graph can hold: an inference tensor is copied."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def leaf(points: Tensor) -> Tensor:
    """The same numbers as a leaf of a graph, to differentiate by. Call it within `recording`."""
    return plain(points).detach().requires_grad_(True)
