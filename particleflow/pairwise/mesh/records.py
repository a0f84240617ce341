"""What a mesh field is made of: its sources and queries, its meshes, what it keeps of each part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from torch import Tensor

from particleflow.memo import Memo
from particleflow.pairwise.field import PartSources
from particleflow.pairwise.mesh.lattice import Box
from particleflow.pairwise.mesh.nearby import Density
from particleflow.pairwise.mesh.placed import Placed
from particleflow.pairwise.neighbours.backend import CulledField

# Nodes and the weights spread on them, a float64 array of the box's shape.
OnNodes: TypeAlias = tuple[Box, np.ndarray]


@runtime_checkable
class MeshOptions(Protocol):
    """The options of `Mesh` that a sum needs: see there."""

    @property
    def rtol(self) -> float: ...
    @property
    def absolute(self) -> float: ...
    @property
    def max_cells(self) -> int: ...
    @property
    def max_pairs(self) -> float: ...


@runtime_checkable
class PlacedSources(PartSources, Protocol):
    """Sources of a mesh field."""

    @property
    def mesh(self) -> MeshOptions: ...
    @property
    def placed(self) -> Placed: ...


@dataclass(frozen=True, eq=False)
class MeshQueries:
    """Query points, and what the mesh makes of them."""

    points: Tensor
    placed: Placed


@dataclass(frozen=True)
class SharedMesh:
    """A mesh that holds several parts: its nodes, and its shape when it is made periodic."""

    parts: tuple[int, ...]
    box: Box
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Coverage:
    """The meshes that hold all parts, and the queries (Q,) bool that are summed exactly.

    No mesh will do where there is a reason `why`.
    """

    meshes: tuple[SharedMesh, ...] = ()
    exact_rows: np.ndarray | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class PartFacts:
    """What is computed once of a part's weights, besides their sums on nodes."""

    # (plan, nodes of a block): sum |w| in blocks, and of the particles outside of the mesh
    densities: Memo[tuple[Density, float]] = field(default_factory=Memo)
    # (plan, column): sum |w| around each block, and the first block's number
    around: Memo[tuple[np.ndarray, np.ndarray]] = field(default_factory=Memo)
    # column: sum w, and the least w > 0
    mass: Memo[float] = field(default_factory=Memo)
    lightest: Memo[float] = field(default_factory=Memo)
    # the part's field over neighbours alone
    neighbours: Memo[CulledField] = field(default_factory=Memo)
