"""A refusal carries its argument, what came and the remedy, and is said in other names."""

from __future__ import annotations

import pickle

import pytest

from particleflow import _checks
from particleflow._refusals import (
    Argument,
    Keyword,
    Notice,
    Refusal,
    RefusedFileError,
    RefusedTypeError,
    RefusedValueError,
)
from particleflow.cli.options import in_flags
from particleflow.samplers import FromFile


def caught(call, *arguments, **named):
    with pytest.raises(Refusal) as error:
        call(*arguments, **named)
    return error.value


def test_a_check_tells_argument_value_and_remedy_apart():
    error = caught(_checks.positive, -1.0, "dt")
    assert isinstance(error, ValueError)
    assert (error.argument, error.got, error.remedy) == ("dt", "-1", ("pass a number > 0",))
    assert str(error) == "`dt` must be > 0, got -1: pass a number > 0"
    assert in_flags(error) == "--dt must be > 0, got -1: pass a number > 0"
    assert in_flags(error, {"dt": "`dt` in c.toml"}).startswith("`dt` in c.toml must be > 0")
    assert isinstance(caught(_checks.count, "7", "steps"), TypeError)


def test_a_value_that_looks_like_an_argument_stays_as_it_is():
    error = RefusedValueError("key", "must be one of ['a']", "'`dt`'", "; did you mean 'a'?")
    assert in_flags(error) == "--key must be one of ['a'], got '`dt`'; did you mean 'a'?"


def test_every_argument_of_a_message_gets_its_flag(tmp_path):
    both = Argument("start_mean"), " and ", Argument("start_std"), " disagree"
    assert in_flags(RefusedValueError("start_mean", both)) == (
        "--start-mean and --start-std disagree"
    )
    (tmp_path / "a.csv").write_text("1,2,3,4,5\n")
    error = caught(FromFile, tmp_path / "a.csv")
    assert error.argument == "wide"
    assert str(error).endswith(
        ": transpose it, FromArray(array.T), or pass wide=True if each row is a point"
    )
    assert in_flags(error).endswith(": transpose it, or take --pca if each row is a point")
    told = Notice("choose ", Keyword("columns", ["x", "y"]), ", or ", Keyword("bright", False))
    assert str(told) == "choose columns=['x', 'y'], or bright=False"
    assert in_flags(told) == "choose --columns x,y, or --no-bright"


@pytest.mark.parametrize("kind", [RefusedValueError, RefusedTypeError, RefusedFileError])
def test_refusals_pass_from_process_to_process(kind):
    error = kind("path", ("x: ", Argument("path"), " is gone"), "a.csv", ("pass ", Argument("n")))
    error.add_note("raised in `target`")
    again = pickle.loads(pickle.dumps(error.renamed({"path": Argument("target")})))
    assert type(again) is kind
    assert str(again) == "x: `target` is gone, got a.csv: pass `n`"
    assert (again.argument, again.remedy) == ("target", ("pass ", Argument("n")))
    assert pickle.loads(pickle.dumps(error)).__notes__ == error.__notes__
