"""Bad input, by the text of the error: what was expected, what came, the remedy."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Python

from particleflow import _checks
from particleflow.kernels import Gaussian
from particleflow.pairwise import Dense


def refused(kind: type[Exception], text: str) -> Any:
    return pytest.raises(kind, match=re.escape(text))


POINTS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    "value",
    [
        POINTS,
        tuple(map(tuple, POINTS)),
        np.array(POINTS),
        np.array(POINTS, np.float32),
        np.array(POINTS, np.int32),
        np.array(POINTS, np.uint8),
    ]
    + [torch.tensor(POINTS, dtype=dtype) for dtype in (torch.int64, torch.int8, torch.float64)]
    + [
        [torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([5.0, 6.0])],
        np.array(POINTS)[:, ::-1][:, ::-1],
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_what_is_numeric_becomes_float64(value: Any) -> None:
    points = _checks.as_points(value, "x")
    assert points.dtype == torch.float64
    assert points.tolist() == POINTS
    assert points.is_contiguous()


def test_read_only_arrays_are_copied_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    array = np.array(POINTS)
    array.flags.writeable = False
    assert _checks.as_points(array, "x").tolist() == POINTS
    assert not recwarn.list


def test_booleans_are_numbers() -> None:
    assert _checks.as_points([[True, False]], "x").tolist() == [[1.0, 0.0]]
    assert _checks.as_points(torch.tensor([[True], [False]]), "x").tolist() == [[1.0], [0.0]]


def test_float32_tensors_keep_their_dtype_and_arrays_do_not() -> None:
    assert _checks.as_points(torch.ones(2, 2), "x").dtype == torch.float32
    assert _checks.as_points(np.ones((2, 2), np.float32), "x").dtype == torch.float64
    assert _checks.as_points(torch.ones(2, 2), "x", dtype=torch.float64).dtype == torch.float64
    assert _checks.as_points([[1, 2]], "x", dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize(
    "given",
    [
        torch.ones(3, 2, dtype=torch.float64),
        np.ones((3, 2)),
        torch.ones(3, 2, dtype=torch.float64, requires_grad=True),
    ],
)
def test_the_result_is_a_detached_copy(given: Any) -> None:
    points = _checks.as_points(given, "x")
    assert not points.requires_grad
    points.fill_(7.0)
    assert given.sum().item() == 6.0


@pytest.mark.parametrize(
    ("value", "bad", "row", "count"),
    [
        ([[0, 1], [2, math.nan], [math.inf, 0]], "[2.0, nan]", 1, 2),
        (np.array([[0.0], [1.0], [-math.inf]]), "[-inf]", 2, 1),
        (torch.tensor([[math.nan, 1.0], [0.0, 0.0]]), "[nan, 1.0]", 0, 1),
    ],
)
def test_the_first_bad_row_is_named(value: Any, bad: str, row: int, count: int) -> None:
    text = (
        f"`x0` must be finite, got {bad} in row {row} ({count} bad rows of {len(value)}): drop them"
        " with x0[np.isfinite(x0).all(1)]"
    )
    with refused(ValueError, text):
        _checks.as_points(value, "x0")


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (0, 0)])
def test_an_empty_cloud_is_refused(shape: tuple[int, int]) -> None:
    with refused(
        ValueError,
        f"`y` must hold at least one point of at least one coordinate, got shape {shape}",
    ):
        _checks.as_points(np.ones(shape), "y")
    with refused(
        ValueError,
        f"`y` must hold at least one point of at least one coordinate, got shape {shape}",
    ):
        _checks.as_points(torch.ones(shape), "y")


@pytest.mark.parametrize(
    "value", [1.0, torch.tensor(1.0), np.ones((2, 2, 2)), torch.ones(1, 2, 3, 4), np.ones(0)]
)
def test_another_rank_is_refused(value: Any) -> None:
    with refused(
        ValueError, f"`x` must be (n, d), one row a point, got shape {tuple(np.shape(value))}"
    ):
        _checks.as_points(value, "x")


def test_a_vector_gets_its_remedy() -> None:
    with refused(
        ValueError,
        "`x` must be (n, d), one row a point, got shape (3,): one coordinate per point is x[:,"
        " None]",
    ):
        _checks.as_points([1, 2, 3], "x")


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.complex64, torch.complex128]
)
def test_other_float_types_are_refused(dtype: torch.dtype) -> None:
    with refused(
        TypeError,
        f"`x` must be float32 or float64, got {dtype}: convert it with x.float() or x.double()",
    ):
        _checks.as_points(torch.ones(2, 2, dtype=dtype), "x")


def test_half_precision_arrays_are_refused() -> None:
    with refused(
        TypeError,
        "`x` must be float32 or float64, got float16: convert it with x.astype('float64')",
    ):
        _checks.as_points(np.ones((2, 2), np.float16), "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_other_result_types_are_refused(dtype: torch.dtype) -> None:
    with refused(TypeError, f"`dtype` must be torch.float32 or torch.float64, got {dtype}"):
        _checks.as_points(POINTS, "x", dtype=dtype)


def test_ragged_rows_are_refused() -> None:
    with refused(
        TypeError, "`x` must be an (n, d) array of numbers, got rows of different lengths: "
    ):
        _checks.as_points([[1, 2], [3]], "x")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("points.csv", "got str with entries of type <U10"),
        ([["1", "2"]], "got list with entries of type <U1"),
        ([[1, None]], "got list with entries of type object"),
        (np.array([[1j, 2]]), "got ndarray with entries of type complex128"),
        ({"x": 1}, "got dict with entries of type object"),
        (None, "got NoneType with entries of type object"),
    ],
)
def test_what_is_not_numeric_is_refused(value: Any, what: str) -> None:
    with refused(TypeError, f"`x` must be an (n, d) array of real numbers, {what}"):
        _checks.as_points(value, "x")


def test_tensors_without_a_number_at_each_place_are_refused() -> None:
    for check in (_checks.as_points, _checks.points):
        with pytest.raises(
            TypeError,
            match=(
                r"`x` must be a dense tensor, got one of layout torch.sparse_coo: .*x\.to_dense\(\)"
            ),
        ):
            check(torch.eye(3).to_sparse(), "x")
    with pytest.raises(TypeError, match="`x` must hold numbers, got a tensor on the meta device"):
        _checks.as_points(torch.eye(3, device="meta"), "x")


def test_what_is_masked_is_no_number() -> None:
    masked = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, False], [True, False]])
    with pytest.raises(ValueError, match=r"`x` must be finite, got \[nan, 4.0\] in row 1"):
        _checks.as_points(masked, "x")
    assert torch.equal(
        _checks.as_points(masked[:1], "x"), torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    )


def test_two_clouds_of_other_dimensions() -> None:
    text = (
        "`y` must be (M, 2) like `x`, got (500, 3): pass the same coordinates, or project with"
        " sklearn.decomposition.PCA"
    )
    with refused(ValueError, text):
        _checks.same_space(torch.ones(4, 2), torch.ones(500, 3))
    with refused(ValueError, "`target` must be (M, 2) like `x0`, got (5, 1)"):
        _checks.same_space(torch.ones(4, 2), torch.ones(5, 1), "x0", "target")


def test_two_clouds_of_other_dtypes() -> None:
    text = (
        "`x` and `y` must have one dtype, got torch.float32 and torch.float64: convert one, e.g."
        " y.to(x.dtype)"
    )
    with refused(TypeError, text):
        _checks.same_space(torch.ones(4, 2), torch.ones(5, 2, dtype=torch.float64))


def test_two_clouds_on_other_devices() -> None:
    with refused(
        ValueError,
        "`x` and `y` must be on one device, got cpu and meta: move one, e.g. y.to(x.device)",
    ):
        _checks.same_space(torch.ones(4, 2), torch.ones(5, 2, device="meta"))


def test_two_clouds_of_one_space_pass() -> None:
    _checks.same_space(torch.ones(4, 2), torch.ones(5, 2))


@pytest.mark.parametrize("check", [_checks.real, _checks.positive, _checks.non_negative])
def test_numbers(check: Any) -> None:
    for value in (2, 2.0, np.float32(2), np.int64(2), torch.tensor(2), np.array(2.0)):
        number = check(value, "dt")
        assert type(number) is float
        assert number == 2.0
    for value, kind in (
        ("2", "str"),
        (None, "NoneType"),
        (True, "bool"),
        ([2.0], "list"),
        (torch.ones(2), "Tensor"),
        (2j, "complex"),
    ):
        with refused(TypeError, f"`dt` must be a number, got {kind}: pass a step"):
            check(value, "dt", remedy="pass a step")
    for value in (math.nan, math.inf, -math.inf):
        with refused(ValueError, f"`dt` must be finite, got {value}: pass a step"):
            check(value, "dt", remedy="pass a step")
    with refused(ValueError, "`dt` must be finite, got nan"):
        check(torch.tensor(math.nan), "dt")


@pytest.mark.parametrize("value", [0, -0.5])
def test_positive(value: float) -> None:
    with refused(ValueError, f"`lam` must be > 0, got {value:g}: raise it"):
        _checks.positive(value, "lam", remedy="raise it")
    assert _checks.positive(5e-324, "lam") > 0


def test_non_negative() -> None:
    assert _checks.non_negative(0, "beta") == 0.0
    with refused(ValueError, "`beta` must be >= 0, got -1e-09"):
        _checks.non_negative(-1e-9, "beta")


def test_count() -> None:
    assert _checks.count(np.int64(3), "n") == 3
    assert _checks.count(0, "seed", least=0) == 0
    for value in (2.0, "3", None, True):
        with refused(TypeError, f"`n` must be an integer, got {value!r}: pass 10"):
            _checks.count(value, "n", remedy="pass 10")
    with refused(ValueError, "`n` must be >= 1, got 0: pass 10"):
        _checks.count(0, "n", remedy="pass 10")


def test_user_errors_need_no_type_checker(python: Python) -> None:
    """Without this suite's run-time checks a wrong type meets the package's own words."""
    code = """
