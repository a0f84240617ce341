"""Sums over pairs, sum_i w_i k(z, x_i), their gradients and logarithms: one contract, several
backends.

Read in this order:

- `base`: the contract. `terms`: what is summed. `inputs`: what is checked. `field`: how weighted
  sums add. `promise`: errors, promised and audited.
- `exact/`: all pairs. `mesh/`, `fourier/`: smooth kernels in up to three dimensions. `neighbours/`:
  near pairs only. `landmarks/`: many dimensions.
- `periodic/` and `codegen/`: what these rooms stand on.
- `auto`, `cost`: which backend is the cheapest that keeps a promise. `explicit`: kernels of
  explicit features, which need no pairs.
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

__getattr__ = suggesting(__name__)
