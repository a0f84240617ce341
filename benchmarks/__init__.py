"""Benchmarks of the flows' results and costs: `python -m benchmarks [SUITE] [options]`.

A suite is a module here with a function `main(argv) -> int`, or a folder whose module `suite` has
one. Without a name, `compare` runs. The suites share these modules: `options` reads the command
line, `tasks` says where flows start and end, `goals` says what a number is held against, `timing`
takes times, `environment` starts processes and says where they ran, `report` writes tables.
"""
