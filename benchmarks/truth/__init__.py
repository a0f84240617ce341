"""The benchmark of truth: what papers and our pages state, measured over seeds.

A `Statement` is one sentence, one number that a run of this package gives, and the range that the
source states for it. The suite measures the number for each seed and tells how many lie within.

Reading order:

- `statement`: a statement, and its verdict.
- `laws`: Gaussians with closed forms, random clouds, quadrature.
- `mmd`, `kale`, `envelopes`: MMD flow, KALE flow and its relatives.
- `mono`, `experiments`, `losses`, `langevin`: MonoFlow, its divergences and ratios, Langevin.
- `transport`, `batches`, `estimates`: perfect and trained critics, W1 between batches, and what
  estimates it.
- `arrivals`: `auto_flow` on the tasks of the comparison, with no number given.
- `steps`: suggested steps beside the largest stable ones.
- `guide`: what the pages for users say about flows, bandwidths and steps.
- `catalogue`: all statements by name.
- `suite`: the program.
"""
