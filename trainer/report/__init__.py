"""The report of a study: tables and figures in the thesis's shape, and what it lacks; HTML, Markdown and raw numbers.

`trainer.results` holds what was found; `write` is the door. Within: `scored` measures the candidates; `tables`,
`thresholds`, `figures`, `curves`, `classes`, `breakdown` and `provenance` say what there is to see; `sections` puts it
in order; `document` makes a page of it; `raw` writes the numbers as CSV; `comparison` shows two studies side by side.
"""

from trainer.report.write import write

__all__ = ["write"]