from particleflow.kernels import Gaussian
from particleflow.pairwise import Dense
for make in (lambda: Gaussian("wide"), lambda: Gaussian(None), lambda: Dense(max_bytes=1.5)):
    try:
        make()
    except TypeError as error:
        print(error)
"""
    done = python.run("-c", code)
    assert done.stdout.splitlines() == [
        (
            "`bandwidth` must be a number, got str: pass a length, e.g."
            " particleflow.kernels.default_bandwidth(target)"
        ),
        (
            "`bandwidth` must be a number for Gaussian, got nothing: pass a length, e.g."
            " particleflow.kernels.default_bandwidth(target)"
        ),
        "`max_bytes` must be an integer, got 1.5: pass a whole number",
    ]


def test_shapes_are_checked_at_run_time() -> None:
    """The suite's own hook (conftest.py) is at work: a wrong rank and a wrong type are caught where
    they enter.
    """
    from jaxtyping import TypeCheckError

    from particleflow.clouds import Cloud

    cloud = Cloud(torch.ones(3, 2))
    with pytest.raises(TypeCheckError):
        cloud.mean(torch.tensor(1.0))
    with pytest.raises(TypeCheckError):
        cloud.mean([1.0, 2.0, 3.0])
    with pytest.raises(TypeCheckError):
        Dense().sources(Gaussian(1.0), [[1.0, 2.0]])


WARNED = """
import warnings
import torch
import particleflow as pf

