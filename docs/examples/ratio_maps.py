"""
A ratio without a flow
======================

Every estimator of a density ratio can be used by itself: ``pf.fit`` gives
log(target / current) and its gradient anywhere. Here the truth is known, and
each picture shows the error.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf
from particleflow import estimators
from particleflow.kernels import Gaussian

q = pf.samplers.Gaussian(dim=2, mean=(0.8, 0.0), std=1.0)
p = pf.samplers.Gaussian(dim=2, mean=(-0.8, 0.0), std=0.8)
x, y = q.sample(400, seed=0), p.sample(500, seed=1)

side = torch.linspace(-3, 3, 60, dtype=torch.float64)
z = torch.cartesian_prod(side, side)
truth = p.log_density(z) - q.log_density(z)

ESTIMATORS = {
    "KDE": estimators.KDE(Gaussian(0.5)),
    "uLSIF": estimators.ULSIF(Gaussian(1.0)),
    "RuLSIF": estimators.RuLSIF(Gaussian(1.0)),
    "KLIEP": estimators.KLIEP(Gaussian(1.0)),
    "kernel logistic": estimators.KernelLogistic(Gaussian(1.5)),
    "KALE, lam = 0.01": estimators.KALE(Gaussian(1.0), lam=0.01),
}
figure, panels = plt.subplots(
    2, 3, figsize=(10, 6.6), layout="constrained", sharex=True, sharey=True
)
for (name, estimator), ax in zip(ESTIMATORS.items(), panels.flat, strict=True):
    error = pf.fit(estimator, x, y).witness.value_and_grad(z)[0] - truth
    seen = ax.imshow(
        error.reshape(60, 60).T,
        origin="lower",
        extent=(-3, 3, -3, 3),
        cmap="RdBu",
        vmin=-3,
        vmax=3,
    )
    weight = q.log_density(z).exp() + p.log_density(z).exp()
    rms = float(((weight * error**2).sum() / weight.sum()).sqrt())
    ax.set(title=f"{name}: {rms:.2f}")
figure.colorbar(seen, ax=panels, label="error of the log ratio", shrink=0.8)

# %%
# The number is the root mean square error where the two clouds are. White is
# right, red too low, blue too high. Far from all samples every estimator has to
# guess, each in its own way: this is where flows that start far away differ.
