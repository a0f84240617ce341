"""
The density that a flow carries
===============================

A finished run is a map of space. It moves points that the run has never seen,
and it carries the density from which the particles were drawn.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf

law = pf.samplers.Gaussian(dim=2, std=0.5)
goal = pf.samplers.Mixture(
    [
        pf.samplers.Gaussian(mean=(-0.9, 0.0), std=0.4),
        pf.samplers.Gaussian(mean=(0.9, 0.0), std=0.4),
    ]
)


def run(n):
    flow = pf.mono_flow(pf.estimators.KDE(pf.kernels.Gaussian(0.4)))
    return pf.simulate(
        flow,
        law.sample(n, seed=0),
        goal.sample(200, seed=1),
        steps=40,
        dt=0.02,
        save=pf.SaveAt(every=8),
        metrics={"W2": pf.metrics.W2()},
    )


path = run(150)
sides = [
    torch.linspace(-end, end, nodes, dtype=torch.float64)
    for end, nodes in ((2.4, 49), (1.6, 33))
]
z = torch.cartesian_prod(*sides)
cell = float((sides[0][1] - sides[0][0]) * (sides[1][1] - sides[1][0]))
moments = [0, 1, 5]
densities = [path.log_density(z, start=law, record=k).exp() for k in moments]
for k, q in zip(moments, densities, strict=True):
    total = cell * float(q.sum())
    print(f"t = {float(path.times[k]):.1f}: the density sums to {total:.4f}")

# %%
# The tones are the density, found at each point of a grid by going back to where
# the flow takes that point from. The dots are the 150 particles to which the
# flow was fitted.

figure, panels = plt.subplots(1, 3, figsize=(12, 3.1), layout="constrained")
for ax, k, q in zip(panels, moments, densities, strict=True):
    ax.imshow(
        q.reshape(49, 33).T,
        origin="lower",
        extent=(-2.4, 2.4, -1.6, 1.6),
        cmap="Blues",
        vmin=0,
        interpolation="bilinear",
    )
    ax.scatter(*path.particles[k].T, s=6, color="#1F2430", lw=0)
    ax.set(xticks=[], yticks=[], title=f"t = {float(path.times[k]):.1f}")

# %%
# The target's density is known here, so that the KL divergence of the carried
# density from it can be estimated, on fresh points. 30 particles get nearer to
# the target all the time, while their density gets worse after the first steps:
# the flow is fitted to its own particles.

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for n, colour in ((30, "#D55E00"), (150, "#0072B2")):
    path = run(n)
    kls = [path.kl(goal, start=law, n=250, record=k) for k in range(len(path))]
    w2 = path.metrics["W2"]
    print(f"{n:>3} particles: W2 {w2[0]:.2f} -> {w2[-1]:.2f}")
    print(f"    KL {', '.join(str(kl) for kl in kls)}")
    ax.errorbar(
        path.times,
        [kl.value for kl in kls],
        [kl.error for kl in kls],
        color=colour,
        capsize=3,
        label=f"{n} particles",
    )
ax.set(xlabel="time", ylabel="KL from the target", yscale="log")
ax.legend(frameon=False)
