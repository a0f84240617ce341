"""The film at the top of the README: python docs/film.py writes docs/_static/rings.gif."""

from pathlib import Path

import particleflow as pf
from particleflow.plotting import animate

target = pf.samplers.Rings().sample(300, seed=0)
x0 = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(240, seed=1)
kernel = pf.kernels.Gaussian(0.2)
flows = {
    "MMD flow": pf.mmd_flow(kernel),
    "with noise injection": pf.mmd_flow(kernel, noise=pf.schedules.Geometric(0.5, every=60, smooth=True)),
    "KALE flow": pf.kale_flow(kernel, lam=0.03),
    "MonoFlow (KDE ratio)": pf.mono_flow(pf.estimators.KDE(kernel)),
}
paths = {name: pf.simulate(flow, x0, target, steps=600, seed=2) for name, flow in flows.items()}
for name, path in paths.items():
    print(name, path, path.report["dt"], round(pf.metrics.W2()(path.particles[-1], target), 4))
animate(paths, Path(__file__).parent / "_static" / "rings.gif", fps=14, seconds=4.5)
