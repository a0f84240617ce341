"""Entropies f of f-divergences D_f(q || p) = E_p f(g), g = q / p = current / target >= 0.

g is the inverse of the ratio r of `mobilities`. Every f is convex with f(1) = f'(1) = 0. Where the
usual form lacks that, a multiple of g - 1 is added. It changes no divergence of probabilities, and
is needed where the mass of g p is free. Elementwise, in the dtype of the argument:

- f(g), slope f'(g), curvature f''(g), for g >= 0.
- conjugate f*(s) = sup_{g >= 0} s g - f(g): inf where s is above the recession constant,
  lim f(g) / g.
- ratio (f*)'(s), the maximiser g, and ratio_slope (f*)''(s).

So f' and ratio are inverse to each other, and f(g) + f*(f'(g)) = g f'(g). Values keep their
relative precision near g = 1 and s = 0.

- `base`: the contract. `logarithms`, `powers`: the entropies. `series`: their numerics.
"""

from particleflow._words import suggesting
from particleflow.divergences.base import Divergence, PiecewiseLinear
from particleflow.divergences.logarithms import KL, Jeffreys, JensenShannon, ReverseKL
from particleflow.divergences.powers import ChiSquare, TotalVariation, Tsallis

__all__ = [
    "ChiSquare",
    "Divergence",
    "Jeffreys",
    "JensenShannon",
    "KL",
    "PiecewiseLinear",
    "ReverseKL",
    "TotalVariation",
    "Tsallis",
]

__getattr__, __dir__ = suggesting(__name__)
