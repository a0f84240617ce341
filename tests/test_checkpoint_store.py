"""Runs in folders: what was committed is found again, whatever happens to the process, the disk or
the files.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import torch
from checkpoints import check, forked, go_on, is_large, made, row, scalars, state, told

from particleflow._refusals import RefusedFileError, RefusedValueError
from particleflow.checkpoint import CheckpointError, Store, arrays, documents, segments
from particleflow.checkpoint.arrays import COPIED, Held
from particleflow.checkpoint.errors import DamageError
from particleflow.checkpoint.head import FORMAT

if sys.platform != "win32":
    import resource

no_forks = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 commits, of two records each; to be copied."""
    return made(tmp_path_factory.mktemp("runs") / "run", 12, every=2)


@pytest.fixture
def copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder))


# --- What is written is read again -----------------------------------------------------------


def test_a_run_is_found_again_and_goes_on(folder: Path) -> None:
    made(folder, 6, every=2)
    with Store.open(folder) as store:
        assert store.notes == []
        assert store.last is not None
        assert (store.last.step, store.last.records) == (6, 6)
        check(store)
        go_on(store, 3)
    with Store.open(folder) as store:
        assert store.last is not None
        assert store.last.step == 9
        check(store)


def test_records_count_once_they_are_committed(folder: Path) -> None:
    with Store.create(folder, checkpoints.HEAD, {"target": checkpoints.TARGET}) as store:
        check(store)
        go_on(store, 2)
        for step in (77, 78, 79):
            store.append(row(step))
        store.flush()
        assert len(store.columns()["particles"]) == 2
    with Store.open(folder) as store:
        check(store)
        go_on(store, 1)
    check(Store.open(folder, write=False))
    assert (folder / "records" / "particles.bin").stat().st_size == 3 * 3 * 2 * 4


def test_a_state_may_come_before_the_first_record(folder: Path) -> None:
    with Store.create(folder, {}) as store:
        store.commit(0, state(0), {}, [])
        store.append(row(0))
        store.commit(1, state(1), {}, [scalars(0)])
    store = Store.open(folder, write=False)
    assert store.last is not None
    assert (store.last.step, store.last.records) == (1, 1)
    assert torch.equal(store.columns()["particles"][0], row(0)["particles"])


def test_a_small_state_needs_no_file(folder: Path) -> None:
    """Every dtype that numpy has, numbers without an axis, nothing at all, and many axes."""
    kept = {
        "number": torch.tensor(7),
        "complex": torch.tensor([1 + 2j]),
        "bool": torch.tensor([[True], [False]]),
        "half": torch.tensor([0.1], dtype=torch.float16),
        "nan": torch.tensor([float("nan"), float("inf")]),
        "none": torch.zeros(0, 3, dtype=torch.uint8),
    }
    many = {"axes": torch.zeros([1] * 9)}  # more than a layout has
    with Store.create(folder, {}) as store:
        for step, tensors in enumerate((kept, {}, many, kept)):
            store.commit(step, tensors, {}, [])
    assert segments.numbers(folder, "npz") == [2]
    last = Store.open(folder, write=False).last
    assert last is not None
    assert list(last.tensors) == list(kept)
    for name, tensor in kept.items():
        assert last.tensors[name].dtype == tensor.dtype
        assert torch.equal(last.tensors[name].nan_to_num(), tensor.nan_to_num())


def test_copies_of_small_tensors_are_made_at_once(folder: Path) -> None:
    with Store.create(folder, {}) as store:
        x, facts = torch.zeros(3, 2), {"list": [1]}
        store.append({"x": x})
        store.commit(1, {"x": x}, facts, [{"t": 0.0}])
        x += 1
        facts["list"].append(2)
    store = Store.open(folder, write=False)
    assert store.last is not None
    assert not store.columns()["x"].any()
    assert not store.last.tensors["x"].any()
    assert store.last.facts == {"list": [1]}


