"""HTML tables of a model version's metrics and training data, for the admin."""

from __future__ import annotations

import json
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from patchvote.registry.models import ModelVersion

_MEASURES = {
    "balanced_accuracy": gettext_lazy("balanced accuracy"),
    "sensitivity": gettext_lazy("sensitivity"),
    "specificity": gettext_lazy("specificity"),
    "accuracy": gettext_lazy("accuracy"),
    "auc": "AUC",
    "share_auc": gettext_lazy("AUC of the malignant share"),
    "patient_score": gettext_lazy("patient score"),
    "ece": gettext_lazy("calibration error"),
    "brier": gettext_lazy("Brier score"),
}
_FACTS = {
    "protocol": gettext_lazy("protocol"),
    "description": gettext_lazy("measured by"),
    "predictions": gettext_lazy("images"),
    "patients": gettext_lazy("patients"),
}
_NONE = "-"


def metric(version: ModelVersion, name: str) -> str:
    """Return a metric as text with three decimals."""
    value = version.metadata.get("metrics", {}).get(name)
    if isinstance(value, dict):
        value = value.get("value")
    return _number(value)


def metrics(version: ModelVersion) -> SafeString:
    """Return a table of the metrics with their intervals, and how they were measured."""
    measured = version.metadata.get("metrics", {})
    facts = format_html_join(
        "", "<tr><th scope=row>{}</th><td colspan=2>{}</td></tr>",
        ((label, measured[name]) for name, label in _FACTS.items() if name in measured),
    )  # fmt: skip
    given = [(name, label) for name, label in _MEASURES.items() if name in measured]
    rows = format_html_join(
        "",
        "<tr><th scope=row>{}</th><td>{}</td><td>{}</td></tr>",
        ((label, metric(version, name), _interval(measured[name])) for name, label in given),
    )
    if not rows:
        return format_html("{}", _("There are no metrics."))
    head = (_("measure"), _("value"), _("95 % interval"))
    return format_html(
        "<table><thead><tr><th>{}</th><th>{}</th><th>{}</th></tr></thead>{}{}</table>", *head, rows, facts
    )


def confusion(version: ModelVersion) -> SafeString:
    """Return the confusion matrix as a table."""
    counts = version.metadata.get("metrics", {}).get("confusion")
    if not isinstance(counts, dict) or not {"tn", "fp", "fn", "tp"} <= counts.keys():
        return format_html("{}", _NONE)
    return format_html(
        "<table><thead><tr><td></td><th>{}</th><th>{}</th></tr></thead>"
        "<tr><th scope=row>{}</th><td>{}</td><td>{}</td></tr>"
        "<tr><th scope=row>{}</th><td>{}</td><td>{}</td></tr></table>",
        _("called benign"), _("called malignant"), _("is benign"), counts["tn"], counts["fp"], _("is malignant"),
        counts["fn"], counts["tp"],
    )  # fmt: skip


def training_data(version: ModelVersion) -> SafeString:
    """Return a table of facts about the training data."""
    data, seen = version.metadata.get("data", {}), version.metadata.get("seen")
    named = {
        _("images"): data.get("images"),
        _("patients"): data.get("patients"),
        _("benign"): data.get("benign"),
        _("malignant"): data.get("malignant"),
        _("fingerprint"): data.get("fingerprint"),
        _("citation"): data.get("citation"),
        _("seen in total"): (
            _("%(images)d images of %(patients)d patients") % seen if seen else _("not known")
        ),
    }  # fmt: skip
    rows = format_html_join(
        "", "<tr><th scope=row>{}</th><td>{}</td></tr>", ((k, v) for k, v in named.items() if v is not None)
    )
    return format_html("<table>{}</table>", rows)


def metadata(version: ModelVersion) -> SafeString:
    """Return the complete metadata in a collapsed element."""
    text = json.dumps(version.metadata, indent=2, ensure_ascii=False)
    return format_html("<details><summary>{}</summary><pre>{}</pre></details>", _("metadata of the bundle"), text)


def _interval(measure: Any) -> str:
    if not isinstance(measure, dict) or measure.get("low") is None or measure.get("high") is None:
        return _NONE
    return f"{_number(measure['low'])} … {_number(measure['high'])}"


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else _NONE
