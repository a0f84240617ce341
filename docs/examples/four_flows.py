"""
Four flows, three rings
=======================

240 particles start in a spot and have to cover three rings. One flow gets there
with every number chosen for it; three others have one bandwidth and show what
each of them is like.
"""

import particleflow as pf

target = pf.samplers.Rings().sample(300, seed=0)
x0 = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(240, seed=1)

kernel = pf.kernels.Gaussian(bandwidth=0.2)
flows = {
    "auto": pf.auto_flow(x0, target),
    "MMD flow": pf.mmd_flow(kernel),
    "KALE flow": pf.kale_flow(kernel, lam=0.03),
    "MonoFlow": pf.mono_flow(pf.estimators.KDE(kernel)),
}
save = pf.SaveAt(every=15)
paths = {
    name: pf.simulate(
        flow, x0, target, steps=360, save=save, metrics={"W2": pf.metrics.W2()}
    )
    for name, flow in flows.items()
}
for name, path in paths.items():
    w2 = path.metrics["W2"]
    print(f"{name:>10}: W2 {w2[0]:.3f} -> {w2[-1]:.3f}, {path.verdict}")

# %%
# Columns are moments, equally far apart along the way. Colours say where a
# particle began. The rows of MMD flow and KALE flow end with particles that are
# out of the kernel's reach of any ring: their force is nearly zero there, and
# more steps do not help these.

pf.plotting.snapshots(paths, color="start", title="From a spot to three rings")

# %%
# W2 is the distance to the target, and the dashed line is its floor: what two
# fresh samples of the rings are apart. Below it a flow fits these 300 points
# rather than the rings.

pf.plotting.curves(paths, metrics=["W2"])

# %%
# The same as a page that plays. Point at a particle: its whole path appears in
# all four flows.

pf.plotting.player(paths, title="Four flows to three rings")