@pytest.mark.parametrize("act", ["append", "commit"])
def test_a_large_tensor_that_is_changed_in_place_is_noticed(folder: Path, act: str) -> None:
    x, small = torch.zeros(COPIED, 2), torch.zeros(3, 2)
    with Store.create(folder, {}) as store:
        store.append({"x": small if act == "commit" else x})
        store.commit(1, {"x": small}, {}, [{"t": 0.0}])
        store.flush()
        held = Held.of({"x": x}, "tensors")
        x += 1
        write = {
            "append": partial(store._disk.append, held),
            "commit": partial(store._disk.commit, 2, held, {}, [], {}),
        }
        with pytest.raises(RuntimeError, match="'x' was changed in place"):
            write[act]()
    last = Store.open(folder, write=False).last
    assert last is not None
    assert last.step == 1


def large(value: float) -> torch.Tensor:
    """A tensor that is not copied."""
    return torch.full((COPIED, 2), value)


def two_large_commits(folder: Path) -> None:
    """The second state is the last record; the first one is not."""
    with Store.create(folder, {}) as store:
        for step in (0, 1):
            x = large(step + 0.5)
            store.append({"particles": x})
            store.commit(step, {"x": x if step else large(7.0)}, {}, [{"t": 0.0}])


def test_a_state_that_is_the_last_record_is_written_once(folder: Path) -> None:
    two_large_commits(folder)
    first, second = (folder / "segments" / f"00000{k}.npz" for k in (0, 1))
    assert first.stat().st_size > large(0.0).nbytes
    assert not second.exists()
    with Store.open(folder) as store:
        assert store.last is not None
        assert torch.equal(store.last.tensors["x"], large(1.5))
        store.commit(2, {"x": store.columns()["particles"][0]}, {}, [])
    last = Store.open(folder, write=False).last
    assert last is not None
    assert torch.equal(last.tensors["x"], large(0.5))


def test_damage_to_a_record_that_is_a_state_is_noticed(folder: Path) -> None:
    two_large_commits(folder)
    path = folder / "records" / "particles.bin"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    store = Store.open(folder, write=False)
    assert store.last is not None
    assert store.last.step == 0
    assert torch.equal(store.last.tensors["x"], large(7.0))


def test_a_record_that_has_changed_since_is_no_state() -> None:
    x = large(0.0)
    row = Held.of({"particles": x}, "row")
    assert Held.of({"x": x}, "tensors").shared(row) == {"x": "particles"}
    assert Held.of({"x": x.clone()}, "tensors").shared(row) == {}
    x += 1
    assert Held.of({"x": x}, "tensors").shared(row) == {}


def test_numpy_reads_the_files_alone(copy: Path) -> None:
    manifest = json.loads((copy / "segments" / "000005.json").read_text())
    layout = manifest["rows"]["particles"]
    shape = (manifest["records"], *layout["shape"])
    column = np.memmap(copy / "records" / "particles.bin", layout["dtype"], "r", shape=shape)
    assert np.array_equal(column[4], row(5)["particles"].numpy())
    with np.load(copy / "segments" / "000005.npz", allow_pickle=False) as file:
        assert np.array_equal(file["state/points"], state(12)["state/points"].numpy())


def test_a_column_can_be_written_to_and_the_file_stays(copy: Path) -> None:
    before = (copy / "records" / "particles.bin").read_bytes()
    column = Store.open(copy, write=False).columns()["particles"]
    column += 1
    assert torch.equal(column[0], row(1)["particles"] + 1)
    assert (copy / "records" / "particles.bin").read_bytes() == before


def test_a_reader_sees_the_commits_of_a_writer(folder: Path) -> None:
    with Store.create(folder, checkpoints.HEAD, {"target": checkpoints.TARGET}) as store:
        for _ in range(2):
            go_on(store, 2)
            store.flush()
            check(Store.open(folder, write=False))


@no_forks
@pytest.mark.usefixtures("unchecked")
def test_a_reader_takes_no_progress_for_damage(folder: Path) -> None:
    made(folder, 1)
    with forked(partial(checkpoints.write_until_killed, folder, 0)) as (_, read):
        os.read(read, 8)
        for _ in range(20):
            store = Store.open(folder, write=False)
            assert store.notes == []
            check(store)
    assert store.last is not None
    assert store.last.step > 1


