"""Sums over pairs, sum_i w_i k(z, x_i), their gradients and logarithms: one contract, several backends."""

from particleflow._words import suggesting
from particleflow.pairwise.auto import Auto
from particleflow.pairwise.base import Audit, Field, PairwiseSum, Promise, Queries, Sources
from particleflow.pairwise.compiled import Compiled
from particleflow.pairwise.culled import Culled
from particleflow.pairwise.dense import Dense
from particleflow.pairwise.fourier import Fourier
from particleflow.pairwise.keops import KeOps
from particleflow.pairwise.mesh import Mesh
from particleflow.pairwise.nystroem import Nystroem

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
