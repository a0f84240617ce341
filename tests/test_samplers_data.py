"""Samples of a user's own: arrays, files, pictures, data sets, minibatches."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from particleflow.clouds import Clock, Draws
from particleflow.samplers import (
    Digits,
    FromArray,
    FromFile,
    FromImage,
    Gaussian,
    Iris,
    Minibatch,
    Moons,
    Sampler,
    Wine,
)

TABLE = [[0.5, -1.0], [2.0, 3e-2], [4.0, 5.25]]


def counts(sample: Tensor) -> list[int]:
    return sorted(torch.unique(sample, dim=0, return_counts=True)[1].tolist())


# arrays


def test_rows_are_drawn_without_replacement_and_then_evenly() -> None:
    rows = torch.arange(14, dtype=torch.float64).reshape(7, 2)
    law = FromArray(rows)
    assert (len(law), law.dim) == (7, 2)
    assert counts(law.sample(5, seed=1)) == [1] * 5
    assert torch.equal(law.sample(7, seed=1).sort(0).values, rows)
    assert not torch.equal(law.sample(7, seed=1), rows)  # in random order
    assert counts(law.sample(7 * 3 + 2, seed=1)) == [3] * 5 + [4] * 2


def test_every_row_has_the_same_chance() -> None:
    law = FromArray(np.arange(5.0)[:, None])
    drawn = torch.cat([law.sample(2, seed=seed) for seed in range(250)])[:, 0].long().bincount()
    assert ((drawn - 100).abs() < 5 * (250 * 0.4 * 0.6) ** 0.5).all()  # five standard deviations


@pytest.mark.parametrize(
    "value",
    [TABLE, np.array(TABLE), torch.tensor(TABLE, dtype=torch.float64)],
    ids=["list", "numpy", "tensor"],
)
def test_an_array_is_copied(value: list[list[float]] | np.ndarray | Tensor) -> None:
    law = FromArray(value)
    if not isinstance(value, list):
        value[:] = 0
    law.sample(3)[:] = 0
    assert law.points.tolist() == TABLE
    assert repr(law) == "FromArray(3 points of 2 coordinates)"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (
            np.array([[0.0, 1.0], [np.nan, 1.0]]),
            r"`points` must be finite, got \[nan, 1.0\] in row 1",
        ),
        (np.zeros((0, 2)), "`points` must hold at least one point"),
        (np.zeros(4), r"`points` must be \(n, d\), one row a point, got shape \(4,\)"),
        (np.zeros((2, 2, 2)), r"`points` must be \(n, d\)"),
    ],
)
def test_what_arrays_are_refused(rows: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FromArray(rows)


# files


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.csv", "0.5,-1.0\n2.0,3e-2\n4.0,5.25\n"),
        ("names.csv", "x,y\n0.5,-1.0\n2.0,3e-2\n4.0,5.25"),
        ("quoted.csv", '"x one","y"\n"0.5","-1.0"\n"2.0","3e-2"\n"4.0","5.25"\n'),
        ("semicolon.csv", "x; y\n0.5; -1.0\n2.0; 3e-2\n4.0; 5.25\n"),
        ("tab.tsv", "0.5\t-1.0\n2.0\t3e-2\n4.0\t5.25\n"),
        ("blanks.TXT", "  0.5   -1.0\n2.0 3e-2\n\n4.0 5.25   \n\n"),
        ("comment.csv", "# made by numpy.savetxt\nx y\n0.5 -1.0\n2.0 3e-2  # a note\n4.0 5.25\n"),
        (
            "marked.csv",
            "\ufeff0.5,-1.0\n2.0,3e-2\n4.0,5.25\n",
        ),  # a byte-order mark is no part of a number
        ("windows.csv", "\ufeffx,y\r\n0.5,-1.0\r\n2.0,3e-2\r\n4.0,5.25\r\n"),
    ],
)
def test_text_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    law = FromFile(tmp_path / name)
    assert law.points.tolist() == TABLE
    assert law.sample(2, seed=0).shape == (2, 2)


def test_one_column_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("height\n1\n2.5\n")
    assert FromFile(str(tmp_path / "one.csv")).points.tolist() == [[1.0], [2.5]]


def test_numpy_files(tmp_path: Path) -> None:
    table = np.array(TABLE)
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "one.npz", Y=table.astype(np.float32))
    np.savez(tmp_path / "two.npz", X=table + 1, Y=table)
    assert FromFile(tmp_path / "a.npy").points.tolist() == TABLE
    one = FromFile(tmp_path / "one.npz")
    assert one.points.dtype == torch.float64
    np.testing.assert_allclose(one.points.numpy(), table, rtol=1e-7)
    assert FromFile(tmp_path / "two.npz", key="Y").points.tolist() == TABLE


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "gone.csv"
    path.write_text("1,2\n3,4\n")
    law = FromFile(path)
    path.unlink()
    assert counts(law.sample(4)) == [2, 2]
    assert law == law
    assert str(path) in repr(law)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "word.csv",
            "x,y\n1,2\n3,four\n",
            (
                r"word.csv: line 3, column 2: expected a number, got 'four': choose columns of"
                r" numbers, columns="
            ),
        ),
        ("first.csv", "1,two\n3,4\n", r"first.csv: line 1, column 2: expected a number, got 'two'"),
        (
            "names.csv",
            "x,y\nleft,right\n1,2\n",
            (
                r"line 2, column 1: expected a number, got 'left': choose .* only the first line"
                r" may hold names"
            ),
        ),
        (
            "gap.csv",
            "x,y\n1,2\n\n3,\n",
            (
                r"line 4, column 2: expected a number, got nothing: fill the gap, leave out the"
                r" line, or choose"
            ),
        ),
        (
            "nan.csv",
            "1,2\nnan,2\n",
            r"line 2, column 1: expected a finite number, got 'nan': leave out the line",
        ),
        ("inf.csv", "1 -inf\n", r"line 1, column 2: expected a finite number, got '-inf'"),
        (
            "ragged.csv",
            "1,2\n3,4\n5,6,7\n",
            r"line 3: expected 2 fields as in the lines before, got 3: '5,6,7'",
        ),
        (
            "comma.csv",
            "x;y\n1,5;2\n",
            (
                r"line 2, column 1: expected a number, got '1,5': write decimals with a point, not"
                r" a comma"
            ),
        ),
        ("long.csv", "1," + "z" * 500 + "\n", r"got '" + "z" * 57 + r"\.\.\.'"),
        ("empty.csv", "", "empty.csv: expected at least one line of numbers, got none"),
        ("header.csv", "x,y\n", "expected at least one line of numbers, got none"),
        (
            "binary.csv",
            b"\xff\xfe1\x00,\x002\x00",
            "binary.csv: expected UTF-8 text, got .*: export it again as a .csv file",
        ),
        (
            "points.xlsx",
            "",
            r"`path` must end in .npy, .npz, .csv, .tsv or .txt, got .*points.xlsx",
        ),
        (
            "empty.npy",
            b"",
            "empty.npy: expected plain numbers as numpy.save and numpy.savez write them",
        ),
        ("noise.npy", b"no numpy file at all", "noise.npy: expected plain numbers as numpy.save"),
        ("cut.npz", b"PK\x03\x04 cut off", "cut.npz: expected plain numbers as numpy.save"),
    ],
)
def test_what_files_are_refused(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        FromFile(tmp_path / name)


def saved(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, arrays["a"])
    else:
        np.savez(path, **arrays)
    return path


def test_what_numpy_files_are_refused(tmp_path: Path) -> None:
    rows = np.array(TABLE)
    two = saved(tmp_path / "two.npz", X=rows, weights=rows)
    with pytest.raises(
        ValueError,
        match=r"two.npz: `key` must say which array holds the points, one of \['X', 'weights'\]",
    ):
        FromFile(two)
    with pytest.raises(
        ValueError,
        match=r"`key` must be one of \['X', 'weights'\], got 'weight'; did you mean 'weights'\?",
    ):
        FromFile(two, key="weight")
    with pytest.raises(
        ValueError,
        match=r"`key` chooses an array of an .npz file, got `path` = .*a.npy: leave it out",
    ):
        FromFile(saved(tmp_path / "a.npy", a=rows), key="X")
    with pytest.raises(
        ValueError, match=r"flat.npy: `points` must be \(n, d\), one row a point, got shape \(3,\)"
    ):
        FromFile(saved(tmp_path / "flat.npy", a=np.ones(3)))
    with pytest.raises(
        ValueError, match=r"hole.npy: `points` must be finite, got \[nan, 0.03\] in row 1"
    ):
        FromFile(saved(tmp_path / "hole.npy", a=np.where(rows == 2, np.nan, rows)))
    with pytest.raises(
        TypeError, match=r"words.npy: `points` must be an \(n, d\) array of real numbers"
    ):
        FromFile(saved(tmp_path / "words.npy", a=np.array([["a", "b"]])))
    objects = saved(tmp_path / "objects.npz", a=np.array([[1, "b"]], dtype=object))
    with pytest.raises(ValueError, match=r"objects.npz: expected plain numbers as numpy.save"):
        FromFile(objects)


@pytest.mark.parametrize(
    ("make", "end", "other"), [(FromFile, "csv", "png"), (FromImage, "png", "csv")]
)
def test_a_missing_file_names_its_neighbour(
    tmp_path: Path, make: Callable[[Path], Sampler], end: str, other: str
) -> None:
    """One that can be read: no folder, no other kind of file, nothing that is alike by its ending
    alone.
    """
    for name in (f"points.{end}", f"constraints.{end}"):
        (tmp_path / name).write_text("1,2\n")
    for name in (f"rings.{end}", "docs", "pt"):
        (tmp_path / name).mkdir()
    (tmp_path / f"moons.{other}").write_text("1,2\n")
    for missing in (f"point.{end}", f"pts.{end}"):
        with pytest.raises(
            FileNotFoundError,
            match=(
                rf"`path` must be a file that exists, got .*{missing}; did you mean"
                rf" 'points.{end}'\?"
            ),
        ):
            make(tmp_path / missing)
    for missing in (f"ring.{end}", f"moon.{other}", f"my.{end}", "doc", "pts"):
        with pytest.raises(
            FileNotFoundError,
            match=rf"`path` must be a file that exists, got .*{missing}: pass the path of a",
        ):
            make(tmp_path / missing)
    with pytest.raises(
        FileNotFoundError, match=r"`path` must be a file that exists, got .*/q: pass the path of a"
    ):
        make(tmp_path / "none" / "q")
    with pytest.raises(ValueError, match="`path` must be a file, got the folder"):
        make(tmp_path)


# pictures


def drawn(path: Path, mode: str = "L", *, ground: object = 255, ink: object = 0) -> Path:
    """A picture of 40 x 20 pixels with a filled block in columns 4..11 of rows 2..5."""
    picture = Image.new(mode, (40, 20), ground)
    ImageDraw.Draw(picture).rectangle((4, 2, 11, 5), fill=ink)
    picture.save(path)
    return path


def in_block(z: Tensor) -> Tensor:
    """The block in coordinates: the longer side of 40 pixels is 2 long, y points up, the centre is
    the origin.
    """
    x, y = z.T
    return (x >= (4 - 20) / 20) & (x < (12 - 20) / 20) & (y > (10 - 6) / 20) & (y <= (10 - 2) / 20)


@pytest.mark.parametrize(
    ("name", "mode", "ground", "ink"),
    [
        ("grey.png", "L", 255, 0),
        ("bits.png", "1", 1, 0),
        ("colour.png", "RGB", (255, 255, 255), (90, 0, 0)),
        ("alpha.png", "RGBA", (0, 0, 0, 0), (0, 0, 80, 255)),  # black but transparent: background
        ("faint.png", "LA", (0, 0), (0, 128)),  # half transparent ink is grey
        ("deep.png", "I;16", 65535, 300),  # clipping at 255 would make this white
    ],
)
def test_points_lie_on_the_dark_pixels(
    tmp_path: Path, name: str, mode: str, ground: object, ink: object
) -> None:
    x = FromImage(drawn(tmp_path / name, mode, ground=ground, ink=ink)).sample(2000, seed=0)
    assert x.shape == (2000, 2)
    assert in_block(x).all()
    assert len(torch.unique(x, dim=0)) == 2000  # continuous within the pixels
    middle, size = (
        torch.tensor([-0.6, 0.3], dtype=torch.float64),
        torch.tensor([0.4, 0.2], dtype=torch.float64),
    )
    assert (
        (x.mean(0) - middle).abs() < 5 * size / (12 * 2000) ** 0.5
    ).all()  # uniform on the block: five standard errors
    fourth = ((x - middle) ** 2).std(0) / 2000**0.5
    assert (((x - middle) ** 2).mean(0) - size**2 / 12).abs().lt(5 * fourth).all()


def test_a_jpeg(tmp_path: Path) -> None:
    picture = Image.open(drawn(tmp_path / "small.png")).resize((640, 320), Image.Resampling.NEAREST)
    picture.save(tmp_path / "big.jpg", quality=90)
    inside = in_block(FromImage(tmp_path / "big.jpg").sample(2000, seed=0))
    assert (
        inside.double().mean() > 0.98
    )  # compression blurs the edge, and the threshold drops its ripples


def test_bright_pixels_and_extent(tmp_path: Path) -> None:
    negative = drawn(tmp_path / "negative.png", ground=0, ink=255)
    dark = FromImage(drawn(tmp_path / "a.png"), extent=2.0).sample(50, seed=2)
    bright = FromImage(negative, bright=True, extent=6.0).sample(50, seed=2)
    torch.testing.assert_close(bright, 3 * dark)
    logo = drawn(tmp_path / "logo.png", "RGBA", ground=(255, 255, 255, 0), ink=(255, 255, 0, 255))
    assert in_block(FromImage(logo, bright=True).sample(500)).all()  # nothing transparent is bright


def test_darker_pixels_get_more_points(tmp_path: Path) -> None:
    Image.fromarray(np.array([[255 - 200, 255 - 50, 255 - 20, 255]], dtype=np.uint8)).save(
        tmp_path / "steps.png"
    )
    column = torch.div(
        FromImage(tmp_path / "steps.png", threshold=0.1).sample(5000, seed=0)[:, 0] + 1,
        0.5,
        rounding_mode="floor",
    )
    share = column.long().bincount(minlength=4) / 5000
    assert share[2] == share[3] == 0  # 20 / 255 < .1
    assert abs(share[0] - 0.8) < 5 * (0.8 * 0.2 / 5000) ** 0.5
    kept = FromImage(tmp_path / "steps.png", threshold=0.05).sample(500, seed=0)
    assert (kept[:, 0] > 0).any()


def test_the_orientation_that_a_camera_wrote_is_followed(tmp_path: Path) -> None:
    upright = Image.open(drawn(tmp_path / "upright.png"))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees clockwise to look at"
    turned.save(tmp_path / "camera.png", exif=exif)
    assert torch.equal(
        FromImage(tmp_path / "camera.png").sample(20),
        FromImage(tmp_path / "upright.png").sample(20),
    )


def test_what_pictures_are_refused(tmp_path: Path) -> None:
    white = drawn(tmp_path / "white.png", ink=250)
    with pytest.raises(
        ValueError,
        match=r"white.png has no dark pixel: `threshold` is 0.1 .* has 0.02: .* with bright=True",
    ):
        FromImage(white)
    black = drawn(tmp_path / "black.png", ground=0, ink=10)
    with pytest.raises(
        ValueError,
        match=(
            r"black.png has no bright pixel: .* dark pixels with bright=False, or lower `threshold`"
        ),
    ):
        FromImage(black, bright=True)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(
        ValueError, match=r"text.png cannot be read as a picture: .* pass a PNG or JPEG file"
    ):
        FromImage(tmp_path / "text.png")
    data = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(data, "PNG")
    (tmp_path / "cut.png").write_bytes(data.getvalue()[:200])
    with pytest.raises(ValueError, match=r"cut.png cannot be read as a picture"):
        FromImage(tmp_path / "cut.png")
    with pytest.raises(ValueError, match=r"`threshold` must be in \[0, 1\), got 1"):
        FromImage(white, threshold=1.0)
    with pytest.raises(ValueError, match="`extent` must be > 0, got 0"):
        FromImage(white, extent=0.0)


# data sets


@pytest.mark.parametrize(
    ("law", "shape"),
    [
        (Digits(), (1797, 64)),
        (Digits(pca=2), (1797, 2)),
        (Digits(standardise=True), (1797, 64)),
        (Iris(), (150, 4)),
        (Iris(pca=3), (150, 3)),
        (Wine(), (178, 13)),
        (Wine(pca=2, standardise=False), (178, 2)),
    ],
    ids=repr,
)
def test_data_sets(law: Digits | Iris | Wine, shape: tuple[int, int]) -> None:
    assert isinstance(law, Sampler)
    assert (len(law), law.dim) == tuple(law.points.shape) == shape
    assert law.sample(10, seed=3).shape == (10, shape[1])
    assert torch.equal(law.sample(10, seed=3), law.sample(10, seed=3))
    if law.pca:
        spread = law.points.var(0)
        assert (law.points.mean(0).abs() < 1e-12).all()
        assert (spread[:-1] >= spread[1:]).all()
        correlation = torch.corrcoef(law.points.T) - torch.eye(law.pca, dtype=torch.float64)
        assert correlation.abs().max() < 1e-10


def test_pca_is_that_of_scikit_learn_up_to_signs() -> None:
    from sklearn.decomposition import PCA

    theirs = PCA(3, svd_solver="full").fit_transform(Wine().points.numpy())
    ours = Wine(pca=3).points.numpy()
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-10)


def test_pca_has_signs_of_its_own() -> None:
    """Each axis has a positive largest entry, so the digits must correlate positively with the
    pixel that matters most.
    """
    whole, plane = Digits().points, Digits(pca=2).points
    axes = (whole - whole.mean(0)).T @ plane  # covariance times axis: the axis itself, stretched
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_units() -> None:
    assert Digits().points.min() == 0
    assert Digits().points.max() == 1
    torch.testing.assert_close(
        Wine().points.std(0, correction=0), torch.ones(13, dtype=torch.float64)
    )
    assert Wine(standardise=False).points.std(0).max() > 300
    constant = Digits().points.std(0) == 0
    assert constant.any()
    assert not Digits(standardise=True).points[:, constant].any()


@pytest.mark.parametrize("pca", [0, 5])
def test_pca_is_refused_beyond_the_columns(pca: int) -> None:
    text = (
        "`pca` must be >= 1, got 0"
        if pca == 0
        else "`pca` must be at most 4, the number of columns of Iris, got 5"
    )
    with pytest.raises(ValueError, match=text):
        Iris(pca=pca)


# minibatches


def test_a_minibatch_is_a_function_of_the_seed_and_the_step() -> None:
    target = Minibatch(Moons(noise=0.1), 30)
    first = target.at(Clock(t=0.5, step=7, draws=Draws(1)))
    assert first.points.shape == (30, target.dim)
    assert first.log_mass is None
    assert torch.equal(first.points, target.at(Clock(t=0.9, step=7, draws=Draws(1))).points)
    assert not torch.equal(first.points, target.at(Clock(step=8, draws=Draws(1))).points)
    assert not torch.equal(first.points, target.at(Clock(step=7, draws=Draws(2))).points)


def test_a_minibatch_follows_the_particles() -> None:
    target = Minibatch(Gaussian(dim=3), 4, dtype=torch.float32, device="cpu")
    assert target.at(Clock()).points.dtype == torch.float32
    assert Minibatch(Gaussian(dim=3), 4).at(Clock()).points.dtype == torch.float64


def test_what_minibatches_refuse() -> None:
    with pytest.raises(ValueError, match="`size` must be >= 1, got 0"):
        Minibatch(Moons(), 0)
    with pytest.raises(
        TypeError, match=r"`dtype` must be torch.float32 or torch.float64, got torch.float16"
    ):
        Minibatch(Moons(), 3, dtype=torch.float16)
