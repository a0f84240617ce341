"""Flows and their parts as JSON and tensors: what comes back is equal, and acts equally to the bit;
what is not listed is refused, when written and when read.

The parts and how each acts are those of `test_arguments`: a new part is walked here too.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from acts import ACTS
from seen import SCHEDULES, Acts, Elsewhere, Later, Refused, Warned, X, bits, of_flow
from sklearn.linear_model import LogisticRegression
from test_public_api import documented

import particleflow as pf
from particleflow.checkpoint import DecodingError, EncodingError, decoded, encoded
from particleflow.checkpoint.vocabulary import FUNCTIONS, PARTS, parts

K, E, S = pf.kernels, pf.estimators, pf.samplers
G = K.Gaussian(0.8)
PUBLIC = documented()
# Classes that no run is given: what the library makes for its users, and bases of classes.
NO_PARTS = {
    "Checkpoint",
    "Fit",
    "Runs",
    "State",
    "Summary",
    "Trajectory",
    "divergences.PiecewiseLinear",
    "estimators.FieldWitness",
    "estimators.Fit",
    "integrators.Controller",
    "integrators.Corrected",
    "integrators.Course",
    "integrators.Embedded",
    "integrators.LengthsOf",
    "integrators.Optimiser",
    "integrators.RungeKutta",
    "integrators.Snapshot",
    "integrators.State",
    "integrators.UnconvergedError",
    "metrics.Floor",
    "metrics.TwoSample",
    "pairwise.Audit",
    "pairwise.Promise",
    "reactions.Reaction",
    "renewals.Renewal",
    "scikit.RatioClassifier",
    "transport.Divergence",
    "transport.KernelDensity",
    *(name for name in PUBLIC if name.startswith("study.")),
}
# Parts that no file can stand for.
OF_THE_USER = {
    "estimators.SklearnClassifier": "holds a model of scikit-learn",
    "kernels.Radial": "holds a function",
    "mobilities.Custom": "holds a function",
    "samplers.FromFile": "reads a file when it is made",
    "samplers.FromImage": "reads a file when it is made",
}
# What makes flows.
FLOWS = (
    "auto_flow",
    "ift_flow",
    "kale_flow",
    "labelled",
    "langevin",
    "mmd_flow",
    "mono_flow",
    "stragglers",
    "unbalanced",
    "wgan_flow",
)
# Arguments of parts that `test_arguments` leaves out.
OTHERS = {"clouds.FixedCloud": {"points": X}}


def classes() -> dict[str, type]:
    return {
        name: value
        for name, value in PUBLIC.items()
        if inspect.isclass(value) and not getattr(value, "_is_protocol", False)
    }


def test_every_public_part_is_listed_or_said_not_to_be() -> None:
    known = {*parts().values()}
    missing = {
        name
        for name, value in classes().items()
        if value not in known and name not in NO_PARTS and name not in OF_THE_USER
    }
    assert not missing, f"list these in checkpoint/vocabulary.py, or say here why not: {missing}"
    listed = {name for name, value in classes().items() if value in known}
    assert not listed & (NO_PARTS | set(OF_THE_USER))


def test_parts_are_named_by_their_public_modules() -> None:
    for module, names in (*PARTS.items(), *FUNCTIONS.items()):
        assert len(set(names)) == len(names)
        for name in names:
            assert getattr(module, name).__module__.startswith(module.__name__)


def builders() -> dict[str, list[tuple[Callable[[], Any], Callable[[Any], Any]]]]:
    """Every part and flow, with each of the values that `test_arguments` gives its parameters, and
    how it is seen there.
    """
    known, found = set(parts().values()), {}
    own = {value: name for name, value in PUBLIC.items()}  # a part has one name here
    own |= {PUBLIC[name]: name for name in ACTS if name in PUBLIC}
    for value, name in own.items():
        if (value not in known and name not in FLOWS) or name == "AutoFlow":  # see auto_flow
            continue
        acts = ACTS.get(name, Acts(repr, OTHERS.get(name)))
        ways: list[dict[str, Any]] = [{}]
        for pair in acts.pairs.items():
            parameter, values = pair
            if not isinstance(values, Elsewhere):
                one, other, *more = values
                ways += [{**(more[0] if more else {}), parameter: each} for each in (one, other)]
        for way in ways:
            given = {**acts.given, **way}
            see = given.pop("see", of_flow if name in FLOWS else acts.see)
            if not any(isinstance(each, Refused | Warned | Later) for each in given.values()):
                found.setdefault(name, []).append((partial(value, **given), see))
    return found


BUILDERS = builders()


def read_again(value: Any) -> Any:
    """What comes back through the text of JSON."""
    form, tensors = encoded(value)
    back = decoded(json.loads(json.dumps(form)), tensors)
    again, others = encoded(back)
    assert json.dumps(again) == json.dumps(form)
    assert bits(others) == bits(tensors)
    return back


def pairs_of(name: str) -> Iterator[tuple[Any, Any, Callable[[Any], Any]]]:
    """Each part that can be made and encoded, what comes back, and how it is seen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for build, see in BUILDERS[name]:
            with suppress(EncodingError):  # with a function or a network of the user
                try:
                    part = build()
                except (TypeError, ValueError):  # the usual arguments alone are not enough
                    continue
                yield part, read_again(part), see


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.usefixtures("unchecked")
def test_what_comes_back_is_equal(name: str) -> None:
    found = list(pairs_of(name))
    assert found
    for part, back, _ in found:
        assert type(back) is type(part)
        assert repr(back) == repr(part)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.usefixtures("unchecked")
