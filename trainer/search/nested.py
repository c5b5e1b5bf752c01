"""The evaluation of a nested search, on images that no search has seen."""

from __future__ import annotations

from trainer.choices import ThresholdRule
from trainer.evaluation.comparison import AnyPredictions, paired_bootstrap
from trainer.evaluation.out_of_fold import OutOfFoldPredictions
from trainer.search.results import NestedEvaluation


def evaluate_nested(
    base: OutOfFoldPredictions, searched: OutOfFoldPredictions, rule: ThresholdRule
) -> NestedEvaluation:
    """Measure the searched options and the base options on the same images, by a paired bootstrap over patients.

    Args:
        base: The predictions of the base options.
        searched: The predictions of the options chosen in each split. The logits of each split are divided by the
            temperature of its own search: heads of different C have logits of different scale, and a ranking across
            splits needs one scale.
        rule: The rule that chooses the thresholds.
    """
    estimates = paired_bootstrap(_with_verdicts(base, rule), _with_verdicts(searched, rule))
    return NestedEvaluation(
        searched={name: paired.b for name, paired in estimates.items()},
        base={name: paired.a for name, paired in estimates.items()},
        difference={name: paired.difference for name, paired in estimates.items()},
        predictions=int(searched.labels.size),
        patients=len(set(searched.patients)),
    )


def _with_verdicts(out_of_fold: OutOfFoldPredictions, rule: ThresholdRule) -> AnyPredictions:
    if out_of_fold.scores.logits.shape[1] == 2:  # noqa: PLR2004 (two classes have a threshold)
        return out_of_fold.predictions(rule)
    return out_of_fold.class_predictions()
