"""Checks for parts of your own, which raise AssertionError where a clause is broken.

The package's own parts pass the same checks.

    pf.testing.check_kernel(kernel)            the methods that sums over pairs call
    pf.testing.check_estimator(estimator)      fit, witness, memory, value
    pf.testing.check_mobility(mobility)        h and its derivatives
    pf.testing.check_integrator(integrator)    order, stages, masses, noise, going on from a file
    pf.testing.check_sampler(sampler)          seeds, shapes, moments, density
    pf.testing.check_backend(backend)          sums over pairs against numpy

Each check takes a few seconds at most, needs no test framework, and prints nothing. The message
names the clause, what came and the remedy.
"""

from particleflow._words import suggesting
from particleflow.testing.backend import check_backend
from particleflow.testing.estimator import check_estimator
from particleflow.testing.integrator import check_integrator
from particleflow.testing.kernel import check_kernel
from particleflow.testing.mobility import check_mobility
from particleflow.testing.sampler import check_sampler

__all__ = [
    "check_backend",
    "check_estimator",
    "check_integrator",
    "check_kernel",
    "check_mobility",
    "check_sampler",
]

__getattr__, __dir__ = suggesting(__name__)
