"""Sums over pairs, sum_i w_i k(z, x_i), with gradients and logarithms: one contract, many backends.

Read in this order:

- `base`: the contract. `terms`: what can be summed. `inputs`: the checks of what comes in.
  `field`: how weighted sums add. `promise`: bounds of the errors, and the audit of a bound.
- `exact/`: all pairs. `mesh/` and `fourier/`: smooth kernels in up to three dimensions.
  `neighbours/`: only pairs that are close. `landmarks/`: many dimensions.
- `periodic/`, `codegen/` and `threads`: tools of these rooms.
- `auto` and `cost`: the choice of the cheapest backend that keeps a promise.
- `explicit`: kernels of explicit features, whose sums need no pairs.
"""

from particleflow._words import suggesting
from particleflow.pairwise.auto import Auto
from particleflow.pairwise.base import Audit, Field, PairwiseSum, Promise, Queries, Sources
from particleflow.pairwise.exact.compiled import Compiled
from particleflow.pairwise.exact.dense import Dense
from particleflow.pairwise.exact.keops import KeOps
from particleflow.pairwise.fourier.backend import Fourier
from particleflow.pairwise.landmarks.backend import Nystroem
from particleflow.pairwise.mesh.backend import Mesh
from particleflow.pairwise.neighbours.backend import Culled

__all__ = [
    "Audit",
    "Auto",
    "Compiled",
    "Culled",
    "Dense",
    "Field",
    "Fourier",
    "KeOps",
    "Mesh",
    "Nystroem",
    "PairwiseSum",
    "Promise",
    "Queries",
    "Sources",
]

__getattr__, __dir__ = suggesting(__name__)
