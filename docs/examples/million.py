"""
A million particles
===================

Kernel sums over a million particles take a tenth of a second on one core: a
particle mesh, whose error is bounded beforehand. The bound can be checked on
the spot.
"""

import time

import torch

import particleflow as pf

target = pf.samplers.Checkerboard().sample(1_000_000, seed=0).float()
x0 = pf.samplers.Gaussian(dim=2, std=0.3).sample(1_000_000, seed=1).float()
kernel = pf.kernels.Gaussian(bandwidth=0.3)

sources = pf.pairwise.Auto(rtol=1e-5).sources(kernel, target)
field = sources.field(torch.full((len(target),), 1 / len(target)))
print(field.explain(x0))
audit = field.audit(x0, rows=16)
print(audit)

# %%
# A run of a few steps. Records of a million particles take memory, so that only
# every twentieth step is kept here.

began = time.perf_counter()
path = pf.simulate(
    pf.mmd_flow(kernel), x0, target, steps=60, save=pf.SaveAt(every=20)
)
print(f"{60 / (time.perf_counter() - began):.1f} steps a second")
path.plot(title="A million particles")
