"""
A run that survives
===================

A run with a checkpoint keeps its state in a folder. Here a process that makes
such a run is killed in the middle, and the run goes on from its folder.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch

import particleflow as pf

SCRIPT = """
import sys
import particleflow as pf

target = pf.samplers.Rings().sample(300, seed=0)
x0 = pf.samplers.Gaussian(dim=2, mean=(0, -0.3), std=0.1).sample(240, seed=1)
pf.simulate(
    pf.kale_flow(pf.kernels.Gaussian(0.2), lam=0.1),
    x0,
    target,
    steps=300,
    save=pf.SaveAt(every=10),
    metrics={"W2": pf.metrics.W2()},
    checkpoint=pf.Checkpoint(sys.argv[1], every=20, seconds=0),
)
"""
home = TemporaryDirectory()
script, whole, killed = (Path(home.name) / name for name in ("run.py", "a", "b"))
script.write_text(SCRIPT)
subprocess.run([sys.executable, script, whole], check=True)

process = subprocess.Popen([sys.executable, script, killed])
records = killed / "records" / "particles.bin"
while process.poll() is None:  # until 15 records of 240 places are on the disk
    if records.exists() and records.stat().st_size >= 15 * 240 * 2 * 8:
        process.kill()
    time.sleep(0.01)

# %%
# What the killed process has left can be read. ``pf.resume`` makes flow, target
# and metrics anew from the folder, and takes the steps that are missing.

left = pf.Trajectory.load(killed)
print(f"left: records up to step {int(left.steps[-1])} of 300")
path = pf.resume(killed)
seam = path.report["resumed"]["step"]
print(f"{path.status}: went on from step {seam} to {int(path.steps[-1])}")

# %%
# The other run was never stopped. The two agree to the last bit.

never = pf.Trajectory.load(whole)
for name in ("particles", "energy"):
    same = torch.equal(getattr(path, name), getattr(never, name))
    print(f"{name}: {'the same bits' if same else 'different'}")

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(
    never.steps, never.metrics["W2"], color="#C9CDD3", lw=7, label="never stopped"
)
for part, colour, name in (
    (path.steps <= seam, "#0072B2", "before the kill"),
    (path.steps >= seam, "#D55E00", "after it"),
):
    ax.plot(
        path.steps[part], path.metrics["W2"][part], color=colour, lw=2, label=name
    )
ax.set(xlabel="step", ylabel="W2 to the target")
ax.legend(frameon=False)
home.cleanup()