def test_a_flow_that_comes_back_has_the_same_velocities_to_the_bit(name: str) -> None:
    part, back, see = next(pairs_of(name))
    assert bits(see(back)) == bits(see(part))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BUILDERS if name in ACTS])
@pytest.mark.usefixtures("unchecked")
def test_what_comes_back_acts_equally_to_the_bit(name: str) -> None:
    for part, back, see in pairs_of(name):
        assert bits(see(back)) == bits(see(part))


@pytest.mark.parametrize(
    "value",
    [
        (1, [2.5, -0.0, math.inf], "three", None, True),
        {"a": (1, 2), 3: [{}], (1, "b"): ()},
        {"part": "kernels.Gaussian", "fields": {}},
        torch.float32,
        torch.device("cpu"),
        SCHEDULES.by_time,
        10**30,
    ],
    ids=["numbers", "mappings", "a form", "dtype", "device", "function", "long"],
)
def test_values_come_back(value: Any) -> None:
    assert read_again(value) == value


def test_arrays_and_tensors_come_back_with_their_types() -> None:
    tensor = torch.arange(6).view(2, 3)
    array = np.arange(4.0, dtype=np.float32)
    back = read_again(
        {"t": tensor, "same": tensor, "a": array, "n": np.float64(0.1), "nan": np.nan}
        | {"texts": np.array(["left", "", "\u00e9"])}
    )
    assert back["texts"].dtype == np.dtype("<U4")
    assert back["texts"].tolist() == ["left", "", "\u00e9"]
    assert torch.equal(back["t"], tensor)
    assert back["t"].dtype == tensor.dtype
    assert back["same"] is back["t"]
    assert isinstance(back["a"], np.ndarray)
    assert back["a"].dtype == array.dtype
    assert np.array_equal(back["a"], array)
    assert type(back["n"]) is np.float64
    assert float(back["n"]) == 0.1
    assert math.isnan(back["nan"])


@dataclass(frozen=True)
class Mine:
    bandwidth: float = 1.0


class Heir(K.Gaussian):
    """A user's class that looks like a part."""


def of_s(s: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + s)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: pf.mmd_flow(of_s), "Flow.estimator.kernel.of is the function of_s"),
        (lambda: pf.mmd_flow(G, noise=lambda clock: 1.0), "Flow.noise.of is the function <lambda>"),
        (lambda: pf.langevin(lambda z: -z), "Flow.estimator.target is the function <lambda>"),
        (lambda: pf.mobilities.custom(torch.exp), "Custom.function is the function exp"),
        (
            lambda: E.Classifier(module=lambda d: torch.nn.Linear(d, 1)),
            "Classifier.module is the function <lambda>",
        ),
        (lambda: torch.nn.Linear(2, 1), "an object of torch.nn.modules.linear.Linear"),
        (
            lambda: E.SklearnClassifier(LogisticRegression()),
            "SklearnClassifier is an object of particleflow.*SklearnClassifier",
        ),
        (
            lambda: [1, {"a": Mine()}],
            r"list\[1\]\['a'\] is an object of test_checkpoint_parts.Mine",
        ),
        (lambda: Heir(0.5), "is an object of test_checkpoint_parts.Heir"),
        (lambda: K.Gaussian, "is the class Gaussian"),
        (lambda: print, "is the function print"),
        (lambda: np.array(["a"], dtype=object), "an object of numpy.ndarray"),
        (lambda: {1, 2}, "an object of builtins.set"),
    ],
)
def test_what_no_file_can_stand_for_is_named(value: Callable[[], Any], words: str) -> None:
    with pytest.raises(EncodingError, match=f"{words}.*, which no file can stand for"):
        encoded(value())


