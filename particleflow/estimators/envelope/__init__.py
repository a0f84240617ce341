"""Kernel-regularised f-divergences: KALE, the Moreau envelopes and the de-regularised MMD.

All minimise over densities g >= 0 of the target's points, by one inner solver (Glaser, Arbel and
Gretton 2021; Neumayer, Stein, Steidl and Rux 2024):

    E_p f(g) + |mu_q - mu_gp|^2 / (2 lam)

- `gram`: the kernel matrix of the target as a map. `cholesky`: a factor of it with few columns.
- `dual`: the problem and its duality gap. `linear`: the linear systems of Newton's method.
- `newton`: the solver where no density meets a bound.
- `bounded`, `interior_step`, `interior_point`: the problem and the solver where some do.
- `witness`: from two clouds to a solved problem, its witness and its report.
- `penalty`: lam as a number or a schedule. `regularised`: what the estimators share.
- `kale`, `moreau`: the estimators.
"""

from particleflow.estimators.envelope.kale import KALE
from particleflow.estimators.envelope.moreau import DrMMD, Moreau

__all__ = ["KALE", "DrMMD", "Moreau"]
