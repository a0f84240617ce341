"""
MMD flow stalls far away
========================

A cloud starts five deviations from its target. The MMD² falls all the time, as
it must, and yet W2 rises: a third of the cloud moves *away*. Record both.
"""

import particleflow as pf

target = pf.samplers.Gaussian(dim=2).sample(170, seed=0)
x0 = pf.samplers.Gaussian(dim=2, mean=(5, 0), std=0.5).sample(150, seed=1)
metrics = {
    "W2": pf.metrics.W2(),
    "MMD2": pf.metrics.MMD2(pf.kernels.Gaussian(1.0)),
}

fixed = pf.simulate(
    pf.mmd_flow(pf.kernels.Gaussian(bandwidth=1.0)),
    x0,
    target,
    steps=600,
    save=pf.SaveAt(every=2),
    metrics=metrics,
)
print(fixed.summary())

# %%
# The kernel compares points that are about one bandwidth apart. Here the
# particles hardly feel the target; each feels the other particles, which push it
# outwards. Spreading lowers the MMD², so the flow does that. Those that come
# within reach stay, in a clump that is too small.

pf.plotting.curves({"bandwidth 1": fixed})

# %%
# The cure is a bandwidth that begins at the size of both clouds, and falls to
# that of the target's features while the particles arrive. ``auto_flow`` does
# this by itself.

falling = pf.simulate(
    pf.auto_flow(x0, target),
    x0,
    target,
    save=pf.SaveAt(every=2),
    metrics=metrics,
)
print(falling.summary())
pf.plotting.snapshots({"bandwidth 1": fixed, "falling": falling}, color="start")
