"""
Naive descent fails
===================

An f-divergence is the mean of f(r) over the particles, r the density ratio. It
is tempting to let each particle descend f(r) where it stands. This forgets that
the ratio moves along with the particles, and ends elsewhere.
"""

import torch

import particleflow as pf
from particleflow.mobilities import Vanilla, custom

start = pf.samplers.Gaussian(mean=(1, 1), cov=[[1.0, 0.0], [0.0, 1.0]])
goal = pf.samplers.Gaussian(mean=(0, 0), cov=[[1.0, 0.8], [0.8, 0.89]])
x0, target = start.sample(300, seed=0), goal.sample(400, seed=1)
ratio = pf.estimators.KDE(pf.kernels.Gaussian(0.4))


def js(r):
    """f of twice the Jensen-Shannon divergence."""
    return r * torch.log(2 * r / (1 + r)) + torch.log(2 / (1 + r))


# -f(e^d) does not increase with d: such a flow has to be asked for
naive = custom(lambda d: -js(torch.exp(d)), allow_nonmonotone=True)
right = Vanilla()  # h' = r² f''(r) = r / (1 + r), the MonoFlow of this divergence

paths = {
    name: pf.simulate(
        pf.mono_flow(ratio, mobility),
        x0,
        target,
        t1=8.0,
        dt=0.02,
        metrics={"W2": pf.metrics.W2()},
    )
    for name, mobility in {"naive": naive, "MonoFlow": right}.items()
}
pf.plotting.snapshots(paths, color="start")

# %%
# Naive particles stop where the ratio is 1, at the front of the target, and none
# gets to its far end. The distances tell the two apart.

for name, path in paths.items():
    means, w2 = path.particles.mean(1).norm(dim=1), path.metrics["W2"]
    print(f"{name:>9}: distance of the means {means[0]:.2f} -> {means[-1]:.2f}")
    print(f"{'':>9}  W2 {w2[0]:.2f} -> {w2[-1]:.2f}")