def test_a_file_that_goes_while_it_is_opened_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a writer removes old states."""
    file, look = tmp_path / "000046.npz", Path.lstat
    file.write_bytes(b"a state")

    def looked(path: Path) -> os.stat_result:
        found = look(path)
        path.unlink()
        return found

    monkeypatch.setattr(Path, "lstat", looked)
    with pytest.raises(DamageError, match="is missing"):
        documents.regular(file)


def test_old_states_thin_out(folder: Path) -> None:
    made(folder, 20)
    kept = segments.numbers(folder, "npz")
    assert kept == [n for n in range(20) if segments.is_kept(n, 19) and is_large(n + 1)]
    assert {0, 8, 18, 19} <= set(kept)
    assert 17 not in kept
    for latest in range(1, 300):
        kept = [number for number in range(latest + 1) if segments.is_kept(number, latest)]
        assert {0, latest - 1, latest} <= set(kept)
        assert len(kept) <= 2 + 1.3 * math.log2(latest + 1)
        for back in range(1, latest + 1):  # damage in the last commits
            left = max(number for number in kept if number <= latest - back)
            assert latest - left <= 3 * back


def test_what_is_not_ours_stays(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.npz").write_bytes(b"a trajectory")
    made(folder, 2)
    (folder / "segments" / "notes.txt").write_text("mine")
    with Store.open(folder) as store:
        go_on(store, 1)
    assert (folder / "run.npz").read_bytes() == b"a trajectory"
    assert (folder / "segments" / "notes.txt").read_text() == "mine"


# --- Damage ----------------------------------------------------------------------------------


def damage(folder: Path, chance: random.Random) -> tuple[Path, bool]:
    """Flip a bit of a file of a run, or cut it off somewhere: which file, and is all lost?

    All is lost where the head, the first manifest or a record of the first commit is damaged.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    size, at = len(data), chance.randrange(len(data))
    if chance.random() < 0.5:
        data = data[:at]
    else:
        data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    lost = path.name in ("run.json", "head.npz", "000000.json")
    return path, lost or (path.parent.name == "records" and at < size // 6)


def survives(run: Path, folder: Path, seed: int) -> None:
    shutil.copytree(run, folder)
    path, lost = damage(folder, random.Random(seed))
    if lost:
        with pytest.raises(CheckpointError, match=path.name):
            Store.open(folder)
    else:
        with Store.open(folder) as store:
            assert any(path.name in note for note in store.notes), path
            check(store)
            assert store.last is not None
            step = store.last.step
            go_on(store, 2, every=2)
        store = Store.open(folder, write=False)
        assert store.notes == []
        assert store.last is not None
        assert store.last.step == step + 2
        check(store)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 1060), marks=pytest.mark.slow)], ids=len
)
@pytest.mark.usefixtures("unchecked")
def test_damage_is_found_and_never_loaded(run: Path, folder: Path, seeds: range) -> None:
    for seed in seeds:
        survives(run, folder, seed)


def test_damage_is_told_and_how_far_it_led_back(copy: Path) -> None:
    path = copy / "segments" / "000005.npz"
    path.write_bytes(path.read_bytes()[:-1])
    notes = Store.open(copy, write=False).notes
    size = path.stat().st_size
    assert notes == [
        f"segment 5 is damaged: segments/000005.npz is {size} bytes long in the place of"
        f" {size + 1}",
        "went back to step 10",
    ]


