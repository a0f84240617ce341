"""
A solution with a certificate
=============================

KALE's witness solves a convex problem. The solver returns a *duality gap* with
it: a number that bounds the error of the value, and of the witness everywhere,
without knowing the solution. Here we know it, and compare.
"""

import matplotlib.pyplot as plt

import particleflow as pf

target = pf.samplers.Rings().sample(160, seed=0)
x = pf.samplers.Gaussian(dim=2, std=0.5).sample(140, seed=1)
kernel = pf.kernels.Gaussian(bandwidth=0.3)
LAM = 0.01


def solved(rtol):
    return pf.fit(pf.estimators.KALE(kernel, lam=LAM, rtol=rtol), x, target)


exact = solved(1e-12)
z = pf.samplers.Gaussian(dim=2, std=0.8).sample(2000, seed=2)
truth = exact.witness.value_and_grad(z)[0]

gaps, value_errors, witness_errors = [], [], []
for rtol in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8):
    loose = solved(rtol)
    gaps.append(loose.report["gap"])
    value_errors.append(abs(float(loose.value - exact.value)))
    witness_errors.append(
        float((loose.witness.value_and_grad(z)[0] - truth).abs().max())
    )

# %%
# The objective is strongly convex with the constant lam in the norm of the
# kernel's Hilbert space, and its size at a point is at most that norm times
# :math:`\sqrt{k(z, z)} = 1`. So the gap bounds the error of the value itself,
# and :math:`\sqrt{2 \, \mathrm{gap} / \lambda}` bounds that of the witness, at
# every point of space. The leftmost value is above its line by rounding: its
# error of 1e-15 is all that float64 has.

figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
bounds = [(2 * gap / LAM) ** 0.5 for gap in gaps]
for ax, errors, bound, name in (
    (panels[0], value_errors, gaps, "the value"),
    (panels[1], witness_errors, bounds, "the witness, at 2000 points"),
):
    ax.loglog(bound, errors, "o", color="#0072B2", label="true error")
    ax.loglog(bound, bound, "--", color="#5F6774", label="bound")
    ax.set(xlabel="bound from the gap", ylabel="error", title=name)
    ax.legend(frameon=False)
