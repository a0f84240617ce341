"""Samplers of points: known distributions, shapes, arrays, files, pictures and data sets.

Every sampler has `dim` and `sample(n, seed=)`, which returns a fresh (n, d) tensor. A sampler whose
density is known also has `log_density` and `score`.
"""

from particleflow._words import suggesting
from particleflow.samplers.base import Density, Sampler
from particleflow.samplers.data import Digits, FromArray, Iris, Minibatch, Wine
from particleflow.samplers.files import FromFile
from particleflow.samplers.gaussian import Gaussian, Mixture
from particleflow.samplers.images import FromImage
from particleflow.samplers.shapes import Checkerboard, Moons, Rings, Spiral, SwissRoll
from particleflow.samplers.sphere import Sphere

__all__ = [
    "Checkerboard",
    "Density",
    "Digits",
    "FromArray",
    "FromFile",
    "FromImage",
    "Gaussian",
    "Iris",
    "Minibatch",
    "Mixture",
    "Moons",
    "Rings",
    "Sampler",
    "Sphere",
    "Spiral",
    "SwissRoll",
    "Wine",
]

__getattr__, __dir__ = suggesting(__name__)
