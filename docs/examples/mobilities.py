r"""
Mobilities: one direction, many speeds
======================================

A MonoFlow climbs the log ratio, :math:`v = h'(\log r) \nabla \log r`. Every
increasing h gives the same direction. Where its slope vanishes, particles wait.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf
from particleflow.estimators import ClosedForm, Moments
from particleflow.mobilities import (
    LSGAN,
    Arcsinh,
    Exponential,
    NonSaturating,
    Unit,
    Vanilla,
    custom,
)
from particleflow.plotting.style import stroke

MOBILITIES = {
    "Unit": Unit(),
    "Exponential(1/4)": Exponential(0.25),
    "Arcsinh": Arcsinh(),
    "NonSaturating": NonSaturating(),
    "Vanilla": Vanilla(),
    "Vanilla(shift=5)": Vanilla(shift=5.0),
    "LSGAN(0, 1, 1)": LSGAN(0, 1, 1),
    "4 sigmoid(d)²": custom(lambda d: 4 * torch.sigmoid(d) ** 2),
}
d = torch.linspace(-8, 8, 401, dtype=torch.float64)
figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for k, (name, mobility) in enumerate(MOBILITIES.items()):
    colour, dashes = stroke(k)
    ax.plot(d, mobility.slope(d), color=colour, ls=dashes, label=name)
ax.set(xlabel="log ratio d", ylabel="slope h'(d)", yscale="log", ylim=(1e-4, 20))
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

# %%
# The flows between two Gaussians. The ratio is that of the target and of the
# Gaussian with the cloud's own mean and covariance, so that nothing is
# estimated but these.

start = pf.samplers.Gaussian(mean=(2, 2), cov=[[0.5, 0.0], [0.0, 0.5]])
goal = pf.samplers.Gaussian(mean=(0, 0), cov=[[1.0, 0.8], [0.8, 0.89]])
x0 = start.sample(300, seed=0)
ratio = ClosedForm(goal, current=Moments(jitter=1e-9), clip=40.0)

figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for k, (name, mobility) in enumerate(MOBILITIES.items()):
    flow = pf.mono_flow(ratio, mobility)
    path = pf.simulate(flow, x0, t1=6.0, dt=0.004, save=pf.SaveAt(every=10))
    colour, dashes = stroke(k)
    distance = path.particles.mean(1).norm(dim=1)
    ax.plot(path.times, distance, color=colour, ls=dashes, label=name)
ax.set(
    xlabel="time",
    ylabel="distance of the mean from the target's",
    yscale="log",
    ylim=(0.05, 4),
)
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

# %%
# A slope that vanishes on the left side of the first picture, where there are
# too many particles for the target, makes a flow that is slow to begin:
# ``Vanilla``, ``LSGAN`` and the last one. ``shift=5`` moves that side out of the
# way.