def test_a_part_that_reads_a_file_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("1,2\n3,4.5\n")
    with pytest.raises(EncodingError, match=r"Minibatch\.sampler is an object of .*FromFile"):
        encoded(S.Minibatch(S.FromFile(path), 2))


# --- Forms that nobody has written -----------------------------------------------------------

GAUSSIAN = {"part": "kernels.Gaussian", "fields": {"bandwidth": 0.2}}


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"part": "samplers.FromFile", "fields": {"path": "/etc/passwd"}}, "no part that files"),
        ({"part": "os.system", "fields": {"command": "touch x"}}, "no part that files"),
        ({"part": "particleflow.kernels.Gaussian", "fields": {}}, "no part that files"),
        ({"part": "kernels.gaussian.Gaussian", "fields": {}}, "no part that files"),
        ({"part": "study.Task", "fields": {}}, "no part that files"),
        ({"part": ["kernels.Gaussian"], "fields": {}}, "stands for nothing"),
        ({"part": "kernels.Gaussian", "fields": {"width": 1}}, "has no fields"),
        ({"part": "kernels.Gaussian", "fields": {"__class__": 1}}, "has no fields"),
        ({"part": "kernels.Gaussian", "fields": [1]}, "stands for nothing"),
        ({"part": "kernels.Gaussian", "fields": {}}, "cannot be made as it was"),
        ({"part": "kernels.Gaussian", "fields": {"bandwidth": -1}}, "cannot be made as it was"),
        ({"part": "kernels.Gaussian", "fields": {"bandwidth": "x"}}, "cannot be made as it was"),
        ({"function": "builtins.eval"}, "stands for nothing"),
        ({"function": "schedules.as_schedule"}, "stands for nothing"),
        ({"function": 3}, "stands for nothing"),
        ({"tensor": "1"}, "there is no tensor"),
        ({"tensor": ["0"]}, "stands for nothing"),
        ({"tensor": "0", "on": "nowhere"}, "is not here"),
        ({"tensor": "0", "on": 3.5}, "is not here"),
        ({"number": "0"}, "stands for nothing"),
        ({"texts": ["a", 1]}, "stands for nothing"),
        ({"dtype": "complex1024"}, "stands for nothing"),
        ({"dtype": ["float32"]}, "stands for nothing"),
        ({"device": "nowhere"}, "is not here"),
        ({"tuple": 3}, "stands for nothing"),
        ({"dict": [[1, 2, 3]]}, "must be pairs"),
        ({"dict": [[[1], 2]]}, "is no key"),
        ({"dict": [[{"tuple": [[1]]}, 2]]}, "is no key"),
        ({"dict": [1]}, "must be pairs"),
        ({"on": "cpu"}, "stands for nothing"),
        ({}, "stands for nothing"),
        ({"array": "0", "on": "cpu"}, "stands for nothing"),
        ({"part": "kernels.Gaussian"}, "stands for nothing"),
        ({"part": "kernels.Gaussian", "fields": {}, "more": 1}, "stands for nothing"),
        (b"bytes", "stands for nothing"),
    ],
    ids=str,
)
def test_a_form_that_nobody_has_written_is_refused(form: Any, words: str) -> None:
    with pytest.raises(DecodingError, match=words):
        decoded([form], {"0": torch.zeros(3)})


@pytest.mark.parametrize("tag", ["list", "tuple", "dict", "part"])
def test_a_deep_form_is_refused(tag: str) -> None:
    form: Any = GAUSSIAN
    for _ in range(300):
        form = {
            "list": [form],
            "tuple": {"tuple": [form]},
            "dict": {"dict": [["key", form]]},
            "part": {"part": "estimators.MMD", "fields": {"kernel": form}},
        }[tag]
    with pytest.raises(DecodingError, match="more than 50 levels"):
        decoded(form, {})


def test_decoding_imports_nothing() -> None:
    before = set(sys.modules)
    for name in ("antigravity.fly", "this.s", "xmlrpc.server.main", "particleflow.cli.main"):
        with pytest.raises(DecodingError):
            decoded({"part": name, "fields": {}}, {})
    assert set(sys.modules) == before
