"""Rescalings h of the log density ratio d = log r, r = target / current.

A MonoFlow moves particles with v = h'(d) grad d. Each h belongs to an f-divergence
D_f = int q f(p / q), p the target and q the current density, with

    h = r f' - f + const,        r^2 f'' = h'                          (Yi, Zhu and Liu 2023)

so that the Wasserstein gradient flow of D_f is the MonoFlow of h. Here `h` is h, `slope` h' and
`curvature` h'' as functions of d, and `f` is f as a function of r.

h must increase: only h' > 0 everywhere lets particles climb the ratio wherever they are. An `LSGAN`
coding or a `custom` h that does not increase is refused, with the place where it fails.

On a witness that is a potential, not a log ratio (MMD, Langevin), only a constant slope has a
meaning: `Unit` and `Linear`.

- `base`: the contract, and the check that h increases. `named`: closed forms. `made`: from a
  divergence, or from any h.
"""

from particleflow._words import suggesting
from particleflow.mobilities.base import Mobility
from particleflow.mobilities.made import Custom, Induced, custom, from_divergence
from particleflow.mobilities.named import (
    LSGAN,
    Arcsinh,
    Exponential,
    Linear,
    NonSaturating,
    Unit,
    Vanilla,
)

__all__ = [
    "Arcsinh",
    "Custom",
    "Exponential",
    "Induced",
    "LSGAN",
    "Linear",
    "Mobility",
    "NonSaturating",
    "Unit",
    "Vanilla",
    "custom",
    "from_divergence",
]

__getattr__, __dir__ = suggesting(__name__)
