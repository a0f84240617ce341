"""
Four wells: mass that need not travel
=====================================

All particles start in one of four wells, and a quarter of the target is in each.
An unbalanced flow moves mass between particles, so that mass need not travel.
"""

import matplotlib.pyplot as plt
import torch

import particleflow as pf

WELLS = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)
wells = [pf.samplers.Gaussian(mean=tuple(w.tolist()), std=0.2) for w in WELLS]
y = torch.cat([well.sample(60, seed=k) for k, well in enumerate(wells)])
x0 = wells[0].sample(200, seed=4)

kernel = pf.kernels.Gaussian(pf.kernels.default_bandwidth(y))
plain = pf.mmd_flow(kernel)
flows = {
    "MMD flow": plain,
    "birth and death": pf.unbalanced(plain),
    "force transport": pf.ift_flow(kernel),
}
paths = {
    name: pf.simulate(flow, x0, y, steps=300, dt=0.7)
    for name, flow in flows.items()
}
pf.plotting.snapshots(paths, xlim=(-2.6, 2.0), ylim=(-2.6, 2.0))

# %%
# The area of a dot is its mass. Below is the mass in each well, in percent: it
# should be 25 in all of them.


def shares(cloud):
    """The mass that is nearest to each well, in percent."""
    well = torch.cdist(cloud.points, WELLS).argmin(1)
    return torch.stack([100 * cloud.mass[well == k].sum() for k in range(4)])


for name, path in paths.items():
    found = ", ".join(f"{share:.1f}" for share in shares(path.cloud(-1)))
    print(
        f"{name:>15}: {found}, total mass {float(path.cloud(-1).mass.sum()):.6f}"
    )

# %%
# The error of the worst well along the way. Force transport is resampled often:
# all masses are equal afterwards, and the line jumps.

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for (name, path), colour in zip(
    paths.items(), ("#0072B2", "#D55E00", "#009E73"), strict=True
):
    off = [
        float((shares(path.cloud(k)) - 25).abs().max()) for k in range(len(path))
    ]
    anew = path.report.get("renewals", {}).get("resampled", {"times": 0})
    print(f"{name:>15}: resampled {anew['times']} times")
    ax.semilogy(path.times, off, color=colour, label=name)
ax.set(xlabel="time", ylabel="worst well, percentage points", ylim=(0.1, 100))
ax.legend(frameon=False)
