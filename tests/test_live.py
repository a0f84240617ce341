"""The live window's session: orders between steps, refusals that change nothing, paintings."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
import torch

import particleflow as pf
from particleflow._refusals import RefusedTypeError, RefusedValueError
from particleflow.cli.live import Records
from particleflow.clouds import Clock, Cloud, Draws
from particleflow.integrators import Snapshot
from particleflow.live import Session
from particleflow.live.frames import HEAD
from particleflow.live.painting import FARTHEST, MOST_POINTS, WIDTH, spread, strokes
from particleflow.live.session import LATE

N, M = 40, 55


def positions(session: Session) -> np.ndarray:
    """The particles that the page is shown, (N, 2)."""
    return np.frombuffer(session.frame(0, 0.0)[HEAD.size :], dtype="<f4").reshape(-1, 2)


def step_of(session: Session) -> int:
    return int(struct.unpack_from("<I", session.frame(0, 0.0), 12)[0])


def set_to(session: Session, **values: object) -> dict[str, object]:
    return session.order({"do": "set", "values": values})


@pytest.fixture
def session():
    """A paused MMD flow to the rings."""
    maker = Records({"n": N, "m": M})
    made = Session(maker, maker.first, seed=3)
    made.start()
    made.order({"do": "pause"})
    yield made
    made.close()


def library_step(session: Session, flow: pf.flows.Flow, x: torch.Tensor, step: int) -> np.ndarray:
    """One step of the library from particles x at this step of the session."""
    scene = session._scene
    clock = Clock(t=step * scene.dt, step=step, draws=Draws(3))
    states = pf.iterate(flow, Snapshot(clock=clock, x=Cloud(x)), scene.y, dt=scene.dt)
    next(states)
    return next(states).x.points.numpy().astype("f4")


# ------------------------------------------------------------------ orders


def test_step_restart_and_pause(session):
    start = positions(session)
    assert start.shape == (N, 2)
    for count in (1, 2, 3):
        session.order({"do": "step"})
        assert step_of(session) == count
    assert np.abs(positions(session) - start).max() > 1e-3
    facts = session.order({"do": "restart"})
    assert (step_of(session), facts["running"]) == (0, False)
    assert np.array_equal(positions(session), start)


def test_it_runs_while_frames_are_asked_for_and_rests_after(session, monkeypatch):
    monkeypatch.setattr("particleflow.live.session.WATCHED", 0.3)
    session.order({"do": "run"})
    seen = {session.frame(k, 1.0)[:4] for k in range(5)}
    assert len(seen) > 1
    deadline = time.monotonic() + 5
    before, now = -1, session._state.clock.step
    while before != now:
        assert time.monotonic() < deadline, "it goes on unwatched"
        time.sleep(0.5)
        before, now = now, session._state.clock.step
    session.frame(0, 0.0)
    session.frame(session._number, 1.0)
    assert session._state.clock.step > now


def test_a_frame_that_is_known_is_not_sent_again(session):
    number = struct.unpack_from("<I", session.frame(0, 0.0))[0]
    assert session.frame(number, 0.05) == b""


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_a_cloud_far_from_the_origin_is_as_sharp_as_one_at_it(tmp_path, offset):
    y = pf.samplers.Rings().sample(M, seed=0).numpy() + offset
    np.savetxt(tmp_path / "far.csv", y, delimiter=",", fmt="%.17g")
    maker = Records({"target": str(tmp_path / "far.csv"), "n": N, "m": M})
    session = Session(maker, maker.first, seed=3)
    shown = positions(session) + np.array(session.facts["origin"])
    assert np.abs(shown - session._state.x.points.numpy()).max() < 1e-6
    goal = np.frombuffer(session.cloud("target"), dtype="<f4").reshape(-1, 2)
    assert len(np.unique(goal, axis=0)) == M
    low, high = np.reshape(session.facts["box"], (2, 2))
    assert (goal >= low - 1e-5).all()
    assert (goal <= high + 1e-5).all()
    assert (max(map(abs, session.facts["origin"])) > 0) == (offset > 0)


def test_rounding_below_zero_is_no_energy(session, monkeypatch):
    session.order({"do": "step"})
    first = session._value
    assert first > 0
    for told, shown in ((-1e-8 * first, 0.0), (-0.5 * first, -0.5 * first)):
        monkeypatch.setattr("particleflow.live.session._value", lambda state, told=told: told)
        session.order({"do": "step"})
        assert session._value == shown


def test_the_page_has_two_principal_components():
    with pytest.raises(
        RefusedValueError, match=r"`pca` must be 2, the number .* got 3: leave it out"
    ):
        Records({"target": "digits", "pca": 3, "n": N, "m": M})
    assert Records({"target": "digits", "pca": 2, "n": N, "m": M}).first["target"] == "digits"


def test_the_speed_is_kept(session):
    set_to(session, speed=20)
    began, first = time.monotonic(), step_of(session)
    session.order({"do": "run"})
    for _ in range(15):
        session.frame(session._number, 1.0)
    steps = step_of(session) - first
    # the first comes at once; late ones are made up for
    assert 0 < steps <= 20 * (time.monotonic() - began + 2 * LATE) + 1


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({}, "do must be one of set, run, pause, step, restart, got None"),
        ({"do": "stpe"}, "did you mean 'step'?"),
        ({"do": "set"}, "values must be a table of settings, got None: send {name: value}"),
        ({"do": "set", "values": {"speed": 0}}, "speed must be from 1 to 1000, got 0"),
        ({"do": "set", "values": {"speed": "1"}}, "speed must be a number, got str"),
    ],
    ids=["nothing", "a slip", "no values", "too slow", "no number"],
)
def test_orders_that_are_none(session, wish, words):
    with pytest.raises((RefusedValueError, RefusedTypeError)) as error:
        session.order(wish)
    assert words in error.value.said(lambda argument: argument.name)


# ------------------------------------------------------------------ settings


def test_a_changed_bandwidth_is_used_by_the_next_step(session):
    session.order({"do": "step"})
    x = session._state.x.points
    before = session.facts["settings"]["bandwidth"]
    facts = set_to(session, bandwidth=2 * before, dt=0.02)
    assert facts["settings"]["bandwidth"] == 2 * before
    assert facts["settings"]["dt"] == 0.02
    assert facts["chosen"] == []
    assert (step_of(session), len(session._scene.x0)) == (1, N)
    session.order({"do": "step"})
    flow = pf.mmd_flow(pf.kernels.Gaussian(2 * before), pairwise=pf.pairwise.Auto(rtol=1e-5))
    assert np.array_equal(positions(session), library_step(session, flow, x, 1))
    other = pf.mmd_flow(pf.kernels.Gaussian(before), pairwise=pf.pairwise.Auto(rtol=1e-5))
    assert not np.allclose(positions(session), library_step(session, other, x, 1))


def test_the_flow_goes_on_from_the_present_particles(session):
    session.order({"do": "step"})
    x = session._state.x.points
    facts = set_to(session, flow="mono")
    assert np.array_equal(positions(session), x.numpy().astype("f4"))
    assert [control["name"] for control in facts["controls"]][:5] == [
        "flow",
        "target",
        "kernel",
        "ratio",
        "mobility",
    ]
    session.order({"do": "step"})
    kernel = pf.kernels.Gaussian(facts["settings"]["bandwidth"])
    flow = pf.mono_flow(pf.estimators.KDE(kernel, pairwise=pf.pairwise.Auto(rtol=1e-5)))
    assert np.array_equal(positions(session), library_step(session, flow, x, 1))


def test_noise_stays_as_it_is_set(session):
    facts = set_to(session, flow="mmd-noise", beta=0.3)
    assert facts["settings"]["beta"] == 0.3
    for _ in range(3):
        session.order({"do": "step"})
    assert session._scene.flow.noise == pf.schedules.Constant(0.3)


def test_a_new_time_step_alone_keeps_what_the_fit_remembers(session):
    set_to(session, flow="kale", lam=0.1)
    session.order({"do": "step"})
    memory = session._state.memory
    assert memory
    set_to(session, dt=1e-3)
    assert session._state.memory is memory
    set_to(session, lam=0.2)
    assert not session._state.memory


def test_a_setting_left_to_the_program_is_chosen_again(session):
    own = session.facts["settings"]
    assert set(session.facts["chosen"]) == {"bandwidth", "dt"}
    assert set_to(session, bandwidth=0.4, dt=0.5)["chosen"] == []
    facts = set_to(session, bandwidth=None, dt=None)
    assert facts["settings"] == own
    assert set(facts["chosen"]) == {"bandwidth", "dt"}


def test_fewer_and_more_particles(session):
    session.order({"do": "step"})
    x = positions(session)
    set_to(session, n=N - 7)
    assert np.array_equal(positions(session), x[: N - 7])
    set_to(session, n=N + 9)
    assert np.array_equal(positions(session)[: N - 7], x[: N - 7])
    assert np.array_equal(
        positions(session)[N - 7 :], session._scene.x0[N - 7 :].numpy().astype("f4")
    )
    assert session.order({"do": "restart"})["particles"] == len(positions(session)) == N + 9


def test_a_new_target_takes_the_particles_that_are_near(session):
    session.order({"do": "step"})
    x = positions(session)
    scene = session.facts["scene"]
    facts = set_to(session, target="digits")
    assert np.array_equal(positions(session), x)
    assert facts["scene"] > scene
    assert facts["message"] == ""
    facts = set_to(session, target="painted", strokes=[[[900, 900], [901, 900]]])
    assert "begin at its start" in facts["message"]
    assert step_of(session) == 0
    assert np.abs(positions(session) - 900).max() < 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"flow": "kael"}, "flow must be one of mmd, mmd-noise, kale, mono, w1, langevin, got"),
        ({"flow": "kael"}, "did you mean 'kale'?"),
        ({"flow": "langevin"}, "choose another flow"),
        ({"target": "/etc/hostname"}, "target must be one of rings, moons"),
        ({"target": "painted"}, "paint some on the page"),
        ({"bandwidth": -1}, "bandwidth must be > 0, got -1"),
        ({"bandwidth": "wide"}, "bandwidth must be a number, got 'wide'"),
        ({"n": 1e9}, "n must be <= 20000, got 1000000000: take fewer"),
        ({"kernel": "energy", "flow": "kale"}, "use it with mmd or mmd-noise"),
        ({"out": "/tmp"}, "out is not a setting of the page"),
        ({"speed": 5, "lam": 0}, "lam must be > 0"),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, dict) else value[:12],
)
def test_a_refused_setting_changes_nothing(session, values, words):
    session.order({"do": "step"})
    facts, x = session.facts, positions(session)
    with pytest.raises(RefusedValueError) as error:
        set_to(session, **values)
    assert words in error.value.said(lambda argument: argument.name)
    assert session.facts == facts
    assert np.array_equal(positions(session), x)
    session.order({"do": "step"})
    assert step_of(session) == 2


def test_a_run_that_cannot_go_on_pauses_with_its_message(session):
    session.order({"do": "run"})
    facts = set_to(session, dt=1e9)
    for _ in range(40):
        facts = session.order({"do": "step"})
        if facts["ended"]:
            break
    assert facts["ended"]
    assert not facts["running"]
    assert "try dt = " in facts["message"]
    assert np.isfinite(positions(session)).all()
    facts = set_to(session, dt=None)
    assert (facts["ended"], facts["message"]) == (False, "")
    session.order({"do": "restart"})
    session.order({"do": "step"})
    assert step_of(session) == 1


def test_a_maker_that_fails_ends_nothing():
    class Failing(Records):
        def make(self, settings):
            if settings.get("n") == N + 1:
                raise ZeroDivisionError("an accident")
            return super().make(settings)

    maker = Failing({"n": N, "m": M})
    session = Session(maker, maker.first)
    session.start()
    try:
        with pytest.raises(ZeroDivisionError):
            set_to(session, n=N + 1)
        assert set_to(session, n=N + 2)["particles"] == N + 2
    finally:
        session.close()


def test_a_closed_session_answers_nobody():
    maker = Records({"n": N, "m": M})
    session = Session(maker, maker.first)
    session.start()
    session.close()
    with pytest.raises(Exception, match="closed"):
        session.order({"do": "step"})


# ------------------------------------------------------------------ targets of one's own


def test_a_file_of_the_command_line_is_read_once(tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("".join(f"{k % 7},{k % 5}\n" for k in range(60)))
    maker = Records({"target": str(file), "n": N, "m": M})
    session = Session(maker, maker.first)
    file.unlink()
    session.start()
    try:
        assert session.facts["settings"]["target"] == "file"
        set_to(session, target="moons")
        assert set_to(session, target="file")["samples"] == M
        assert set(session._scene.y[:, 0].tolist()) <= set(range(7))
    finally:
        session.close()


def test_the_page_can_name_no_file(session, tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("".join(f"{k % 7},{k % 5}\n" for k in range(60)))
    for name in (str(file), "file", "cat.png"):
        with pytest.raises(RefusedValueError) as error:
            set_to(session, target=name)
        assert "target must be one of rings" in error.value.said(lambda argument: argument.name)
        assert "or a file" not in str(error.value)


def test_a_target_that_is_not_in_the_plane_is_refused(tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("".join(f"{k % 7},{k % 5},{k % 3}\n" for k in range(60)))
    with pytest.raises(RefusedValueError, match="must have two coordinates"):
        Records({"target": str(file)})
    assert Records({"target": str(file), "pca": 2}).first["target"] == "file"


def test_points_are_spread_along_strokes():
    """A stroke of length 3 and one of length 1 get points three to one, within their width."""
    painted = strokes([[[0, 0], [1, 0], [3, 0]], [[0, 2], [0, 3]]])
    points = spread(painted, 4000, seed=1).numpy()
    low = points[:, 1] < 1
    assert low.sum() == 3000
    assert np.abs(points[low, 1]).max() < 5 * WIDTH * 3
    assert np.abs(points[~low, 0]).max() < 5 * WIDTH * 3
    # uniform on [0, 3]: the mean of 3000 equal distances, and the width's blur
    assert points[low, 0].mean() == pytest.approx(1.5, abs=4 * WIDTH * 3 / 3000**0.5)
    assert points[low, 0].std() == pytest.approx(3 / 12**0.5, rel=1e-2)


def test_a_single_dot_is_a_target():
    points = spread(strokes([[[2, 3]]]), 500).numpy()
    assert points.mean(0) == pytest.approx([2, 3], abs=0.01)
    assert 0 < points.std() < 2


def test_a_painting_becomes_the_target(session):
    stroke = [[-0.5, -1.0], [0.0, -1.5], [0.5, -1.0]]
    facts = set_to(session, target="painted", strokes=[stroke])
    assert facts["settings"]["target"] == "painted"
    assert "strokes" not in facts["settings"]
    y = np.frombuffer(session.cloud("target"), dtype="<f4").reshape(-1, 2)
    assert y.shape == (M, 2)
    assert np.abs(y[:, 1] + 1.5 - np.abs(y[:, 0])).max() < 0.1
    set_to(session, target="rings")
    assert set_to(session, target="painted")["samples"] == M


@pytest.mark.parametrize(
    "painting",
    [
        None,
        [],
        "abc",
        [[]],
        [[1, 2]],
        [[[1, 2, 3]]],
        [[[1, "2"]]],
        [[[1, True]]],
        [[[1, float("nan")]]],
        [[[1, 2 * FARTHEST]]],
        [[[1, 10**400]]],
        [[[0, 0]] * (MOST_POINTS + 1)],
    ],
    ids=[
        "none",
        "empty",
        "text",
        "an empty stroke",
        "no points",
        "three coordinates",
        "a text",
        "a truth",
        "not a number",
        "far",
        "huge",
        "many",
    ],
)
def test_what_is_no_painting(painting):
    with pytest.raises(RefusedValueError) as error:
        strokes(painting)
    assert error.value.argument == "strokes"
    assert len(str(error.value)) < 300
