"""Benchmarks of the flows' results and costs: `python -m benchmarks [SUITE] [options]`.

A suite is a module here with a function `main(argv) -> int`, or a folder whose module `suite` has
one. Without a name, `compare` runs. It compares `contenders` on `tasks`, whose own samplers are in
`distributions`; `supplied` reads those of a user's file. The suites share these modules: `options`
reads the command line, `goals` says what a number is held against, `timing` takes times,
`environment` starts processes, `report` writes tables.

The folder is installed as `particleflow.benchmarks`, where `particleflow benchmark` runs it. Its
modules therefore import each other relatively.
"""
