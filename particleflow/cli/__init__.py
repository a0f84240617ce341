"""The command line: particleflow run, compare, live, benchmark, list.

The words that a user types become settings. Settings become a task: flows, clouds and metrics,
with all that was left open chosen from the data. A name is a record, which says what it stands for
and where that lives. Nothing slow is imported before it is needed. In reading order:

- `records`, `names`, `parts`: the names that options take, a record for each; `synonyms` of them.
- `option`, `options`, `defaults`, `values`: the options, their defaults and the check of values.
- `toml`, `paths`, `idle`, `sweeps`: settings in a file, options that would do nothing, and sweeps.
- `files`, `starts`, `maker`, `moves`, `flows`, `task`: from settings to points, flows and all that
  a run needs.
- `folder`, `report`, `outputs`, `table`, `threads`: the files and the report that a run leaves.
- `draws`, `contenders`, `studies`, `standings`: `compare` with many seeds, tuning or sweeps.
- `live`: from settings to the scenes of the page that steers a running flow.
- `parser`, `command`: help, and from arguments to an exit code.
"""

from particleflow.cli.command import main

__all__ = ["main"]
