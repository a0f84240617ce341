"""The particles that jumped between two records: placed anew, or over the edge of a torus."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from particleflow.trajectory import Trajectory

# The share of a period from which a move is the shorter way round: over the edge.
HALF = 0.5


def jumped(run: Trajectory) -> Bool[Tensor, "T N"] | None:
    """Return which particles jumped between each record and the one before; None for none.

    Particles in a periodic box jump where they go over an edge.
    """
    found = run.anew
    for axis, period in enumerate(run.report.get("periods") or ()):
        if period is None or len(run) < 2:
            continue
        moves = run.particles[..., axis].diff(dim=0).abs()
        over = moves > HALF * (period[1] - period[0])
        crossed = torch.cat([torch.zeros_like(over[:1]), over])
        found = crossed if found is None else found | crossed
    return found
