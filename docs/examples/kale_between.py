"""
KALE lies between MMD and KL
============================

One number, lam, leads from the force of MMD flow (large) to the force of the KL
divergence (small). Two distributions on the same atoms show both ends.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf

kernel = pf.kernels.Gaussian(bandwidth=0.5)
q = pf.samplers.Gaussian(dim=1, mean=(-0.5,), std=0.7)
p = pf.samplers.Gaussian(dim=1, mean=(0.5,), std=0.7)
atoms = torch.linspace(-4, 4, 161, dtype=torch.float64)[:, None]
mass, goal_mass = (torch.softmax(law.log_density(atoms), 0) for law in (q, p))
current, goal = pf.Cloud(atoms, mass=mass), pf.Cloud(atoms, mass=goal_mass)


def force(estimator):
    return pf.fit(estimator, current, goal).witness.value_and_grad(atoms)[1][:, 0]


def apart(a, b):
    """The distance of two fields on the particles, over the size of b."""
    return float((mass * (a - b) ** 2).sum().sqrt() / (mass * b**2).sum().sqrt())


mmd = force(pf.estimators.MMD(kernel))
kl = (p.score(atoms) - q.score(atoms))[:, 0]  # the gradient of log p / q
LAMS = {
    10.0: "#56B4E9",
    1.0: "#009E73",
    0.1: "#E69F00",
    1e-2: "#D55E00",
    1e-4: "#CC79A7",
}
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(atoms, mmd, color="#1F2430", ls="--", label="MMD flow")
for lam, colour in LAMS.items():
    kale = (1 + lam) * force(pf.estimators.KALE(kernel, lam=lam))
    ax.plot(atoms, kale, color=colour, label=f"KALE flow, lam = {lam:g}")
    far = apart(kale, mmd), apart(kale, kl)
    print(f"lam = {lam:<6g} from MMD {far[0]:.2f}, from KL {far[1]:.2f}")
ax.plot(atoms, kl, color="#1F2430", ls=":", label="KL")
ax.set(xlabel="place", ylabel="force", xlim=(-2.5, 2.5), ylim=(-0.8, 3.4))
ax.legend(frameon=False, ncols=2, loc="upper left")

# %%
# The numbers are distances from both fields, over the size of each. Samples have
# no common atoms, and a smaller lam pulls them harder still. Tones are speeds and
# arrows velocities. A small lam is also stiff: the time steps that are suggested
# are shorter.

y = pf.samplers.Gaussian(dim=2, mean=(1.2, 0), std=0.35).sample(220, seed=0)
x0 = pf.samplers.Gaussian(dim=2, mean=(-1.2, 0), std=0.6).sample(180, seed=1)
figure, panels = plt.subplots(1, 3, figsize=(13, 3.5), layout="constrained")
for lam, ax in zip((10.0, 1.0, 0.1), panels, strict=True):
    flow = pf.kale_flow(pf.kernels.Gaussian(bandwidth=1.0), lam=lam)
    start = pf.simulate(flow, x0, y, steps=1, dt=1e-6)
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
    print(f"lam = {lam:<3g} suggested dt = {flow.suggest_dt(x0, y):g}")
