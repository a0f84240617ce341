"""Functions of one variable to full relative precision near their zeros, for entropies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The |g - 1| up to which log g is a series: log(1 + e) = 2 artanh t, t = e / (2 + e), t^2 <= 1/9.
NEAR = 0.5
# Terms of that series that reach 1e-17.
ARTANH_TERMS = 17
# Terms of the series of e^x - 1 - x for |x| <= 1 that reach 1e-17.
EXP_TERMS = 18


def below(s: Tensor, recession: float, value: Tensor) -> Tensor:
    """value where s < recession, inf elsewhere."""
    return torch.where(s < recession, value, math.inf)


def log1p_minus(e: Tensor) -> Tensor:
    """log(1 + e) - e = 2 t^3 (1/3 + t^2/5 + ...) - t e, t = e / (2 + e), for |e| <= 1/2."""
    t = e / (2 + e)
    square = t * t
    series = torch.zeros_like(e)
    for k in range(ARTANH_TERMS, 0, -1):
        series = series * square + 1 / (2 * k + 1)
    return 2 * t * square * series - t * e


def burg(g: Tensor) -> Tensor:
    """g - 1 - log g."""
    e = g - 1
    return torch.where(e.abs() <= NEAR, -log1p_minus(e), e - torch.log(g))


def kl(e: Tensor) -> Tensor:
    """g log g - g + 1, g = 1 + e."""
    return torch.where(
        e.abs() <= NEAR, e * torch.log1p(e) + log1p_minus(e), torch.xlogy(1 + e, 1 + e) - e
    )


def exp_minus(x: Tensor) -> Tensor:
    """e^x - 1 - x for |x| <= 1."""
    series = torch.zeros_like(x)
    for k in range(EXP_TERMS, 1, -1):
        series = 1 + series * x / (k + 1)
    return series * x * x / 2


def power(g: Tensor, log: Tensor, exponent: float) -> Tensor:
    """g^exponent - 1, given log g."""
    return torch.where((exponent * log).abs() < 1, torch.expm1(exponent * log), g**exponent - 1)
