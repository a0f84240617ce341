"""Draw the figures of the page on pictures, which are what its own code draws.

Run it from the root: python -m docs.pictures_figure.
"""

import os
import re
import shutil
import tempfile
import textwrap
from pathlib import Path

import matplotlib
import torch

matplotlib.use("agg")
torch.manual_seed(0)
HERE = Path(__file__).parent.resolve()
page = (HERE / "pictures.rst").read_text(encoding="utf-8")
blocks = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", page)
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    exec("".join(map(textwrap.dedent, blocks)))
    for file in sorted(Path().glob("*.png")):
        shutil.copy(file, HERE / "_static")
        print(file, file.stat().st_size)
