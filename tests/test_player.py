"""The player's page: its bytes, and what it holds, without a browser."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from seen import normal as cloud

import particleflow as pf
from particleflow.plotting import player
from particleflow.plotting.drawing.labels import classed
from particleflow.plotting.web import facts as facts_of
from particleflow.plotting.web import frame, page
from particleflow.plotting.web.pack import Bytes, Grid
from particleflow.subsets import some_rows

G = pf.kernels.Gaussian(0.8)


def run(steps=6, n=12, m=17, d=2, **others):
    return pf.simulate(
        pf.mmd_flow(G), cloud(n, d, seed=0), cloud(m, d, seed=1), steps=steps, dt=0.1, **others
    )


def parts(text):
    """The facts and the bytes of a page."""
    facts = re.search(r'<script type="application/json" id="facts">(.*?)</script>', text)
    return json.loads(facts[1]), gzip.decompress(base64.b64decode(arrays_of(text)))


def arrays_of(text):
    return re.search(r'<script type="text/plain" id="arrays">(.*?)</script>', text)[1]


def series(data, block):
    """What `Bytes.series` has stored, as unpack.js reads it: (T, N, C) whole numbers."""
    t, n, c = block["shape"]
    size = t * n * c
    low, high = (
        np.frombuffer(data, np.uint8, size, block["at"] + k * size).astype(int) for k in (0, 1)
    )
    folded = low + 256 * high
    q = ((folded >> 1) ^ -(folded & 1)).reshape(c, t, n)
    for k in range(1, t):
        q[:, k] += q[:, k - 1] if k == 1 else 2 * q[:, k - 1] - q[:, k - 2]
        q[:, k] = (q[:, k] + 2**15) % 2**16 - 2**15
    return np.moveaxis(q, 0, 2)


@pytest.mark.parametrize("shape", [(1, 5, 2), (2, 1, 3), (9, 40, 1)])
def test_a_series_reads_back(shape):
    values = np.random.default_rng(0).integers(-(2**15) + 1, 2**15, size=shape)
    stored = Bytes()
    stored.series(np.zeros((2, 3, 1), int))
    block = stored.series(values)
    data = gzip.decompress(base64.b64decode(stored.text()))
    np.testing.assert_array_equal(series(data, block), values)


def test_positions_are_within_half_a_step_of_the_grid():
    path = run()
    facts, data = parts(page({"mmd": path}))
    whole = series(data, facts["flows"][0]["positions"])
    points = np.array(facts["middle"], float) + facts["step"] * whole
    assert np.abs(points - path.particles.numpy()).max() <= 0.5001 * facts["step"]
    # four steps to a pixel of a panel of 1000 pixels
    assert facts["step"] * 4096 == pytest.approx(
        max(h - l for l, h in zip(facts["low"], facts["high"], strict=True))
    )
    target = series(data, facts["targets"][0]["points"])[0]
    np.testing.assert_allclose(
        np.array(facts["middle"], float) + facts["step"] * target,
        path.target.numpy(),
        atol=0.5001 * facts["step"],
    )


def test_a_page_asks_for_nothing_and_no_name_ends_its_script():
    evil = "</script><script>alert(1)</script>"
    text = page({evil: run(), "b": run()}, title=f"<b>{evil}", python=evil)
    assert "://" not in re.sub(r"http://www\.w3\.org\S*", "", text)
    assert "default-src 'none'" in text
    assert text.count("<script") == 3 == text.count("</script>")
    facts, _ = parts(text)
    assert (facts["flows"][0]["name"], facts["python"]) == (evil, evil)
    assert f"<title>{html.escape('<b>' + evil)}</title>" in text


def test_two_flows_share_one_target_and_differ_without():
    x, y = cloud(12, 2, seed=0), cloud(17, 2, seed=1)
    flow = pf.mmd_flow(G)
    one = pf.simulate(flow, x, y, steps=3, dt=0.1)
    other = pf.simulate(flow, x, y + 1, steps=3, dt=0.1)
    langevin = pf.simulate(pf.langevin(pf.samplers.Gaussian(dim=2)), x, steps=3, dt=0.1)
    facts, _ = parts(page({"a": one, "b": replace(one, metrics={}), "c": other, "d": langevin}))
    assert facts["target_of"] == [0, 0, 1, None]
    assert len(facts["targets"]) == 2


def test_curves_have_their_floor_and_say_what_they_are():
    path = run(metrics={"W2": pf.metrics.W2(), "MMD2": pf.metrics.MMD2(G)})
    facts, _ = parts(page({"mmd": path}))
    curves = {curve["key"]: curve for curve in facts["flows"][0]["curves"]}
    assert set(curves) == {"W2", "MMD2", "energy"}
    assert curves["W2"]["floor"] == pytest.approx(path.nearness.floor, rel=1e-5)
    assert curves["W2"]["steps"] == path.steps.tolist()
    np.testing.assert_allclose(curves["W2"]["values"], path.metrics["W2"], rtol=1e-6)
    assert facts["flows"][0]["status"] == path.verdict


def test_a_large_run_is_thinned_and_says_so():
    path = run(steps=90, n=60)
    whole, _ = parts(page({"mmd": path}))
    assert whole["remark"] == ""
    few, data = parts(page({"mmd": path}, largest=4000))
    shape = few["flows"][0]["positions"]["shape"]
    assert 12 <= shape[0] < 91
    assert 40 < shape[1] <= 60
    assert re.fullmatch(r"shown: \d+ of 91 records.*", few["remark"])
    fewer, _ = parts(page({"mmd": path}, largest=900))
    assert re.search(r"\d+ of 60 particles", fewer["remark"])
    assert fewer["flows"][0]["count"] == 60
    # the last record is always there
    assert few["flows"][0]["steps"][-1] == 90
    last = series(data, few["flows"][0]["positions"])[-1]
    np.testing.assert_allclose(
        np.array(few["middle"], float) + few["step"] * last,
        path.particles[-1].numpy()[some_rows(60, len(last))],
        atol=few["step"],
    )


@pytest.mark.parametrize("noise", [None, 0.3])
@pytest.mark.parametrize("largest", [15_000, 25_000])
def test_a_large_page_is_as_large_as_it_may_be(noise, largest):
    x, y = cloud(700, 2, seed=0), cloud(17, 2, seed=1)
    path = pf.simulate(pf.mmd_flow(G, noise=noise), x, y, steps=60, dt=0.1)
    assert len(arrays_of(page({"mmd": path}))) > 1.2 * largest
    assert 0.7 * largest < len(arrays_of(page({"mmd": path}, largest=largest))) < 1.15 * largest


def test_the_witness_is_packed_with_its_sign():
    path = run(save=pf.SaveAt(every=1, witness=True))
    facts, data = parts(page({"mmd": path}))
    told = facts["flows"][0]["witness"]
    t, *sides = told["block"]["shape"]
    q = np.frombuffer(data, np.uint8, t * np.prod(sides), told["block"]["at"]).reshape(t, -1)
    q = q.cumsum(0, dtype=np.uint8).astype(int) - 128
    witness = path.witness.numpy().reshape(t, -1)
    most = np.quantile(np.abs(witness), facts_of.STRONG)
    expected = np.sign(witness) * np.sqrt(np.minimum(np.abs(witness) / most, 1))
    assert np.abs(q / 127 - expected).max() <= 0.5001 / 127
    middle = np.array(facts["middle"], float)
    np.testing.assert_allclose(middle + told["low"], path.witness_axes[0], rtol=1e-6)
    assert told["records"] == list(range(7))


def test_masses_are_packed_over_their_mean():
    heavy = pf.Cloud(cloud(12, 2, seed=0), mass=np.linspace(0.5, 1.5, 12) / 12)
    path = pf.simulate(pf.mmd_flow(G), heavy, cloud(17, 2, seed=1), steps=3, dt=0.1)
    facts, data = parts(page({"mmd": path}))
    mass = series(data, facts["flows"][0]["mass"])[..., 0] / 256
    np.testing.assert_allclose(mass[0], np.linspace(0.5, 1.5, 12), atol=0.5 / 256)


def test_labels_name_the_class_of_each_particle_that_is_shown():
    names = np.array(["seven", "one", "one"])[np.arange(60) % 3]
    path = run(n=60)
    for largest in (10**6, 300):
        classes = classed(names, {"a": path})
        facts, data = parts(page({"a": path}, classes=classes, largest=largest))
        assert facts["label_names"] == ["one", "seven"]
        assert len(facts["label_colours"]) == 2
        shown = facts["flows"][0]["positions"]["shape"][1]
        assert (shown == 60) is (largest == 10**6)
        at = facts["flows"][0]["labels"]["at"]
        of = np.frombuffer(data, np.uint8, shown, at)
        assert [facts["label_names"][k] for k in of] == names[some_rows(60, shown)].tolist()
    many = classed(np.arange(10), {"a": run(n=10)})
    assert len({light for light, _ in many.colours}) == 10


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_every_dimension_has_its_axes(d):
    facts, _ = parts(page({"mmd": run(d=d)}))
    shown = min(d, 5)
    assert facts["dim"] == d
    assert len(facts["labels"]) == shown == facts["flows"][0]["positions"]["shape"][2]
    if d > 3:
        assert all(re.fullmatch(r"PC \d \(\d+ %\)", label) for label in facts["labels"])


def test_what_flew_away_is_at_the_rim_and_an_unknown_number_is_null():
    path = run(metrics={"W2": pf.metrics.W2()})
    particles = path.particles.clone()
    particles[-1, 0] = 1e9
    lost = replace(path, particles=particles, metrics={"W2": path.metrics["W2"] * torch.nan})
    facts, data = parts(page({"mmd": lost}))
    assert series(data, facts["flows"][0]["positions"])[-1, 0].tolist() == [2**15 - 1] * 2
    assert set(facts["flows"][0]["curves"][0]["values"]) == {None}


def test_points_that_coincide_and_a_single_particle_have_a_page():
    same = torch.ones(1, 2, dtype=torch.float64)
    path = pf.simulate(pf.mmd_flow(G), same, torch.cat([same, same]), steps=2, dt=0.1)
    facts, _ = parts(page({"mmd": path}))
    assert all(h > l for l, h in zip(facts["low"], facts["high"], strict=True))


def test_a_grid_is_as_fine_on_both_axes():
    grid = Grid.over(np.array([0.0, 0.0]), np.array([4.0, 1.0]))
    whole = grid.whole(np.array([[0.0, 0.0], [4.0, 1.0], [2.0, np.inf]]))
    assert whole.tolist() == [[-2048, -512], [2048, 512], [0, 2**15 - 1]]


def test_a_notebook_shows_the_player(tmp_path):
    path = run()
    shown = path._repr_html_()
    inside = re.search(r'srcdoc="([^"]*)"', shown)[1]
    assert html.unescape(inside) == page({"": path})
    assert "<iframe" in frame({"a": path, "b": path}, height=400)
    file = path.play(tmp_path / "flow.html", title="One flow", python="import particleflow")
    assert "<title>One flow</title>" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


def test_bad_input_is_refused_with_the_remedy(tmp_path):
    path = run()
    refused = {
        r"`file` must end in \.html.*got 'flow\.gif'": lambda: player(path, "flow.gif"),
        r"`as_images` must fill d = 2 pixels, got \(8, 8\): pass \(height, width\)": lambda: player(
            path, tmp_path / "a.html", as_images=(8, 8)
        ),
        r"`as_images` .*got 0": lambda: player(path, tmp_path / "a.html", as_images=(0, 2)),
        r"`labels` must be one for each of the 12 particles, got shape \(3,\)": lambda: player(
            path, tmp_path / "a.html", labels=[1, 2, 3]
        ),
        r"`labels` must be whole numbers or texts, got float64": lambda: player(
            path, tmp_path / "a.html", labels=torch.linspace(0, 1, 12).double()
        ),
        r"`labels` must be of at most 32 classes, got 60": lambda: player(
            run(n=60), tmp_path / "a.html", labels=range(60)
        ),
        r"`paths` must hold at least one run": lambda: player({}, tmp_path / "a.html"),
        r"`paths` must live in one space.*'a': 2, 'b': 1": lambda: player(
            {"a": path, "b": run(d=1)}, tmp_path / "a.html"
        ),
        r"`save` can record the witness in d = 1 or 2, got clouds in d = 3": lambda: run(
            d=3, save=pf.SaveAt(witness=True)
        ),
    }
    for text, call in refused.items():
        with pytest.raises((ValueError, TypeError), match=text):
            call()
    with pytest.raises(FileNotFoundError, match=r"`file` .*nowhere.* make it"):
        player(path, tmp_path / "nowhere" / "a.html")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ the recorded witness


def gaussian(a, b):
    return torch.exp(-((a[:, None] - b) ** 2).sum(2) / (2 * 0.8**2))


@pytest.mark.parametrize("d", [1, 2])
def test_the_recorded_witness_is_that_of_the_kernel_sums(d):
    path = run(d=d, save=pf.SaveAt(every=2, witness=True))
    axes = path.witness_axes
    assert path.witness.shape[1:] == ((256,) if d == 1 else (64, 64))
    at = torch.stack([axes[5, 0], *([axes[60, 1]] if d == 2 else [])])[None]
    entry = (5,) if d == 1 else (5, 60)
    for particles, witness in zip(path.particles, path.witness, strict=True):
        expected = gaussian(at, path.target).mean() - gaussian(at, particles).mean()
        assert float(witness[entry]) == pytest.approx(float(expected), abs=1e-14)
    # the grid reaches beyond both clouds
    for points in (path.target, path.particles[0]):
        assert bool((points > axes[0]).all())
        assert bool((points < axes[-1]).all())


def test_recording_the_witness_changes_no_particle():
    with_it, without = run(save=pf.SaveAt(every=2, witness=True)), run(save=pf.SaveAt(every=2))
    assert torch.equal(with_it.particles, without.particles)
    assert (without.witness, without.witness_axes) == (None, None)


def test_a_run_goes_on_with_the_grid_of_its_witness(tmp_path):
    save = pf.SaveAt(every=2, witness=True)
    first = run(save=save)
    both = pf.simulate(pf.mmd_flow(G), first, steps=4, save=save)
    assert torch.equal(both.witness_axes, first.witness_axes)
    assert torch.equal(both.witness[: len(first)], first.witness)
    assert bool(both.witness.isfinite().all())
    # a part without records of it is unknown
    half = pf.simulate(pf.mmd_flow(G), first, steps=4, save=pf.SaveAt(every=2))
    assert bool(half.witness[: len(first)].isfinite().all())
    assert bool(half.witness[len(first) :].isnan().all())
    late = pf.simulate(pf.mmd_flow(G), run(save=pf.SaveAt(every=2)), steps=4, save=save)
    assert bool(late.witness[: len(first)].isnan().all())
    assert bool(late.witness[len(first) :].isfinite().all())
    loaded = pf.Trajectory.load(both.save(tmp_path / "run.npz"))
    assert torch.equal(loaded.witness, both.witness)
    assert torch.equal(loaded.witness_axes, both.witness_axes)


def test_a_failed_run_keeps_the_witness_it_has():
    calls = []

    def fails(state_x, y):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("no more")
        return 0.0

    with pytest.warns(RuntimeWarning, match="failed"):
        path = run(steps=8, save=pf.SaveAt(every=1, witness=True), metrics={"m": fails})
    assert path.status == "failed"
    assert len(path.witness) == len(path)
    assert bool(path.witness[:3].isfinite().all())
    assert all(a < b for a, b in pairwise(path.steps.tolist()))
