"""The report of a study: tables and plots in the form of the thesis's, additional ones, and the raw numbers.

`write` is the entry point; it takes the results from `trainer.evaluation.results`. `tables`, `thresholds`, `plots`,
`curves`, `classes`, `breakdown` and `provenance` build the blocks; `sections` arranges them; `document` renders the
page as HTML and Markdown; `csv_export` writes the numbers as CSV; `comparison` renders the comparison of two studies.
"""

from trainer.report.write import write

__all__ = ["write"]
