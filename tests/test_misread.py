"""Files and pictures that a program wrote, as it wrote them: each is read rightly, told of, or
refused with a remedy.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from particleflow.cli import main
from particleflow.samplers import FromFile, FromImage

RNG = np.random.default_rng(0)
XY = RNG.normal(size=(30, 2))


def csv(path: Path, head: str, *columns: object, sep: str = ",") -> Path:
    """A text file with a first line (left out where it is empty) and columns."""
    lines = [sep.join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([head, *lines] if head else lines) + "\n")
    return path


X, Y = XY.T.tolist()


@pytest.mark.parametrize("head", ["0,1", "x,y", '"x","y"'])
def test_a_first_line_of_names_is_no_point(
    tmp_path: Path, head: str, recwarn: pytest.WarningsRecorder
) -> None:
    assert FromFile(csv(tmp_path / "a.csv", head, X, Y)).points.tolist() == XY.tolist()
    assert not recwarn.list


def test_numbers_taken_for_names_are_told_where_they_may_be_a_point(tmp_path: Path) -> None:
    whole = csv(tmp_path / "a.csv", "0,1", range(30), [3, 1, 2] * 10)
    with pytest.warns(
        RuntimeWarning, match="line 1 reads 0,1 and was taken for column names.*header=False"
    ):
        assert len(FromFile(whole)) == 30
    assert len(FromFile(whole, header=False, columns=(0, 1))) == 31
    assert (
        len(FromFile(csv(tmp_path / "c.csv", "", range(30), range(30)), columns=(0, 1))) == 30
    )  # 0,0 is no header


@pytest.mark.parametrize(
    "text",
    [
        ",0,1\n0,{a},{b}\n1,{c},{d}\n",
        ",x,y\n7,{a},{b}\n3,{c},{d}\n",
        '"","x","y"\n"1",{a},{b}\n"2",{c},{d}\n',
        "x y\n1 {a} {b}\n2 {c} {d}\n",
        ",x,y\nann,{a},{b}\nbob,{c},{d}\n",
    ],
)
def test_the_numbers_of_rows_are_no_coordinate(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text.format(a=0.5, b=-1.5, c=2.5, d=3.5))
    assert FromFile(tmp_path / "a.csv").points.tolist() == [[0.5, -1.5], [2.5, 3.5]]


@pytest.mark.parametrize(
    ("head", "extra", "why"),
    [
        ("id,x,y", list(range(1, 31)), "column 'id' has the name"),
        ("x0,x,y", list(range(30)), "column 'x0' counts"),
        ("a,x,y", (10 * np.arange(30) + 7).tolist(), "column 'a' holds whole numbers that rise"),
        ("kind,x,y", [0, 1, 2] * 10, "like a class"),
        ("Label,x,y", [5, 5, 9] * 10, "column 'Label' has the name"),
        ("", [1, 2] * 15, "column '0' holds 2 different whole numbers"),
    ],
)
def test_a_column_that_looks_like_no_coordinate_is_told(
    tmp_path: Path, head: str, extra: list[int], why: str
) -> None:
    path = csv(tmp_path / "a.csv", head, extra, X, Y)
    with pytest.warns(RuntimeWarning, match=f"{why}.*taken for a coordinate: .*columns="):
        assert FromFile(path).dim == 3
    np.save(tmp_path / "a.npy", np.column_stack([extra, XY]))
    assert (
        FromFile(path, columns=(1, 2)).points.tolist()
        == XY.tolist()
        == FromFile(tmp_path / "a.npy", columns=[1, -1]).points.tolist()
    )


def test_coordinates_are_left_in_peace(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    FromFile(
        csv(
            tmp_path / "lattice.csv", "x,y", [k % 6 for k in range(30)], [k // 6 for k in range(30)]
        )
    )
    FromFile(csv(tmp_path / "flat.csv", "x,y,z", X, Y, [0] * 30))
    FromFile(csv(tmp_path / "one.csv", "label", [1, 2, 3] * 10))
    assert not recwarn.list


def test_columns_by_name_and_number(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", "name,x,y,kind", ["a b", '"c, d"'] * 15, X, Y, ["one"] * 30)
    for columns in (("x", "y"), (1, 2), ("1", 2), ["x", -2]):
        assert FromFile(path, columns=columns).points.tolist() == XY.tolist()
    assert FromFile(path, columns="y").points.tolist() == [[y] for y in Y]
    record = np.array(
        [(1, 0.5, "a"), (2, 1.5, "b")], dtype=[("id", int), ("x", float), ("s", "U1")]
    )
    np.save(tmp_path / "r.npy", record)
    assert FromFile(tmp_path / "r.npy", columns=("x",)).points.tolist() == [[0.5], [1.5]]
    for columns, text in [
        (("x", "z"), "`columns` must be of the names name, x, y, kind, got 'z'"),
        ((4,), "`columns` must be numbers below 4.* got 4"),
        (("x", 1), "each column once"),
        ((), "one name or number"),
        (("x", "kind"), "line 2, column 4: expected a number, got 'one': choose"),
    ]:
        with pytest.raises(ValueError, match=text):
            FromFile(path, columns=columns)
    with pytest.raises(TypeError, match="columns"):
        FromFile(path, columns=1.5)
    with pytest.raises(TypeError, match=r"column 's' must hold numbers.*columns="):
        FromFile(tmp_path / "r.npy")
    path.write_text(path.read_text() + "e,f,1.0,2.0,one\n")
    with pytest.raises(
        ValueError, match="line 32: expected 4 fields as in the lines before, got 5"
    ):
        FromFile(path, columns=("x", "y"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x;y\n1,5;2,5\n", "write decimals with a point"),
        ("x,y\n1,NA\n", "line 2, column 2: expected a number, got 'NA': choose"),
        ("1,2,\n3,4,\n", "line 1, column 3: expected a number, got nothing: .*columns="),
        ("x,y\n1,2\nx,y\n3,4\n", "line 3, column 1"),
        ("1 2\n1,2\n", "expected"),
        ("x,y\n2020-01-01,1\n", "line 2, column 1"),
        ("x,y\n1,2\n1,nan\n", "line 3, column 2: expected a finite number"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused_by_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        FromFile(tmp_path / "a.csv")


def test_odd_but_clear_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        '\ufeff# made 2024\r\n\r\n"x";"y"\r\n"1D+2"; 2 # note\r\n\r\n-.5;+3E-1\r\n'.encode()
    )
    assert FromFile(tmp_path / "a.csv").points.tolist() == [[100.0, 2.0], [-0.5, 0.3]]
    (tmp_path / "b.csv").write_text("1,2,\n3,4,\n")
    assert FromFile(tmp_path / "b.csv", columns=(0, 1)).points.tolist() == [[1, 2], [3, 4]]


def test_more_coordinates_than_points_are_asked_about(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RNG.normal(size=(2, 500)))
    csv(tmp_path / "a.csv", "", *RNG.normal(size=(50, 4)).tolist())
    for name, shape in (("a.npy", (2, 500)), ("a.csv", (4, 50))):
        with pytest.raises(
            ValueError,
            match=(
                rf"got {shape[0]} rows of {shape[1]} columns: transpose it, FromArray\(array.T\),"
                r" or pass wide=True"
            ),
        ):
            FromFile(tmp_path / name)
        assert FromFile(tmp_path / name, wide=True).points.shape == shape
    np.save(tmp_path / "b.npy", RNG.normal(size=(1, 2)))
    assert FromFile(tmp_path / "b.npy").points.shape == (1, 2)


@pytest.mark.slow
def test_a_large_file_takes_about_as_long_as_numpy_takes(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", RNG.normal(size=(400_000, 2)), delimiter=",")
    start = time.perf_counter()
    np.loadtxt(tmp_path / "a.csv", delimiter=",")
    numpy = time.perf_counter() - start
    start = time.perf_counter()
    FromFile(tmp_path / "a.csv")
    assert time.perf_counter() - start < 3 * numpy


def test_columns_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = csv(tmp_path / "a.csv", "name,x,y", ["a"] * 30, X, Y)
    start = csv(tmp_path / "b.csv", "x,y,name", Y, X, ["a"] * 30)
    short = [
        "--flow",
        "mmd",
        "--steps",
        "2",
        "--dt",
        "0.1",
        "--film",
        "none",
        "--out",
        str(tmp_path / "out"),
        "--columns",
        "x,y",
    ]
    assert main(["run", "--target", str(target), "--start", str(start), *short]) == 0
    assert "columns = [" in (tmp_path / "out" / "config.toml").read_text()
    with np.load(tmp_path / "out" / "trajectory.npz") as arrays:
        np.testing.assert_array_equal(arrays["particles"][0], XY[:, ::-1])
        np.testing.assert_array_equal(arrays["target"], XY)
    assert main(["run", "--target", "rings", *short]) == 2
    assert (
        "--columns chooses coordinates in a file of points, and the target is rings"
        in capsys.readouterr().err
    )


# pictures


SHAPE = np.zeros((20, 40), dtype=bool)
SHAPE[2:6, 4:12] = True


def inside(path: Path, *, bright: bool = False) -> float:
    x, y = FromImage(path, bright=bright).sample(2000, seed=0).T
    return float(((x >= -0.8) & (x < -0.4) & (y > 0.2) & (y <= 0.4)).double().mean())


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [
        (0, 1, "f4"),
        (0, 255, "f4"),
        (-3, 8, "f4"),
        (0, 1e-3, "f4"),
        (0, 255, "i4"),
        (-70000, 70000, "i4"),
        (0, 4095, "u2"),
        (200, 900, "u2"),
        (0, 65535, "u2"),
        (0, 4095, ">u2"),
        (0, 255, "u1"),
    ],
)
@pytest.mark.parametrize("bright", [False, True])
def test_dark_is_what_the_files_own_range_calls_dark(
    tmp_path: Path, low: float, high: float, kind: str, bright: bool
) -> None:
    pixels = np.where(bright != SHAPE, low, high).astype(kind)
    if kind == ">u2":
        Image.frombytes("I;16B", (40, 20), pixels.tobytes()).save(tmp_path / "a.tif")
    else:
        Image.fromarray(pixels).save(tmp_path / "a.tif")
    assert inside(tmp_path / "a.tif", bright=bright) == 1.0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_of_eight_bits(tmp_path: Path, mode: str) -> None:
    name = "a.gif" if mode == "P" else "a.tif" if mode == "CMYK" else "a.png"
    Image.fromarray(np.where(SHAPE, 0, 255).astype("u1")).convert(mode).save(tmp_path / name)
    assert inside(tmp_path / name) == 1.0


def test_a_palette_with_transparency_and_a_film(tmp_path: Path) -> None:
    picture = Image.fromarray(np.where(SHAPE, 1, 0).astype("u1"), mode=None).convert("P")
    picture.putpalette([0, 0, 0, 0, 0, 0])
    picture.save(tmp_path / "a.png", transparency=0)
    assert inside(tmp_path / "a.png") == 1.0
    first, second = (
        Image.fromarray(np.where(part, 0, 255).astype("u1")) for part in (SHAPE, ~SHAPE)
    )
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert inside(tmp_path / "a.gif") == 1.0


def test_pictures_that_show_nothing_or_the_background(tmp_path: Path) -> None:
    holes = np.where(SHAPE, 0.0, 1.0).astype("f4")
    holes[0, 0] = np.nan
    Image.fromarray(holes).save(tmp_path / "nan.tif")
    with pytest.raises(
        ValueError, match=r"nan.tif must have finite pixels, got 1 that are not: fill them"
    ):
        FromImage(tmp_path / "nan.tif")
    for kind in ("f4", "u2"):
        Image.fromarray(np.full((20, 40), 7, dtype=kind)).save(tmp_path / "flat.tif")
        with pytest.raises(ValueError, match=r"flat.tif has no contrast, all its pixels are 7"):
            FromImage(tmp_path / "flat.tif")
    Image.fromarray(np.where(SHAPE, 0, 1).astype("u1")).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"mask.png has hardly any contrast.*autocontrast"):
        FromImage(tmp_path / "mask.png")
    Image.fromarray(np.where(SHAPE, 255, 0).astype("u1")).save(tmp_path / "negative.png")
    with pytest.warns(
        RuntimeWarning, match="negative.png is dark at 100% of its edge.*bright=True"
    ):
        assert inside(tmp_path / "negative.png") == 0.0
    assert inside(tmp_path / "negative.png", bright=True) == 1.0


def test_the_cloud_that_is_drawn_is_finite(tmp_path: Path) -> None:
    Image.fromarray(np.where(SHAPE, 0, 4095).astype("u2")).save(tmp_path / "a.png")
    assert torch.isfinite(FromImage(tmp_path / "a.png").sample(10)).all()
