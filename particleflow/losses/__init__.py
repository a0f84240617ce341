"""Losses that teach a function d the density ratio r = p / q = target / current.

A loss is a pair phi, psi. To learn is to maximise over d

    J(d) = E_p phi(d) + E_q psi(d)               p the target, q the current distribution

p phi(d) + q psi(d) is largest where r = -psi'(d) / phi'(d), the link, a monotone function of d.
Elementwise, in the dtype of d:

- phi, psi, and phi_slope phi', psi_slope psi': -inf where a logarithm or a pole ends them.
- ratio r(d): the formula, of any sign.
- log_ratio log r(d) and log_ratio_slope: on the open interval `domain`, where 0 < r < inf.
  log_ratio is NaN elsewhere.
- inverse d(l): the optimal d where log r = l.
- f(r) = r phi(d) + psi(d) at the optimal d. The largest J is int q f(p / q), and `optimum` is its
  closed form.

A network's output u may be any number. `constrain(u)` maps it onto the domain, with log r
increasing in u and d growing like u; it is the identity where the domain is the line. With
d = `inverse(u)`, u is log r itself, at the price of exponentials. The gradient of log r is
log_ratio_slope(d) grad d.

- `base`: the contract. `classification`, `variational`: the losses, with their sources.
"""

from particleflow._words import suggesting
from particleflow.losses.base import Loss
from particleflow.losses.classification import BCE, LSGAN, Exponential
from particleflow.losses.variational import (
    KLIEP,
    NWJ,
    ULSIF,
    DonskerVaradhan,
    Pearson,
    ReverseKL,
    SquaredHellinger,
)

__all__ = [
    "BCE",
    "DonskerVaradhan",
    "Exponential",
    "KLIEP",
    "LSGAN",
    "Loss",
    "NWJ",
    "Pearson",
    "ReverseKL",
    "SquaredHellinger",
    "ULSIF",
]

__getattr__, __dir__ = suggesting(__name__)
