r"""
Noise wakes a stalled flow
==========================

Noise injection asks the witness for its gradient not at the particle but at a
random point near it. On average this is the force of a *wider* kernel: of a
Gaussian with the bandwidth :math:`\sqrt{l^2 + \beta^2}`. The particle itself
takes no noise.
"""

import math

import matplotlib.pyplot as plt
import torch

import particleflow as pf

BANDWIDTH, BETA = 0.3, 1.2
kernel = pf.kernels.Gaussian(BANDWIDTH)
target = pf.samplers.Gaussian(dim=1, std=0.2).sample(200, seed=0)
x0 = pf.samplers.Gaussian(dim=1, mean=(2.0,), std=0.1).sample(150, seed=1)

# the mean force at many places, over 2000 equally likely values of the noise
witness = pf.fit(pf.estimators.MMD(kernel), x0, target).witness
places = torch.linspace(-1, 3, 200, dtype=torch.float64)[:, None]
shares = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
draws = BETA * torch.special.ndtri(shares)[:, None, None]
noisy = (
    witness.value_and_grad((places + draws).reshape(-1, 1))[1]
    .reshape(2000, 200)
    .mean(0)
)
plain = witness.value_and_grad(places)[1][:, 0]

# the wider kernel; a Gaussian kernel is not normalised, hence the factor l / wide
wide = math.hypot(BANDWIDTH, BETA)
wider = pf.fit(pf.estimators.MMD(pf.kernels.Gaussian(wide)), x0, target).witness
smoothed = BANDWIDTH / wide * wider.value_and_grad(places)[1][:, 0]

figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.plot(places, plain, color="#5F6774", label="no noise")
ax.plot(
    places,
    noisy,
    color="#0072B2",
    lw=4,
    alpha=0.5,
    label=f"mean force, beta = {BETA}",
)
ax.plot(
    places,
    smoothed,
    color="#D55E00",
    ls="--",
    label=f"kernel of bandwidth {wide:.2f}",
)
ax.scatter(x0[:, 0], torch.full((150,), -0.27), marker="|", color="#0072B2")
ax.scatter(target[:, 0], torch.full((200,), -0.27), marker="|", color="#B4BAC3")
ax.set(xlabel="place", ylabel="force", ylim=(-0.3, 0.3))
ax.legend(frameon=False)

# %%
# The two coloured curves agree: noise makes the kernel wider, and shrinks its
# force by the factor :math:`(l / \sqrt{l^2 + \beta^2})^d`. At the particles
# (blue ticks) the force without noise pushes to both sides, away from the other
# particles. The smoothed one pulls to the left.
#
# In a run the noise has to fade, since a wider kernel also blurs the target.
# Here is a cloud three bandwidths away, in the plane.

y = pf.samplers.Gaussian(dim=2).sample(170, seed=0)
x = pf.samplers.Gaussian(dim=2, mean=(3, 0), std=0.5).sample(150, seed=1)
kernel = pf.kernels.Gaussian(bandwidth=1.0)
fading = pf.schedules.Geometric(
    3.0, every=300, smooth=True
)  # half of it every 300 steps
paths = {
    name: pf.simulate(
        flow, x, y, steps=1500, dt=1.0, metrics={"W2": pf.metrics.W2()}
    )
    for name, flow in {
        "no noise": pf.mmd_flow(kernel),
        "with noise": pf.mmd_flow(kernel, noise=fading),
    }.items()
}
for name, path in paths.items():
    w2 = path.metrics["W2"]
    print(f"{name:>10}: W2 {w2[0]:.2f} -> {w2[-1]:.2f}")
pf.plotting.snapshots(paths, color="start")

# %%
# Noise brings most of the cloud in. A few particles were still outside of the
# plain kernel's reach when it had faded, and stay there. A bandwidth that falls
# (``pf.auto_flow``) widens the kernel without the factor, and leaves none
# behind in the example "MMD flow stalls far away".
