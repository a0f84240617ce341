"""Draw the pictures of the page on choosing, docs/_static/choosing_*.png, and print its numbers.

Run it from the root: python -m docs.choosing_figure [NAME ...]. The names are those of `PICTURES`
and `TABLES`; without a name all pictures are drawn.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import particleflow as pf
from particleflow.estimators import KDE
from particleflow.kernels import CrossValidated, Gaussian, default_bandwidth, median_distance
from particleflow.plotting.style import LIGHT, stroke
from particleflow.schedules import Geometric

STATIC = Path(__file__).parent / "_static"
# Width of every picture in inches: its words stay readable on a screen of 390 pixels.
WIDTH = 5.6
W2 = pf.metrics.W2()
MMD, NOISE, KALE, MONO = range(4)
NAMES = ("MMD", "MMD, noise", "KALE", "MonoFlow")
FIRST = pf.SaveAt(steps=[0])

Normal, Mixture = pf.samplers.Gaussian, pf.samplers.Mixture
SPOT = Normal(dim=2, mean=(0.0, -0.3), std=0.1)
EIGHT = Mixture(
    [
        Normal(mean=(4 * math.cos(k * math.pi / 4), 4 * math.sin(k * math.pi / 4)), std=0.3)
        for k in range(8)
    ]
)
PAIR = Mixture([Normal(mean=(-5.0, 0.0), std=0.5), Normal(mean=(5.0, 0.0), std=0.5)])
LINE = Mixture(
    [Normal(dim=1, mean=-2.0, std=0.4), Normal(dim=1, mean=3.0, std=0.4)], weights=[0.6, 0.4]
)


def rings(n: int = 120, m: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    """A spot of particles and the three rings."""
    return SPOT.sample(n, seed=1), pf.samplers.Rings().sample(m, seed=0)


def afar(n: int = 150, m: int = 170) -> tuple[torch.Tensor, torch.Tensor]:
    """A start five bandwidths away from a Gaussian."""
    return Normal(mean=(5.0, 0.0), std=0.5).sample(n, seed=1), Normal(dim=2).sample(m, seed=2)


def around(y: torch.Tensor, margin: float = 1.3) -> list[float]:
    """The sides of a box about a target, left, right, bottom, top: a square, or upright about a
    target that is.
    """
    low, high = y.min(0).values, y.max(0).values
    half = 0.5 * margin * float((high - low).max())
    across = min(half, 1.1 * margin * float(high[0] - low[0]))
    return [
        float(v)
        for m, h in zip((low + high) / 2, (across, half), strict=True)
        for v in (m - h, m + h)
    ]


def run(flow: pf.Flow, x: torch.Tensor, y, steps: int, **more) -> pf.Trajectory:
    return pf.simulate(flow, x, y, steps=steps, seed=2, **{"save": FIRST, **more})


# ---------------------------------------------------------------- how pictures look


def sheet(rows: int, columns: int, height: float, **more) -> tuple[Figure, np.ndarray]:
    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 10,
            "text.color": LIGHT.ink,
            "axes.labelcolor": LIGHT.ink,
            "axes.edgecolor": LIGHT.spine,
            "axes.facecolor": LIGHT.ground,
            "figure.facecolor": LIGHT.ground,
            "xtick.color": LIGHT.faint,
            "ytick.color": LIGHT.faint,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "mathtext.fontset": "dejavusans",
        }
    )
    return plt.subplots(
        rows, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **more
    )


def cloud(
    ax: Axes, x, y, colour: str, *, box, note: str = "", marked: bool = False, size=4.0
) -> None:
    """Particles over a target, a number in the corner, and a frame in ink where it is `marked`."""
    ax.scatter(*np.asarray(y).T, s=size, color=LIGHT.target, lw=0)
    ax.scatter(*np.asarray(x).T, s=size, color=colour, lw=0, zorder=3)
    ax.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set(
        visible=True, color=LIGHT.ink if marked else LIGHT.spine, lw=2.0 if marked else 0.7
    )
    if note:
        ax.text(0.04, 0.03, note, transform=ax.transAxes, fontsize=9, color=LIGHT.ink, zorder=4)


def save(figure: Figure, name: str) -> None:
    figure.savefig(STATIC / f"choosing_{name}.png", dpi=170, pil_kwargs={"optimize": True})
    plt.close(figure)


# ---------------------------------------------------------------- which flow


def reaching() -> dict[str, tuple[pf.Trajectory, int]]:
    """Eight ways to a target that is five bandwidths away, 1000 steps at the suggested dt."""
    x, y = afar()
    kernel = Gaussian(1.0)
    flows = {
        "MMD": (pf.mmd_flow(kernel), MMD),
        "KALE, lam 0.1": (pf.kale_flow(kernel, lam=0.1), KALE),
        "MMD, noise that fades": (pf.mmd_flow(kernel, noise=Geometric(3.0, 0.5, every=150)), NOISE),
        "MMD, bandwidth 3": (pf.mmd_flow(Gaussian(3.0)), MMD),
        "MMD, Energy()": (pf.mmd_flow(pf.kernels.Energy()), MMD),
        "MonoFlow on KDE": (pf.mono_flow(KDE(kernel)), MONO),
        "auto_flow": (pf.auto_flow(x, y), 4),
        "Langevin": (pf.langevin(Normal(dim=2)), 5),
    }
    runs = {}
    for name, (flow, hue) in flows.items():
        needed = y if flow.estimator.needs_target else None
        steps = None if name == "auto_flow" else 1000
        path = pf.simulate(flow, x, needed, steps=steps, seed=2, save=pf.SaveAt(steps=[0, 200]))
        runs[name] = (path, hue)
        ends = [W2(points, y) for points in path.particles]
        dt = path.report["dt"]
        print(name, "dt", dt, "W2", *(f"{end:.3g}" for end in ends), "steps", int(path.steps[-1]))
    fresh = [W2(Normal(dim=2).sample(150, seed=s), y) for s in range(10, 20)]
    print(f"fresh samples {min(fresh):.2f} to {max(fresh):.2f}")
    return runs


def flows() -> None:
    x, y = afar()
    figure, panels = sheet(4, 2, 5.4)
    for ax, (name, (path, hue)) in zip(panels.flat, reaching().items(), strict=True):
        end = path.particles[-1]
        ax.scatter(*x.T, s=5, facecolors="none", edgecolors=LIGHT.spine, lw=0.6)
        cloud(ax, end, y, LIGHT.runs[hue], box=(-4.2, 8.2, -3.2, 3.2), note=f"{W2(end, y):.2f}")
        ax.set_title(name)
    save(figure, "flows")


# ---------------------------------------------------------------- bandwidth


def four(l: float) -> tuple[pf.Flow, ...]:
    kernel = Gaussian(l)
    return (
        pf.mmd_flow(kernel),
        pf.mmd_flow(kernel, noise=Geometric(0.5, 0.5, every=60)),
        pf.kale_flow(kernel, lam=0.1),
        pf.mono_flow(KDE(kernel)),
    )


SHARES = {0.25: "1/4", 0.5: "1/2", 1.0: "default", 2.0: "2", 4.0: "4"}


def grid() -> dict[tuple[int, float], pf.Trajectory]:
    """Four flows at five bandwidths, 400 steps at the suggested dt."""
    x, y = rings()
    default = default_bandwidth(y)
    print(f"default {default:.3g}, start {W2(x, y):.3g}, floor", pf.metrics.floor(W2, y, 120).value)
    runs = {}
    for share in SHARES:
        for k, flow in enumerate(four(share * default)):
            runs[k, share] = path = run(flow, x, y, 400)
            end, dt = W2(path.particles[-1], y), path.report["dt"]
            print(f"{NAMES[k]} bandwidth {share * default:.3g}: W2 {end:.3g}, dt {dt:.2g}")
    return runs


def bandwidth() -> None:
    _, y = rings()
    runs = grid()
    figure, panels = sheet(4, len(SHARES), 6.3)
    for row, (name, line) in enumerate(zip(NAMES, panels, strict=True)):
        line[0].set_ylabel(name)
        for ax, (share, words) in zip(line, SHARES.items(), strict=True):
            end = runs[row, share].particles[-1]
            note = f"{W2(end, y):.2f}"
            marked = share == 1.0
            cloud(ax, end, y, LIGHT.runs[row], box=around(y), note=note, marked=marked)
            if row == 0:
                ax.set_title(words, fontweight="bold" if marked else None)
    save(figure, "bandwidth")


def ruled() -> dict[str, tuple[torch.Tensor, list[pf.Trajectory]]]:
    """MonoFlow with the bandwidth of a flow and that of a density."""
    tasks = {
        "three rings": (SPOT, pf.samplers.Rings()),
        "eight Gaussians": (Normal(dim=2, std=0.5), EIGHT),
        "two moons": (Normal(mean=(0.5, 0.25), std=0.1), pf.samplers.Moons()),
    }
    runs = {}
    for name, (start, law) in tasks.items():
        x, y = start.sample(200, seed=1), law.sample(300, seed=0)
        both = [
            run(pf.mono_flow(ratio), x, y, 400) for ratio in (KDE(), KDE(shared=CrossValidated()))
        ]
        print(name, f"{W2(x, y):.3g}", *(f"{W2(path.particles[-1], y):.3g}" for path in both))
        runs[name] = (y, both)
    return runs


def rules() -> None:
    figure, panels = sheet(2, 3, 3.9)
    for column, (name, (y, both)) in zip(panels.T, ruled().items(), strict=True):
        sides = around(y, 1.15)
        for ax, path, colour in zip(column, both, (LIGHT.runs[MONO], LIGHT.runs[5]), strict=True):
            end = path.particles[-1]
            cloud(ax, end, y, colour, box=sides, note=f"{W2(end, y):.2f}")
        column[0].set_title(name)
    panels[0, 0].set_ylabel("KDE()")
    panels[1, 0].set_ylabel("cross-validated")
    save(figure, "rules")


# ---------------------------------------------------------------- lam

LAMS = (1e-3, 1e-2, 1e-1, 1.0)


def penalised() -> tuple[dict[float, pf.Trajectory], list[tuple[float, float]], pf.Trajectory]:
    """KALE flows of equal time, the value at the start against lam, and MMD flow."""
    x, y = rings()
    kernel = Gaussian(default_bandwidth(y))
    runs = {}
    for lam in LAMS:
        flow = pf.kale_flow(kernel, lam=lam)
        runs[lam] = path = run(flow, x, y, 400, save=pf.SaveAt(every=10), metrics={"W2": W2})
        print(f"lam {lam:g}: dt {path.report['dt']:.2g}, W2 {path.metrics['W2'][-1]:.3g}")
    mmd = run(pf.mmd_flow(kernel), x, y, 400, save=pf.SaveAt(every=10), metrics={"W2": W2})
    print(f"MMD: dt {mmd.report['dt']:.2g}, W2 {mmd.metrics['W2'][-1]:.3g}")
    values, memory = [], {}
    a, b = pf.Cloud(x), pf.Cloud(y)
    for lam in np.logspace(2, -4, 37):  # the smallest ones are warned of
        fit = pf.estimators.KALE(kernel, lam=lam).fit(a, b, pf.clouds.Clock(), memory)
        memory = fit.memory
        values.append((lam, float(fit.value)))
    return runs, values, mmd


def lam() -> None:
    runs, values, mmd = penalised()
    _, y = rings()
    figure = sheet(1, 1, 4.4)[0]
    figure.clear()
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.0, 1.2))
    panels = top.subplots(1, 5)
    shown = {f"{lam:g}": path for lam, path in runs.items()} | {"MMD": mmd}
    for ax, (name, path) in zip(panels, shown.items(), strict=True):
        end = path.particles[-1]
        hue = LIGHT.runs[MMD if name == "MMD" else KALE]
        marked = name == "0.1"
        cloud(ax, end, y, hue, box=around(y), note=f"{W2(end, y):.2f}", marked=marked)
        ax.set_title(
            name if name == "MMD" else f"lam {name}", fontweight="bold" if marked else None
        )
    left, right = bottom.subplots(1, 2)
    left.loglog(*zip(*values, strict=True), color=LIGHT.runs[KALE], lw=2)
    half = float(mmd.energy[0])
    left.axhline(half, color=LIGHT.runs[MMD], lw=1.5, ls="--")
    left.text(1e-4, half * 1.08, "MMD² / 2", color=LIGHT.runs[MMD], va="bottom")
    left.set(xlabel="lam", title="KALE at the start")
    dts = {lam: path.report["dt"] for lam, path in runs.items()}
    right.loglog(list(dts), list(dts.values()), "o-", color=LIGHT.runs[KALE], lw=2)
    right.axhline(mmd.report["dt"], color=LIGHT.runs[MMD], lw=1.5, ls="--")
    right.text(1e-3, mmd.report["dt"] * 0.8, "MMD", color=LIGHT.runs[MMD], va="top")
    right.set(xlabel="lam", title="suggested dt")
    for ax in (left, right):
        ax.axvline(0.1, color=LIGHT.ink, lw=0.8, ls=":")
        ax.xaxis.set_minor_formatter(NullFormatter())
    save(figure, "lam")


# ---------------------------------------------------------------- dt

TIMES = (0.25, 1.0, 4.0, 16.0)


def paces() -> tuple[float, dict[float, pf.Trajectory]]:
    """MMD flow with four steps, in units of the suggested one, up to the same time."""
    x, y = rings()
    flow = pf.mmd_flow(Gaussian(default_bandwidth(y)))
    dt = flow.suggest_dt(x, y)
    runs = {}
    for times in TIMES:
        steps = round(400 / times)
        runs[times] = path = run(flow, x, y, steps, dt=dt * times, save=pf.SaveAt(every=2))
        end = W2(path.particles[-1], y)
        print(f"{times:g} x {dt:.2g}: {path.status}, {path.message}, W2 {end:.3g}")
    return dt, runs


def dt() -> None:
    _, y = rings()
    dt, runs = paces()
    figure = sheet(1, 1, 4.5)[0]
    figure.clear()
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.2, 1.0))
    panels = top.subplots(1, len(TIMES))
    ax = bottom.subplots()
    for k, (panel, (times, path)) in enumerate(zip(panels, runs.items(), strict=True)):
        end = path.particles[-1]
        marked = times == 1.0
        hue, dashes = stroke((4, 0, 2, 1)[k])
        cloud(panel, end, y, hue, box=around(y), note=f"{W2(end, y):.2f}", marked=marked)
        panel.set_title(
            f"dt {dt * times:.2g}" if not marked else f"dt {dt:.2g}, suggested",
            fontweight="bold" if marked else None,
            fontsize=9,
        )
        ax.plot(
            path.times,
            path.energy,
            color=hue,
            ls=dashes,
            lw=1.6,
            zorder=5 - k,
            label=f"dt {dt * times:.2g}",
        )
    ax.set(yscale="log", xlabel="time of the flow", title="energy, MMD² / 2")
    ax.legend(
        frameon=False,
        labelcolor=LIGHT.ink,
        ncols=4,
        fontsize=8.5,
        loc="center right",
        bbox_to_anchor=(1.0, 0.51),
    )
    save(figure, "dt")


# ---------------------------------------------------------------- noise


def noisy() -> tuple[torch.Tensor, dict[str, pf.Trajectory]]:
    """MMD flow to four Gaussians with no, little, fading and constant noise: 600 steps."""
    x = Normal(dim=2, std=0.3).sample(150, seed=1)
    y = Mixture.four_gaussians().sample(170, seed=0)
    bandwidth = default_bandwidth(y)
    betas = {
        "off": None,
        "0.1, too little": 0.1,
        "2, halved every 100 steps": Geometric(2.0, 0.5, every=100),
        "4 to the end, too much": 4.0,
    }
    print(f"bandwidth {bandwidth:.2g}, W2 at the start {W2(x, y):.3g}")
    runs = {}
    for name, beta in betas.items():
        flow = pf.mmd_flow(Gaussian(bandwidth), noise=beta)
        runs[name] = path = run(flow, x, y, 600, save=pf.SaveAt(every=10), metrics={"W2": W2})
        print(f"noise {name}: dt {path.report['dt']:.2g}, W2 {path.metrics['W2'][-1]:.3g}")
    return y, runs


def noise() -> None:
    y, runs = noisy()
    figure = sheet(1, 1, 5.6)[0]
    figure.clear()
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.2, 1.0))
    panels = top.subplots(2, 2)
    ax = bottom.subplots()
    for k, (panel, (name, path)) in enumerate(zip(panels.flat, runs.items(), strict=True)):
        hue, dashes = stroke((0, 4, 2, 1)[k])
        end = path.particles[-1]
        cloud(panel, end, y, hue, box=around(y), note=f"{W2(end, y):.2f}", size=6)
        panel.set_title(name)
        ax.plot(path.steps, path.metrics["W2"], color=hue, ls=dashes, lw=1.8, zorder=5 - k)
    ticks = (0.5, 1.0, 1.5, 2.0)
    ax.set(yscale="log", xlabel="step", title="W2", xlim=(0, 600))
    ax.set_yticks(ticks, [f"{v:g}" for v in ticks])
    ax.yaxis.set_minor_formatter(NullFormatter())
    save(figure, "noise")


# ---------------------------------------------------------------- weights and sizes


def weighted() -> tuple[torch.Tensor, torch.Tensor, list[pf.Trajectory]]:
    """Four Gaussians, one of which has seven tenths of the mass, with and without the masses."""
    rng = np.random.default_rng(0)
    means = np.array([(-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0)])
    y = np.concatenate([rng.normal(mean, 0.4, (60, 2)) for mean in means])
    m = np.repeat([0.1, 0.1, 0.1, 0.7], 60) / 60
    x = Normal(dim=2, std=0.5).sample(200, seed=1)
    runs = []
    for target in (torch.from_numpy(y), pf.Cloud(torch.from_numpy(y), mass=m)):
        path = pf.simulate(pf.auto_flow(x, target), x, target, seed=2)
        end = path.particles[-1]
        right = ((end[:, 0] > 0) & (end[:, 1] > 0)).double().mean()
        print(f"share at the upper right: {float(right):.3f}, steps {int(path.steps[-1])}")
        runs.append(path)
    return torch.from_numpy(y), torch.from_numpy(m), runs


def weights() -> None:
    y, m, runs = weighted()
    figure, panels = sheet(1, 3, 2.1)
    box = (-3.6, 3.6, -3.6, 3.6)
    left, *others = panels[0]
    cloud(left, y[:0], y[:0], LIGHT.ink, box=box)
    left.scatter(*y.T, s=3 * 240 * m, color=LIGHT.faint, lw=0)
    left.set_title("target, area = mass")
    for ax, path, name in zip(others, runs, ("without masses", "with masses"), strict=True):
        end = path.particles[-1]
        share = float(((end[:, 0] > 0) & (end[:, 1] > 0)).double().mean())
        cloud(ax, end, y, LIGHT.runs[4], box=box)
        ax.set_title(name)
        ax.text(0.97, 0.03, f"{share:.0%}", transform=ax.transAxes, ha="right", fontsize=9)
    save(figure, "weights")


SIZES = (30, 100, 300, 1000, 3000)


def sizes() -> tuple[dict[int, torch.Tensor], list[tuple[int, float, float, float]]]:
    """Rings of growing size: where the particles end, W2 to the sample, to points not seen, and of
    fresh ones.
    """
    ends, rows = {}, []
    law = pf.samplers.Rings()
    for n in SIZES:
        x, y = SPOT.sample(n, seed=1), law.sample(n, seed=0)
        path = run(pf.mono_flow(KDE(Gaussian(0.18))), x, y, 200)
        ends[n] = end = path.particles[-1]
        unseen, fresh = law.sample(n, seed=3), law.sample(n, seed=4)
        rows.append((n, W2(end, y), W2(end, unseen), W2(fresh, unseen)))
        print(f"N = M = {n}: sample {rows[-1][1]:.3g}, unseen, fresh", rows[-1][2:])
    return ends, rows


def size() -> None:
    ends, rows = sizes()
    figure = sheet(1, 1, 4.9)[0]
    figure.clear()
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.2, 1.0))
    for ax, n in zip(top.subplots(1, 3), (30, 300, 3000), strict=True):
        y = pf.samplers.Rings().sample(n, seed=0)
        area = {30: 12, 300: 4, 3000: 0.8}[n]
        cloud(ax, ends[n], y, LIGHT.runs[MONO], box=around(y), size=area)
        ax.set_title(f"N = {n}")
    ax = bottom.subplots()
    numbers, sample, unseen, fresh = zip(*rows, strict=True)
    ax.plot(numbers, fresh, color=LIGHT.faint, lw=1.6, ls="--", label="fresh points to unseen ones")
    ax.plot(numbers, unseen, "o-", color=LIGHT.runs[MONO], lw=2, label="particles to unseen points")
    ax.plot(numbers, sample, "s-", color=LIGHT.runs[MMD], lw=2, label="particles to their sample")
    ax.set(xscale="log", yscale="log", xlabel="N = M", title="W2", ylim=(0.004, 0.5))
    ax.set_xticks(numbers, [str(n) for n in numbers])
    ticks = (0.03, 0.1, 0.3)
    ax.set_yticks(ticks, [f"{v:g}" for v in ticks])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False, labelcolor=LIGHT.ink, loc="lower left", fontsize=9)
    save(figure, "size")


# ---------------------------------------------------------------- integrators and mobilities


def stepped() -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """W2 against the number of fits, for integrators and two flows."""
    from particleflow.integrators import Adam, Adaptive, Descent, Momentum

    x, y = rings()
    result = {}
    for name, flow in (
        ("MMD", pf.mmd_flow(Gaussian(0.2))),
        ("KALE", pf.kale_flow(Gaussian(0.2), lam=0.1)),
        ("MonoFlow on KDE", pf.mono_flow(KDE(Gaussian(0.15)))),
    ):
        curves = {}
        for words, integrator in (
            ("Euler", pf.Euler()),
            ("Descent", Descent()),
            ("Adaptive", Adaptive()),
            ("Momentum", Momentum(0.9)),
            ("Adam", Adam()),
        ):
            if words == "Descent" and not flow.conservative:
                continue
            path = run(
                flow, x, y, 200, integrator=integrator, save=pf.SaveAt(every=10), metrics={"W2": W2}
            )
            curves[words] = ([int(s) for s in path.steps], [float(v) for v in path.metrics["W2"]])
            print(name, words, f"{curves[words][1][-1]:.3g}", path.status)
        result[name] = curves
    return result


def integrators() -> None:
    figure, panels = sheet(1, 3, 2.5, sharey=True)
    hues = {"Euler": 0, "Descent": 2, "Adaptive": 1, "Momentum": 3, "Adam": 4}
    for ax, (name, curves) in zip(panels[0], stepped().items(), strict=True):
        for words, (steps, values) in curves.items():
            hue, dashes = stroke(hues[words])
            ax.plot(steps, values, color=hue, ls=dashes, lw=1.7, label=words)
        ax.set(yscale="log", xlabel="step", title=name)
    ticks = (0.03, 0.1, 0.3, 1, 3)
    panels[0, 0].set_yticks(ticks, [f"{v:g}" for v in ticks])
    panels[0, 0].yaxis.set_minor_formatter(NullFormatter())
    panels[0, 0].set_ylabel("W2")
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(
        *handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5, columnspacing=1
    )
    save(figure, "integrators")


def mobile() -> dict[str, list[pf.Trajectory]]:
    """W2 from a start four standard deviations away, for mobilities and three seeds."""
    from particleflow.mobilities import Arcsinh, Unit, Vanilla

    every = {
        "Unit()": Unit(),
        "Arcsinh()": Arcsinh(),
        "Vanilla(shift=12)": Vanilla(shift=12),
        "Vanilla(shift=5)": Vanilla(shift=5),
        "Vanilla(shift=3)": Vanilla(shift=3),
        "Vanilla()": Vanilla(),
    }
    result = {}
    for name, mobility in every.items():
        result[name] = []
        for seed in range(3):
            x = Normal(mean=(4.0, 0.0), std=1.0).sample(150, seed=10 + seed)
            y = Normal(dim=2).sample(170, seed=20 + seed)
            flow = pf.mono_flow(KDE(), mobility)
            path = run(flow, x, y, 200, save=pf.SaveAt(every=10), metrics={"W2": W2})
            result[name].append(path)
        ends = [float(path.metrics["W2"][-1]) for path in result[name]]
        print(name, f"{min(ends):.2f} to {max(ends):.2f}")
    return result


def mobilities() -> None:
    figure, ((ax,),) = sheet(1, 1, 2.9)
    for k, (name, paths) in enumerate(mobile().items()):
        hue, dashes = stroke((0, 2, 4, 1, 3, 6)[k])
        values = np.array([np.asarray(path.metrics["W2"]) for path in paths])
        ax.plot(paths[0].steps, np.median(values, 0), color=hue, ls=dashes, lw=1.8, label=name)
        ax.fill_between(paths[0].steps, values.min(0), values.max(0), color=hue, alpha=0.12, lw=0)
    ticks = (0.2, 0.5, 1, 2, 4)
    ax.set(yscale="log", xlabel="step", title="W2, three seeds", xlim=(0, 200))
    ax.set_yticks(ticks, [f"{v:g}" for v in ticks])
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(frameon=False, labelcolor=LIGHT.ink, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, "mobilities")


# ---------------------------------------------------------------- tables that have no picture


def tasks(n: int, m: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Start and target of each row of the tables."""
    spot = Normal(dim=2, std=0.5).sample(n, seed=1)
    pairs = {
        "ring of eight Gaussians": (spot, EIGHT.sample(m, seed=0)),
        "three rings": (SPOT.sample(n, seed=1), pf.samplers.Rings().sample(m, seed=0)),
        "two moons": (
            Normal(mean=(0.5, 0.25), std=0.1).sample(n, seed=1),
            pf.samplers.Moons().sample(m, seed=0),
        ),
        "two Gaussians, 10 apart": (spot, PAIR.sample(m, seed=0)),
        "from N((5, 0), I/4)": (
            Normal(mean=(5.0, 0.0), std=0.5).sample(n, seed=1),
            Normal(dim=2).sample(m, seed=0),
        ),
        "spiral": (
            Normal(dim=2, std=0.1).sample(n, seed=1),
            pf.samplers.Spiral().sample(m, seed=0),
        ),
        "digits in two components": (
            Normal(dim=2, std=0.1).sample(n, seed=1),
            pf.samplers.Digits(pca=2).sample(m, seed=0),
        ),
        "two parts on the line": (
            Normal(dim=1, std=0.5).sample(n, seed=1),
            LINE.sample(m, seed=0),
        ),
    }
    return pairs