x, y = torch.randn(30, 2, dtype=torch.float64), torch.randn(40, 2, dtype=torch.float64)
mesh = pf.pairwise.Mesh(max_cells=999)

def failing(clock, fit):
    if clock.step > 3:
        raise RuntimeError("no more")
    return 0.0

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pf.mobilities.custom(torch.sin, allow_nonmonotone=True)
    pf.metrics.W2(max_iterations=1)(pf.Cloud(x), pf.Cloud(y))
    mesh.sources(pf.kernels.IMQ(0.01), x).field(torch.ones(30)).grad(y)
    pf.simulate(pf.mmd_flow(pf.kernels.IMQ(0.02), pairwise=mesh), x, y, steps=2, dt=1e-3)
    pf.simulate(pf.mmd_flow(pf.kernels.Gaussian(1.0), noise=failing), x, y, steps=9, dt=1e-3)
for warning in caught:
    print(warning.filename, warning.lineno)
"""


def test_a_warning_points_at_the_users_line(python: Python, tmp_path: Path) -> None:
    """However deep inside: of a mobility's constructor, of a metric, of a sum, of a sum in a step
    of a run, of a run that fails.
    """
    script = tmp_path / "script.py"
    script.write_text(WARNED)
    out = python.run(str(script)).stdout
    first = (
        WARNED.splitlines().index("    pf.mobilities.custom(torch.sin, allow_nonmonotone=True)") + 1
    )
    assert out.splitlines() == [f"{script} {first + k}" for k in range(5)]


def test_a_function_is_checked_in_its_first_calls_of_each_test() -> None:
    """Not in its later ones, which would take most of the time; until `begin_anew`, as before each
    test.
    """
    import run_time_checks
    from jaxtyping import TypeCheckError

    run_time_checks.begin_anew()
    for _ in range(2):
        for _ in range(run_time_checks.MOST):
            with pytest.raises(TypeCheckError):
                _checks.count("no number", 7)
        with pytest.raises(TypeError, match="must be an integer"):
            _checks.count("no number", "steps")
        run_time_checks.begin_anew()


def test_a_nested_function_is_checked_in_its_first_definitions_of_each_test() -> None:
    """They are counted for each function that the package's own code defines; until `begin_anew`.

    `jaxtyping.jaxtyped` is what the import hook puts before them.
    """
    import jaxtyping
    import run_time_checks
    from jaxtyping import TypeCheckError

    def defined() -> Any:
        @jaxtyping.jaxtyped(typechecker=run_time_checks.checked)
        def length(x: str) -> int:
            return len(x)

        return length

    run_time_checks.begin_anew()
    for _ in range(2):
        for _ in range(run_time_checks.MOST_DEFINED):
            with pytest.raises(TypeCheckError):
                defined()([1, 2])
        assert defined()([1, 2]) == 2
        run_time_checks.begin_anew()
