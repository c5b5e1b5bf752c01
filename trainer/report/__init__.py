"""The report of a study: tables and figures in the thesis's shape, and what it lacks; HTML, Markdown and raw numbers.

`trainer.evaluation.results` holds the results; `write` is the entry point. `scored` measures the candidates; `tables`,
`thresholds`, `plots`, `curves`, `classes`, `breakdown` and `provenance` make the parts; `sections` puts them in order;
`document` renders the page; `csv_export` writes the numbers as CSV; `comparison` shows two studies side by side.
"""

from trainer.report.write import write

__all__ = ["write"]
