"""
Particles with a class
======================

A disc and a ring have to change places. All particles together are where the
target is already: only a flow that looks at classes has something to do.
"""

import numpy as np

import particleflow as pf


def disc_and_ring(n, rng):
    """n points of a disc, then n points of a ring around it."""
    radius = np.concatenate(
        [rng.uniform(0, 0.16, n) ** 0.5, rng.normal(1, 0.05, n)]
    )
    angle = rng.uniform(0, 2 * np.pi, 2 * n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


rng = np.random.default_rng(0)
x0, y = disc_and_ring(120, rng), disc_and_ring(150, rng)
x_labels = np.repeat(["blue", "red"], 120)  # the disc is blue, the ring red
y_labels = np.repeat(["red", "blue"], 150)  # and it should be the other way round

flow = pf.auto_flow(x0, y)
paths = {
    "no classes": pf.simulate(flow, x0, y),
    "classes": pf.simulate(pf.labelled(flow, x_labels, y_labels), x0, y),
}
pf.plotting.snapshots(paths, color=x_labels)

# %%
# Blue has to be on the ring and red in the disc; grey points are the target of
# both. The flow without classes leaves every colour where it was. W2 of all
# particles does not see the difference; W2 within a class does.

w2 = pf.metrics.W2()
for name, path in paths.items():
    for record in (0, -1):
        x = path.cloud(record).points
        own = [
            f"{label} {w2(x[x_labels == label], y[y_labels == label]):.3f}"
            for label in ("blue", "red")
        ]
        moment = "start" if record == 0 else "end"
        print(f"{name:>10}, {moment:>5}: all {w2(x, y):.3f}, {', '.join(own)}")
