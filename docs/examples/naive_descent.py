"""
Naive descent fails
===================

An f-divergence is the mean of f(r) over the particles, r the density ratio. It
is tempting to let each particle descend f(r) where it stands. This forgets that
the ratio moves along with the particles, and goes the wrong way.
"""

import torch

import particleflow as pf
from particleflow.estimators import ClosedForm, Moments
from particleflow.mobilities import Exponential, custom

start = pf.samplers.Gaussian(mean=(1, 1), cov=[[1.0, 0.0], [0.0, 1.0]])
goal = pf.samplers.Gaussian(mean=(0, 0), cov=[[1.0, 0.8], [0.8, 0.89]])
x0, target = start.sample(400, seed=0), goal.sample(500, seed=1)
ratio = ClosedForm(goal, current=Moments(jitter=1e-9), clip=40.0)


def kl(r):
    """f of KL(p || q)."""
    return r * torch.log(r)


# -f(e^d) does not increase with d: such a flow has to be asked for
naive = custom(lambda d: -kl(torch.exp(d)), allow_nonmonotone=True)
right = Exponential(
    1.0
)  # h' = r² f''(r) = r, the MonoFlow of the same divergence

paths = {
    name: pf.simulate(pf.mono_flow(ratio, mobility), x0, target, t1=4.0, dt=0.004)
    for name, mobility in {"naive": naive, "MonoFlow": right}.items()
}
pf.plotting.snapshots(paths, color="start")

# %%
# Both flows say that they descend KL(p || q). The distance of the cloud's mean
# from the target's tells them apart.

for name, path in paths.items():
    means = path.particles.mean(1).norm(dim=1)
    print(f"{name:>9}: {means[0]:.2f} -> {means[-1]:.3f}")
