"""
A perfect critic fails
======================

A Wasserstein GAN sees a fresh batch of the data in each step. Suppose that its
critic knew the exact W1 between its particles and each batch. The particles
would then leave the target, even from a start *on* it: they spread out evenly
and lose a quarter of their variance.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

import particleflow as pf

law = pf.samplers.Gaussian(dim=2)
start = law.sample(16, seed=1)
batches = pf.samplers.Minibatch(law, 16)


flow = pf.wgan_flow(pf.estimators.CTransformCritic())
path = None
for k in range(
    8
):  # steps become shorter: what remains is the average over batches
    dt = 0.3 / math.sqrt(1 + 15 * k)
    path = pf.simulate(
        flow, start if path is None else path, batches, steps=150, dt=dt
    )
end = path.particles[-1]

figure, ax = plt.subplots(figsize=(5.5, 5.5), layout="constrained")
angle = np.linspace(0, 2 * math.pi, 200)
for radius in (1, 2):
    ax.plot(radius * np.cos(angle), radius * np.sin(angle), color="#C9CDD3", lw=1)
ax.scatter(
    *start.T, s=50, color="#B4BAC3", label="a sample of the target, at the start"
)
ax.scatter(*end.T, s=50, color="#D55E00", label="1200 fresh batches later")
ax.set(aspect="equal", xticks=[], yticks=[], ylim=(-2.3, 2.9))
ax.legend(frameon=False, loc="upper left")

# %%
# Is the new cloud better? For the critic it is: it is nearer to a batch than
# real samples are.

fresh = [law.sample(16, seed=100 + k) for k in range(300)]
w1 = pf.metrics.W1()
ends = np.mean([float(w1(end, batch)) for batch in fresh])
real = np.mean(
    [float(w1(a, b)) for a, b in zip(fresh[:150], fresh[150:], strict=True)]
)
print(f"mean W1 to a batch: {ends:.3f} of these, {real:.3f} of real samples")
print(f"variance of an axis: {end.var(0, correction=0).mean():.2f} instead of 1")
