"""The packages of both folders, particleflow/ and benchmarks/, which pyproject.toml cannot find."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["particleflow*"]),
        *(f"particleflow.{name}" for name in find_packages(include=["benchmarks*"])),
    ]
)
