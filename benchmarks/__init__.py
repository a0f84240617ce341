"""What the flows do and what they cost, measured: `python -m benchmarks [SUITE] [options]`. Not
part of the wheel.

A suite is a module here with a function `main(argv) -> int`, called by its module's name; without a
name, `compare` runs. `tasks` and `methods` say what is measured, `measure` how, `environment`
where, and `report` writes it down.
"""
