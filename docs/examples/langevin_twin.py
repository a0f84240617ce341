"""
MonoFlow and Langevin dynamics: one law, two kinds of paths
===========================================================

With h(d) = d a MonoFlow has the same distribution at each time as Langevin
dynamics. Its particles are not the same: they come to rest, and on the line
they keep their order.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf
from particleflow.estimators import ClosedForm, Moments

goal = pf.samplers.Gaussian(dim=1)
x0 = pf.samplers.Gaussian(dim=1, mean=(3.0,), std=0.3).sample(1000, seed=0)
save = pf.SaveAt(every=5)
mono = pf.mono_flow(ClosedForm(goal, current=Moments()))
paths = {
    "MonoFlow": pf.simulate(mono, x0, t1=3.0, dt=0.01, save=save),
    "Langevin": pf.simulate(pf.langevin(goal), x0, t1=3.0, dt=0.01, save=save),
}

figure, panels = plt.subplots(
    1, 2, figsize=(11, 4), layout="constrained", sharey=True
)
for (name, path), ax in zip(paths.items(), panels, strict=True):
    ax.plot(
        path.times, path.particles[:, :40, 0], color="#0072B2", lw=0.6, alpha=0.7
    )
    ax.set(title=name, xlabel="time")
panels[0].set_ylabel("place")

# %%
# Under both flows the mean is :math:`3 e^{-t}` and the variance is
# :math:`1 - (1 - 0.3^2) e^{-2 t}`. The variance of 1000 Langevin particles has a
# standard error of :math:`\sqrt{2 / 1000} = 0.045` around 1.

figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
t = paths["MonoFlow"].times
for (name, path), colour in zip(
    paths.items(), ("#0072B2", "#D55E00"), strict=True
):
    panels[0].plot(t, path.particles[:, :, 0].mean(1), color=colour, label=name)
    panels[1].plot(
        t, path.particles[:, :, 0].var(1, correction=0), color=colour, label=name
    )
panels[0].plot(t, 3 * torch.exp(-t), "k--", lw=1, label="closed form")
panels[1].plot(t, 1 - (1 - 0.09) * torch.exp(-2 * t), "k--", lw=1)
panels[0].set(title="mean", xlabel="time")
panels[1].set(title="variance", xlabel="time")
panels[0].legend(frameon=False)

# %%
# Their errors differ, too. With steps of dt Langevin dynamics ends with the
# variance 1 / (1 - dt / 2); Euler's method for the MonoFlow ends with 1.

x0 = pf.samplers.Gaussian(dim=1, std=0.8).sample(100_000, seed=3)
save = pf.SaveAt(every=60)
for dt in (0.2, 0.5, 0.8):
    ends = [
        float(
            pf.simulate(flow, x0, steps=60, dt=dt, save=save).particles[-1].var()
        )
        for flow in (pf.langevin(goal), mono)
    ]
    print(f"dt = {dt}: Langevin {ends[0]:.3f}, predicted {1 / (1 - dt / 2):.3f}")
    print(f"          MonoFlow {ends[1]:.3f}")