def test_a_manifest_of_another_run_does_not_fit(run: Path, copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with Store.create(other, {"flow": "KALE"}) as store:
        go_on(store, 12, every=2)
    for kind in ("json", "npz"):
        shutil.copy(other / "segments" / f"000005.{kind}", copy / "segments")
    store = Store.open(copy, write=False)
    assert "does not follow the one before" in store.notes[0]
    check(store)


# --- Kills -----------------------------------------------------------------------------------


@no_forks
@pytest.mark.parametrize(
    "kills", [3, pytest.param(200, marks=pytest.mark.slow)], ids=lambda kills: f"{kills} kills"
)
@pytest.mark.usefixtures("unchecked")
def test_a_kill_at_any_moment_loses_no_commit(tmp_path: Path, kills: int) -> None:
    committed = 0
    for number in range(kills):
        folder = tmp_path / str(number // 10)  # a run is killed ten times
        before = 0 if number % 10 == 0 else committed
        sure = checkpoints.killed(folder, number)
        if not Store.exists(folder):
            assert not sure
            assert not before
            committed = 0
            continue
        with Store.open(folder) as store:
            assert not any("damaged" in note for note in store.notes), store.notes
            committed = store.last.step if store.last else 0
            assert committed >= max(sure, before)
            check(store)


# --- Disks and folders -----------------------------------------------------------------------


def fails(folder: Path, breaks: Callable[[], None]) -> Callable[[int], None]:
    """A task that commits 4 steps, breaks something, and tells what the next commits say."""

    def task(pipe: int) -> None:
        store = Store.create(folder, checkpoints.HEAD, {"target": checkpoints.TARGET})
        go_on(store, 4)
        store.flush()
        breaks()
        try:
            go_on(store, 1)
            store.flush()
        except CheckpointError as error:
            os.write(pipe, str(error).encode())
        try:
            store.append(row(6))
        except CheckpointError:
            os.write(pipe, b" (and again)")
        store.close()

    return task


@no_forks
def test_a_full_disk_is_told_and_the_last_commit_is_whole(folder: Path) -> None:
    def breaks() -> None:
        size = (folder / "records" / "particles.bin").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    with forked(fails(folder, breaks)) as (_, read):
        said = told(read)
    assert said == (
        f"the checkpoint in '{folder}' could not be written: File too large; the commit at step 4"
        " is whole: raise the limit on the size of files (ulimit -f), then resume from the folder"
        " (and again)"
    )
    with Store.open(folder) as store:
        assert store.last is not None
        assert store.last.step == 4
        check(store)
        go_on(store, 2)


@no_forks
def test_a_folder_that_becomes_read_only_is_told() -> None:
    place = Path(tempfile.mkdtemp())  # where any user may go
    folder = place / "run"

    def breaks() -> None:
        if os.getuid() == 0:  # nothing is read-only for root
            os.setgroups([])
            os.setuid(65534)
        else:
            (folder / "segments").chmod(0o555)

    try:
        place.chmod(0o755)
        with forked(fails(folder, breaks)) as (_, read):
            said = told(read)
        assert "Permission denied; the commit at step 4 is whole: make the folder writable" in said
        if os.getuid() != 0:
            (folder / "segments").chmod(0o755)
        with Store.open(folder) as store:
            assert store.last is not None
            assert store.last.step == 4
            check(store)
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("replaced", [False, True], ids=["moved", "replaced"])
def test_a_folder_that_goes_away_is_told(folder: Path, tmp_path: Path, replaced: bool) -> None:
    store = Store.create(folder, checkpoints.HEAD, {"target": checkpoints.TARGET})
    go_on(store, 4)
    store.flush()
    elsewhere = folder.rename(tmp_path / "elsewhere")
    if replaced:
        made(folder, 2)
    go_on(store, 1)
    with pytest.raises(CheckpointError) as caught:
        store.flush()
    wanted = "another folder stands in the place" if replaced else "No such file or directory"
    assert wanted in str(caught.value)
    store.close()
    for place, step in [(elsewhere, 4), *([(folder, 2)] if replaced else [])]:
        with Store.open(place) as found:
            assert found.last is not None
            assert found.last.step == step
            check(found)


def test_a_failure_is_raised_by_close_if_nobody_was_told(folder: Path) -> None:
    store = Store.create(folder, {})
    (folder / "lock").unlink()
    store.commit(0, state(0), {}, [])
    with pytest.raises(CheckpointError, match="no commit was made before"):
        store.close()
    store.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written: Not a directory"):
        Store.create(tmp_path / "file" / "run", {})


# --- One process at a time -------------------------------------------------------------------


@no_forks
def test_a_second_process_is_refused_and_a_dead_one_s_lock_taken_over(folder: Path) -> None:
    def task(pipe: int) -> None:
        store = Store.create(folder, checkpoints.HEAD, {"target": checkpoints.TARGET})
        go_on(store, 2)
        store.flush()
        os.write(pipe, b"!")
        signal.pause()

    with forked(task) as (process, read):
        os.read(read, 1)
        who = f"process {process} on {socket.gethostname()}"
        with pytest.raises(RefusedValueError, match=who) as caught:
            Store.open(folder)
        assert caught.value.argument == "folder"
        with pytest.raises(RefusedValueError, match="must not hold a run yet"):
            Store.create(folder, {})
    with Store.open(folder) as store:
        assert [note.partition(" (since")[0] for note in store.notes] == [
            f"took over the lock of {who}"
        ]
        assert store.notes[0].endswith(", which is gone")
        check(store)
    assert Store.open(folder).notes == []


def test_a_process_does_not_write_to_its_folder_twice(copy: Path) -> None:
    with Store.open(copy), pytest.raises(RefusedValueError, match="this process writes to"):
        Store.open(copy)
    Store.open(copy).close()


@no_forks
def test_a_worker_does_not_hold_its_dead_parent_s_lock(copy: Path) -> None:
    def task(pipe: int) -> None:
        store = Store.open(copy)
        go_on(store, 2)
        if os.fork() == 0:
            signal.alarm(20)  # it must not outlive this test, which cannot wait for it
            try:
                go_on(store, 1)
            except CheckpointError as error:
                os.write(pipe, f"{os.getpid()} {error}".encode())
        signal.pause()

    with forked(task) as (_, read):
        worker, _, said = os.read(read, 1000).decode().partition(" ")
    try:
        assert "belongs to the parent of this process" in said
        with Store.open(copy) as store:
            assert store.notes
            check(store)
    finally:
        os.kill(int(worker), signal.SIGKILL)


@no_forks
def test_a_worker_may_close_its_copy(copy: Path) -> None:
    with Store.open(copy) as store:
        go_on(store, 2)
        with forked(lambda pipe: (store.close(), os.write(pipe, b"closed"))) as (_, read):
            assert told(read) == "closed"
        with pytest.raises(RefusedValueError, match="this process writes to"):
            Store.open(copy)
        go_on(store, 2)
        store.flush()
        check(store)


def test_a_store_that_nobody_holds_gives_the_folder_back(copy: Path) -> None:
    Store.open(copy)
    with Store.open(copy) as store:
        assert store.notes == []


def test_a_closed_store_takes_nothing(copy: Path) -> None:
    store = Store.open(copy)
    store.close()
    with pytest.raises(CheckpointError, match="is closed"):
        store.append(row(0))
    with pytest.raises(CheckpointError, match="open for reading"):
        Store.open(copy, write=False).commit(1, {}, {}, [])
    check(store)


# --- Folders that somebody made --------------------------------------------------------------


def resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a document, and give it the SHA-256 that it then has."""
    body, _ = documents.document(path)
    change(body)
    path.write_bytes(documents.sealed(body)[0])


def column(entry: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["rows"]["particles"].update({entry: value})


def renamed(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["rows"].update({name: body["rows"].pop("particles")})


def inline(entry: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["inline"].update({"memory/x": entry})


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a name that leads up": renamed("../../outside"),
    "an absolute name": renamed("/etc/passwd"),
    "a name in a folder": renamed("a/b"),
    "another column": renamed("points"),
    "huge rows": column("shape", [10**18]),
    "rows of no size": column("shape", [0, 10**12, 10**12, 10**12]),
    "many axes": column("shape", [1] * 100),
    "a negative length": column("shape", [-3, -2]),
    "a shape that is none": column("shape", "3, 2"),
    "objects": column("dtype", "|O"),
    "strings": column("dtype", "<U8"),
    "a dtype with code": column("dtype", "__import__('os')"),
    "a state of many bytes": lambda body: body["state"].update(length=10**15),
    "a state of no bytes": lambda body: body["state"].update(length=-1),
    "many records": lambda body: body.update(records=10**12),
    "records that are none": lambda body: body.update(records="all"),
    "scalars for each record of many": lambda body: body.update(records=1010, scalars=[{}] * 1000),
    "scalars that are none": lambda body: body.update(scalars=["x", "y"]),
    "another number": lambda body: body.update(number=3),
    "no state": lambda body: body.pop("state"),
    "no rows": lambda body: body.update(rows=[]),
    "facts that are none": lambda body: body.update(facts=[]),
    "small tensors that are none": lambda body: body.update(inline=[]),
    "a small tensor of no bytes": inline({"dtype": "<f8", "shape": [2], "data": ""}),
    "a small tensor of other bytes": inline({"dtype": "<f8", "shape": [1], "data": "AAAA"}),
    "a small tensor of no base": inline({"dtype": "<f8", "shape": [1], "data": "AAAA$AAAAAA="}),
    "a small tensor of numbers": inline({"dtype": "<f8", "shape": [1], "data": [0] * 8}),
    "a small tensor of a huge shape": inline({"dtype": "<f8", "shape": [10**9], "data": "AAAA"}),
    "a small tensor of objects": inline({"dtype": "|O", "shape": [1], "data": "AAAAAAAAAAA="}),
    "a tensor of no column": lambda body: body.update(shared={"state/points": "/etc/passwd"}),
    "tensors that are none": lambda body: body.update(shared=[1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_manifest_that_no_store_wrote_is_not_believed(copy: Path, change: str) -> None:
    resealed(copy / "segments" / "000005.json", CHANGES[change])
    before = sorted(copy.parent.iterdir())
    with Store.open(copy) as store:
        assert store.last is not None
        assert store.last.step == 10
        assert store.notes[-1] == "went back to step 10"
        check(store)
        go_on(store, 2, every=2)
    assert sorted(copy.parent.iterdir()) == before


def no_json(text: bytes) -> bytes:
    """The text as the beginning of a document, with its digest."""
    return text + b',"sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize(
    "text",
    [
        b'{"facts":' + b"[" * 2**20,
        b'{"facts":' + b'{"a":' * 100_000,
        b'{"number":' + b"9" * 100_000,
        b"\xff\xfe",
        b"",
        b"[1",
        b'{"a":1',
    ],
    ids=["deep lists", "deep objects", "long number", "no text", "nothing", "a list", "little"],
)
def test_a_document_that_is_no_manifest_is_not_believed(copy: Path, text: bytes) -> None:
    (copy / "segments" / "000005.json").write_bytes(no_json(text))
    store = Store.open(copy, write=False)
    assert "segment 5 is damaged: segments/000005.json" in store.notes[0]
    check(store)


@pytest.mark.parametrize("name", ["run.json", "segments/000005.json", "segments/000005.npz"])
def test_a_huge_file_is_not_read(copy: Path, name: str) -> None:
    os.truncate(copy / name, 2**40)  # a file with a hole
    if name == "run.json":
        with pytest.raises(CheckpointError, match="more than any that is written"):
            Store.open(copy)
    else:
        check(Store.open(copy, write=False))


def with_objects(path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {path.parent.parent.parent}/unpickled",)

    np.savez(path, state=np.array([Bomb()], dtype=object))


def compressed(path: Path) -> None:
    np.savez_compressed(path, state=np.zeros(2**22))


def with_header(path: Path, header: str, data: bytes = b"") -> None:
    """An .npz of one array that has this header."""
    text = header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "state.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data
        )


STATES: dict[str, Callable[[Path], object]] = {
    "objects": with_objects,
    "compressed": compressed,
    "no zip": lambda path: path.write_bytes(b"PK nothing"),
    "a huge array": lambda path: with_header(
        path, "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}"
    ),
    "a negative array": lambda path: with_header(
        path, "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}", b"12345678"
    ),
    "a huge empty array": lambda path: with_header(
        path, "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999, 99999999999)}"
    ),
    "a header with code": lambda path: with_header(path, "__import__('os').abort()"),
    "no numbers": lambda path: with_header(
        path, "{'descr': '<U2', 'fortran_order': False, 'shape': (1,)}", b"12345678"
    ),
    "no array": lambda path: zipfile.ZipFile(path, "w").writestr("state.npy", b"xyz"),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_no_store_wrote_is_not_loaded(copy: Path, kind: str) -> None:
    path = copy / "segments" / "000005.npz"
    path.unlink()
    STATES[kind](path)
    data = path.read_bytes()
    sealed = segments.Sealed(len(data), hashlib.sha256(data).hexdigest())
    resealed(copy / "segments" / "000005.json", lambda body: body.update(state=vars(sealed)))
    store = Store.open(copy, write=False)
    assert "segment 5 is damaged: segments/000005.npz" in store.notes[0]
    assert store.last is not None
    assert store.last.step == 10
    check(store)
    assert not (copy.parent / "unpickled").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_of_one_name_are_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for _ in range(2):
            archive.writestr("a.npy", b"")
    with pytest.raises(DamageError, match="of the same name"):
        arrays.unpacked(file.getvalue())


def test_entries_that_share_their_bytes_are_refused() -> None:
    """As in a zip bomb that compresses nothing."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", bytes(1000))
        archive.filelist += 2 * archive.filelist
    with pytest.raises(DamageError, match="has entries that are larger than the file"):
        arrays.unpacked(file.getvalue())


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize(
    "name", ["run.json", "segments/000005.json", "segments/000005.npz", "records/particles.bin"]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_links_out_of_the_folder_are_not_followed(copy: Path, name: str, kind: str) -> None:
    path, outside = copy / name, copy.parent / "outside"
    before = path.read_bytes()
    shutil.move(path, outside)
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    if name.startswith("segments"):
        store = Store.open(copy, write=False)
        assert f"{name} is no plain file" in store.notes[0]
        check(store)
    else:
        with pytest.raises(CheckpointError, match=f"{name} is no plain file"):
            Store.open(copy)
    assert outside.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("name", ["segments", "records", "lock"])
def test_folders_elsewhere_are_not_entered(copy: Path, name: str) -> None:
    outside = copy.parent / "outside"
    shutil.move(copy / name, outside)
    (copy / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="plain"):
        Store.open(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_in_the_place_of_a_column_is_not_written_to(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"precious")
    with Store.create(folder, {}) as store:
        (folder / "records" / "particles.bin").symlink_to(folder.parent / "outside")
        store.append(row(1))
        with pytest.raises(CheckpointError, match="is no plain file"):
            store.flush()
    assert (folder.parent / "outside").read_bytes() == b"precious"


# --- Refusals --------------------------------------------------------------------------------


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store.create(folder, {}) as made:
        yield made


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert not Store.exists(tmp_path)
    with pytest.raises(RefusedFileError, match=r"`folder` must hold a run, and there is no file"):
        Store.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_in_the_way_is_refused(folder: Path) -> None:
    (folder / "records").mkdir(parents=True)
    (folder / "records" / "particles.bin").write_bytes(b"other")
    with pytest.raises(RefusedValueError, match="must have no files in"):
        Store.create(folder, {})
    assert (folder / "records" / "particles.bin").read_bytes() == b"other"


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused(copy: Path, other: int) -> None:
    resealed(copy / "run.json", lambda body: body.update(format=other))
    told = f"has format {other}, this version reads {FORMAT}: install"
    with pytest.raises(RefusedValueError, match=told):
        Store.open(copy)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"particles": torch.zeros(4, 2)}, "must be like the first one"),
        ({"particles": torch.zeros(3, 2, dtype=torch.float64)}, "must be like the first one"),
        ({"particles": torch.zeros(3, 2), "velocity": torch.zeros(3, 2)}, "like the first one"),
        ({"../up": torch.zeros(3, 2)}, "must have names of small letters"),
        ({"particles": torch.zeros(3, 2, dtype=torch.bfloat16)}, "must have a dtype that numpy"),
    ],
    ids=["another length", "another dtype", "another column", "no name", "no dtype of numpy"],
)
def test_rows_must_be_alike(store: Store, other: dict[str, torch.Tensor], words: str) -> None:
    store.append({"particles": torch.zeros(3, 2)})
    with pytest.raises((ValueError, TypeError), match=words):
        store.append(other)
    store.commit(1, {}, {}, [{}])


def test_what_cannot_be_committed_is_refused(store: Store) -> None:
    store.append(row(1))
    with pytest.raises(ValueError, match=r"`scalars` must have an entry for each new record, 1"):
        store.commit(1, {}, {}, [])
    with pytest.raises(TypeError, match="`facts` must be what JSON holds"):
        store.commit(1, {}, {"x": torch.zeros(1)}, [{}])
    with pytest.raises(TypeError, match="`scalars` must be what JSON holds"):
        store.commit(1, {}, {}, [{"t": np.float32(1)}])
    with pytest.raises(ValueError, match="`tensors` must have names"):
        store.commit(1, {"a\0b": torch.zeros(1)}, {}, [{}])
    store.commit(1, {}, {}, [{}])
