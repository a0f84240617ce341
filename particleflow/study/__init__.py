"""Comparisons of flows: tasks, contenders, tuning, many seeds in parallel, tables and a report.

In reading order: `task` (a start, a target), `contender` (a flow built for a problem, and the
ranges of its hyper-parameters), `cell` (one measured run), `tuning` (which settings are tried, and
the choice), `costs` (what runs take), `comparison` (`Study`: what is run), `work` and `store`
(processes, and rows on the disk), `rows` (numbers that are read off them), `readings` (off one
curve), `statistics` (medians and bootstrap intervals), `result` (`Result`: tables, curves,
players), `drawing` (its figures), `report` (its page).

Everything that may differ between runs is shown: the same steps, the same seconds and the same
number of fits; the default and the tuned settings; the sample seen and one never seen.
"""

from particleflow import _words
from particleflow.study.comparison import Study
from particleflow.study.contender import Choice, Contender, Range, Setup
from particleflow.study.result import Result
from particleflow.study.statistics import Interval
from particleflow.study.task import Problem, Task

__all__ = [
    "Choice",
    "Contender",
    "Interval",
    "Problem",
    "Range",
    "Result",
    "Setup",
    "Study",
    "Task",
]

__getattr__, __dir__ = _words.suggesting(__name__)