def density_or_flow() -> None:
    """W2 with the bandwidth of a flow and that of a density."""
    for name, (x, y) in tasks(200, 300).items():
        ends = []
        kernels = [KDE(), KDE(shared=CrossValidated())]
        if y.shape[1] == 1:
            kernels.append(KDE(Gaussian(median_distance(y))))
        for ratio in kernels:
            ends.append(W2(run(pf.mono_flow(ratio), x, y, 400).particles[-1], y))
        print(name, f"{W2(x, y):.3g}", *(f"{end:.3g}" for end in ends), flush=True)


def ratios() -> None:
    """W2 with each estimator of a ratio and its defaults in a flow."""
    from particleflow import estimators as all_of

    for name, (x, y) in tasks(80, 100).items():
        ends = []
        for ratio in (KDE, all_of.ULSIF, all_of.RuLSIF, all_of.KLIEP, all_of.KernelLogistic):
            ends.append(W2(run(pf.mono_flow(ratio()), x, y, 200).particles[-1], y))
        print(name, f"{W2(x, y):.3g}", *(f"{end:.3g}" for end in ends), flush=True)


PICTURES: dict[str, Callable[[], None]] = {
    "flows": flows,
    "bandwidth": bandwidth,
    "rules": rules,
    "lam": lam,
    "dt": dt,
    "noise": noise,
    "weights": weights,
    "size": size,
    "integrators": integrators,
    "mobilities": mobilities,
}
TABLES = {"density_or_flow": density_or_flow, "ratios": ratios}

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or PICTURES:
        print(f"-- {name}", flush=True)
        {**PICTURES, **TABLES}[name]()
