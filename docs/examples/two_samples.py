"""
Two samples have no KL divergence
=================================

KALE is a KL divergence that is regularised by lam. Between two distributions on
the same points it tends to their KL as lam goes to zero. Between two *samples*
it does not: no point of one is a point of the other, the KL is infinite, and
KALE grows like 1 / lam.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import particleflow as pf
from particleflow.kernels import Matern52

kernel = Matern52(bandwidth=1.0)
p, q = pf.samplers.Gaussian(dim=1), pf.samplers.Gaussian(dim=1, mean=(1.0,))

# the same 81 atoms, with the masses of either density
atoms = torch.linspace(-4, 5, 81, dtype=torch.float64)[:, None]
masses = [torch.softmax(law.log_density(atoms), 0) for law in (q, p)]
on_atoms = [pf.Cloud(atoms, mass=mass) for mass in masses]
kl = float((masses[0] * (masses[0] / masses[1]).log()).sum())

lams = np.logspace(-6, 2, 17)
pairs = {
    "the same atoms": on_atoms,
    "two samples": (q.sample(90, seed=0), p.sample(81, seed=1)),
}
values = {
    name: [
        float(pf.fit(pf.estimators.KALE(kernel, lam=lam), *pair).value)
        for lam in lams
    ]
    for name, pair in pairs.items()
}

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.axhline(kl, color="#5F6774", lw=1, ls="--")
ax.text(60, 1.15 * kl, f"KL of the atoms, {kl:.3f}", ha="right", color="#5F6774")
for (name, line), colour in zip(
    values.items(), ("#0072B2", "#D55E00"), strict=True
):
    ax.loglog(lams, line, "o-", color=colour, label=name)
ax.set(xlabel="lam", ylabel="KALE")
ax.legend(frameon=False)

# %%
# So a value of KALE between samples says little without its lam. The *flow*
# does not mind: it needs the witness, which stays smooth.

slope = np.polyfit(np.log(lams[:4]), np.log(values["two samples"][:4]), 1)[0]
print(f"two samples: the value grows like lam^{slope:.2f} at small lam")
