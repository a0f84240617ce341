r"""
The shift trick
===============

The first GAN loss follows :math:`h' = \sigma(d)`, which vanishes where the
target has no mass. Adding a constant C to the discriminator's logit moves that
place away.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf
from particleflow.estimators import ClosedForm
from particleflow.mobilities import Unit, Vanilla

here = pf.samplers.Gaussian(dim=1, mean=(4.0,))
goal = pf.samplers.Gaussian(dim=1)
witness = pf.fit(ClosedForm(goal, current=here), here.sample(10, seed=0)).witness

z = torch.linspace(-4, 8, 241, dtype=torch.float64)[:, None]
value, grad = witness.value_and_grad(z)
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for shift, colour in zip(
    (0, 1, 3, 5), ("#0072B2", "#009E73", "#E69F00", "#D55E00"), strict=True
):
    speed = (Vanilla(shift=float(shift)).slope(value)[:, None] * grad).norm(dim=1)
    ax.semilogy(z, speed, color=colour, label=f"C = {shift}")
ax.axvline(4, color="#B4BAC3", lw=1)
ax.text(4.1, 3, "the particles are here", color="#5F6774")
ax.set(xlabel="place", ylabel="speed", ylim=(1e-5, 10))
ax.legend(frameon=False)

# %%
# At the middle of the cloud C = 5 is 140 times as fast as C = 0. It is still
# slow: the plain log ratio, ``Unit``, has the speed 4 there. What the trick
# cannot do is told by a run of 200 steps.

x0, target = here.sample(150, seed=1), goal.sample(170, seed=2)
kde = pf.estimators.KDE(pf.kernels.Gaussian(0.5))
for name, mobility in {
    "C = 0": Vanilla(),
    "C = 3": Vanilla(shift=3.0),
    "C = 5": Vanilla(shift=5.0),
    "Unit": Unit(),
}.items():
    path = pf.simulate(
        pf.mono_flow(kde, mobility),
        x0,
        target,
        steps=200,
        dt=0.05,
        metrics={"W2": pf.metrics.W2()},
    )
    w2 = path.metrics["W2"]
    print(f"{name:>6}: W2 {w2[0]:.2f} -> {w2[-1]:.2f}")
