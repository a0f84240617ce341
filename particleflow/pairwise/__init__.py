"""Sums over pairs, sum_i w_i k(z, x_i), their gradients and logarithms: one contract, several backends."""

from particleflow.pairwise.base import Field, PairwiseSum, Queries, Sources
from particleflow.pairwise.dense import Dense

__all__ = ["Dense", "Field", "PairwiseSum", "Queries", "Sources"]
