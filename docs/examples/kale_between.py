"""
KALE lies between MMD and KL
============================

One number, lam, leads from the force of MMD flow (large) to the force of the KL
divergence (small). The target is a narrow cloud; the particles start beside it.
"""

import matplotlib.pyplot as plt

import particleflow as pf

target = pf.samplers.Gaussian(dim=2, mean=(1.2, 0), std=0.35).sample(220, seed=0)
x0 = pf.samplers.Gaussian(dim=2, mean=(-1.2, 0), std=0.6).sample(180, seed=1)
kernel = pf.kernels.Gaussian(bandwidth=1.0)

LAMS = (10.0, 1.0, 0.1, 0.01)
figure, panels = plt.subplots(
    1, len(LAMS), figsize=(13, 3.5), layout="constrained"
)
for lam, ax in zip(LAMS, panels, strict=True):
    flow = pf.kale_flow(kernel, lam=lam)
    start = pf.simulate(flow, x0, target, steps=1, dt=1e-6)
    pf.plotting.field(
        start,
        flow=flow,
        at=0,
        what="velocity",
        ax=ax,
        title=f"lam = {lam:g}",
        xlim=(-3, 3),
        ylim=(-2, 2),
    )

# %%
# Tones are speeds, arrows velocities. At lam = 10 this is the field of MMD
# flow. A smaller lam pulls harder, further out, and more and more along
# straight lines. It is also stiffer: look at the time steps that are suggested.

for lam in LAMS:
    flow = pf.kale_flow(kernel, lam=lam)
    print(f"lam = {lam:<5g} suggested dt = {flow.suggest_dt(x0, target):g}")

# %%
# The same particles after the same number of steps.

paths = {
    f"lam = {lam:g}": pf.simulate(
        pf.kale_flow(kernel, lam=lam),
        x0,
        target,
        steps=150,
        metrics={"W2": pf.metrics.W2()},
    )
    for lam in LAMS
}
pf.plotting.curves(paths, metrics=["W2"])
