"""The report of a study: one HTML page, offline and without a script.

`page` puts it together, `truth` lays out the statements and their strips, `heat` the tables of
coloured cells, `template.html` and `report.css` are the page.
"""

from particleflow.study.report.page import write

__all__ = ["write"]
