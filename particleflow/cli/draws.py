"""The clouds of a study's runs: each draw is that of a plain comparison with the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from particleflow import clouds
from particleflow._typing import Points
from particleflow.cli.files import drawn
from particleflow.samplers import FromArray
from particleflow.samplers.data import Rows
from particleflow.study import Problem, Task


@dataclass(frozen=True)
class Drawn(Task):
    """A task whose draw k has the clouds of `particleflow compare --seed FIRST+k`.

    `held_out` and `fresh` are further samples. Of a file or a data set they are rows that are not
    in the target.
    """

    first: int = 0

    def draw(self, seed: int) -> Problem:
        """Draw a problem as a pure function of the seed."""
        number = self.first + seed
        seen = drawn(self.target, self.targets, "m", number, default=self.targets)
        x0 = drawn(self.start, self.particles, "n", number + 1, default=self.particles)
        held_out, fresh = self._unseen(number)
        return Problem(x0, seen, held_out, fresh, self.steps, number, self.bandwidth)

    def _unseen(self, number: int) -> tuple[Points, Points]:
        """Target points that the flow does not see: (M, d), (N, d)."""
        m, seeds = self.targets, clouds.Draws(number)
        if not isinstance(self.target, Rows):
            both = self.target.sample(m + self.particles, seed=seeds.child_seed("unseen", 0))
            return both[:m].clone(), both[m:].clone()
        places = torch.arange(len(self.target), dtype=torch.float64)
        # `drawn` takes the rows that a sample of their places names
        taken = FromArray(places[:, None]).sample(m, seed=number)[:, 0].long()
        left = torch.ones(len(places), dtype=torch.bool)
        left[taken] = False
        rows = FromArray(self.target.points[left])
        mixed = rows.sample(len(rows), seed=seeds.child_seed("unseen", 0))
        rest = FromArray(mixed[m:])
        return mixed[:m].clone(), rest.sample(self.particles, seed=seeds.child_seed("unseen", 1))
