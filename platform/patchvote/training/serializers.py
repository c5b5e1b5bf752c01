"""Serializers of data sets, training runs and comparisons for the REST API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from classifier.bundle import MODEL_NAME
from patchvote.jobs.supervised import SupervisedJob
from patchvote.registry.api import VersionSerializer
from patchvote.training import comparisons, data_sets
from patchvote.training.forms import MODEL_NAME_RULE
from patchvote.training.models import Comparison, DataSet, RunEpoch, RunFold, Source, TrainingRun
from patchvote.training.options import OptionsRefusedError, checked_options
from trainer.options import FitOptions


class FailureSerializer(serializers.Serializer[Any]):
    """The reason why a job failed, with all problems that were found."""

    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.ListField(child=serializers.CharField())


class JobSerializer(serializers.ModelSerializer[Any]):
    """The base serializer of the jobs of the training worker."""

    created_by = serializers.CharField(source="created_by.username", default=None, allow_null=True)
    error = serializers.SerializerMethodField()

    job_fields = (
        "id", "url", "state", "stage", "progress", "seconds_left", "attempts", "queued_at", "started_at", "finished_at",
        "created_by", "error",
    )  # fmt: skip

    @extend_schema_field(FailureSerializer(allow_null=True))
    def get_error(self, job: SupervisedJob) -> dict[str, Any] | None:
        """Return the error; null unless the job failed."""
        if not job.error_code:
            return None
        return {"code": job.error_code, "message": job.error, "details": job.error_details}


class DataSetSerializer(JobSerializer):
    """A data set and the result of its check."""

    url = serializers.HyperlinkedIdentityField(view_name="api:data-set-detail")
    images = serializers.IntegerField(source="image_count")
    patients = serializers.IntegerField(source="patient_count")

    class Meta:
        model = DataSet
        fields = [
            *JobSerializer.job_fields, "name", "version", "description", "source", "origin", "images", "patients",
            "synthetic", "fingerprint", "notes", "created_at",
        ]  # fmt: skip


class DataSetRequestSerializer(serializers.Serializer[Any]):
    """A new data set from `archive` (a zip), `folder` (on the server), or the images of reviewed cases."""

    name = serializers.CharField()
    description = serializers.CharField(required=False, allow_blank=True)
    source = serializers.ChoiceField(choices=Source.choices)  # type: ignore[assignment]  # a field of this name
    archive = serializers.FileField(required=False)
    folder = serializers.CharField(required=False, allow_blank=True)
    magnification = serializers.CharField(required=False, allow_blank=True, allow_null=True)
    since = serializers.DateField(required=False, allow_null=True)
    until = serializers.DateField(required=False, allow_null=True)
    only_corrected = serializers.BooleanField(required=False)


class EpochSerializer(serializers.ModelSerializer[RunEpoch]):
    """The metrics of one epoch. Folds count from 0; the number after the last fold is the fit on all images."""

    class Meta:
        model = RunEpoch
        fields = [
            "fold", "number", "training_accuracy", "training_loss", "validation_accuracy", "validation_loss",
        ]  # fmt: skip


class FoldSerializer(serializers.ModelSerializer[RunFold]):
    """The metrics of one fold."""

    class Meta:
        model = RunFold
        fields = [
            "number", "name", "training_accuracy", "training_loss", "validation_accuracy", "validation_loss",
            "test_accuracy", "test_loss", "best_epoch", "seconds",
        ]  # fmt: skip


class RunSerializer(JobSerializer):
    """A training run."""

    url = serializers.HyperlinkedIdentityField(view_name="api:training-run-detail")
    data_set: Any = serializers.PrimaryKeyRelatedField(read_only=True)
    model = VersionSerializer(source="model_version", allow_null=True)
    options = serializers.DictField()
    metrics = serializers.DictField()

    class Meta:
        model = TrainingRun
        fields = [
            *JobSerializer.job_fields, "name", "note", "data_set", "options", "estimated_seconds", "fold_count",
            "metrics", "notes", "seconds", "model",
        ]  # fmt: skip


class WatchedRunSerializer(RunSerializer):
    """A training run with its learning curves."""

    folds = FoldSerializer(many=True)
    epochs = EpochSerializer(many=True)

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "folds", "epochs"]


class RunRequestSerializer(serializers.Serializer[Any]):
    """A new run. `options` are fields of `trainer.options.FitOptions`; missing fields have their defaults."""

    data_set = serializers.PrimaryKeyRelatedField(queryset=DataSet.objects.all())
    name = serializers.RegexField(f"^{MODEL_NAME}$", error_messages={"invalid": MODEL_NAME_RULE})
    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)
    options = serializers.DictField(required=False, default=dict)

    def validate_options(self, given: dict[str, Any]) -> FitOptions:
        """Check the options by the rules of the admin's form."""
        try:
            return checked_options(given)
        except OptionsRefusedError as refusal:
            sentences = [
                f"{name}: {sentence}" if name else sentence
                for name, problems in refusal.problems.items()
                for sentence in problems
            ]
            raise serializers.ValidationError(sentences, code="invalid_options") from refusal


class ComparisonSerializer(JobSerializer):
    """A comparison; once it has succeeded, `result` has the metrics with their intervals."""

    url = serializers.HyperlinkedIdentityField(view_name="api:comparison-detail")
    candidate = VersionSerializer()
    champion = VersionSerializer()
    data_sets: Any = serializers.PrimaryKeyRelatedField(many=True, read_only=True)
    result = serializers.DictField()
    notes = serializers.SerializerMethodField()

    class Meta:
        model = Comparison
        fields = [*JobSerializer.job_fields, "candidate", "champion", "data_sets", "result", "notes"]

    def get_notes(self, comparison: Comparison) -> list[str]:
        """Return what was left out and why."""
        return comparisons.notes(comparison)


class CompareSerializer(serializers.Serializer[Any]):
    """The data sets of a comparison; by default, all that are not synthetic."""

    data_sets: Any = serializers.PrimaryKeyRelatedField(
        queryset=data_sets.usable(), many=True, required=False, default=list
    )


class ReasonSerializer(serializers.Serializer[Any]):
    """A reason, which overrides the gate's objections to a promotion."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000, default="")
