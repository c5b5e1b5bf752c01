"""Serializers of cases, images, analyses and reviews for the REST API (docs/api.md)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from patchvote.cases.models import Analysis, Case, Image, Magnification, Review, Verdict
from patchvote.registry.models import ModelVersion


class ErrorSerializer(serializers.Serializer[Any]):
    """The reason why a job failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class VoteSerializer(serializers.Serializer[Any]):
    """The vote of a patch, with its position in pixels and its malignant probability."""

    row = serializers.IntegerField()
    column = serializers.IntegerField()
    x = serializers.IntegerField()
    y = serializers.IntegerField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    malignant_probability = serializers.FloatField()
    vote = serializers.ChoiceField(choices=Verdict.choices)


class ModelReferenceSerializer(serializers.ModelSerializer[ModelVersion]):
    """The identity of a model version."""

    class Meta:
        model = ModelVersion
        fields = ["name", "version", "sha256"]


class AnalysisSerializer(serializers.ModelSerializer[Analysis]):
    """An analysis of an image by a model version."""

    verdict = serializers.SerializerMethodField()
    model = ModelReferenceSerializer(source="model_version")
    error = serializers.SerializerMethodField()
    votes = VoteSerializer(many=True)

    class Meta:
        model = Analysis
        fields = [
            "id", "state", "verdict", "malignant_share", "threshold", "malignant_probability", "model", "attempts",
            "queued_at", "started_at", "finished_at", "error", "votes",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_verdict(self, analysis: Analysis) -> str | None:
        """Return the verdict; null until there is one."""
        return analysis.verdict or None

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, analysis: Analysis) -> dict[str, str] | None:
        """Return the error; null unless the analysis failed."""
        if not analysis.error_code:
            return None
        return {"code": analysis.error_code, "message": analysis.error}


class PastAnalysisSerializer(AnalysisSerializer):
    """An analysis with its image, and whether it is the current one."""

    image = serializers.UUIDField(source="image_id")

    class Meta(AnalysisSerializer.Meta):
        fields = ["image", "current", *AnalysisSerializer.Meta.fields]


class ReviewSerializer(serializers.ModelSerializer[Review]):
    """A reviewer's decision about an image and one of its analyses."""

    label = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, as DRF collects them
    reviewer = serializers.CharField(source="reviewer.username", read_only=True)
    analysis = serializers.UUIDField(source="analysis_id", read_only=True)
    model = ModelReferenceSerializer(source="analysis.model_version", read_only=True)

    class Meta:
        model = Review
        fields = ["id", "decision", "label", "comment", "reviewer", "created_at", "analysis", "model"]

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_label(self, review: Review) -> str | None:
        """Return the class that the image shows; null if the image is unfit."""
        return review.label or None


class ImageSerializer(serializers.ModelSerializer[Image]):
    """An image with its current analysis, its reviews (latest first) and the label of the latest review."""

    url = serializers.HyperlinkedIdentityField(view_name="api:image")
    analysis = AnalysisSerializer()
    label = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, as DRF collects them
    reviews = ReviewSerializer(many=True, source="all_reviews")

    class Meta:
        model = Image
        fields = ["id", "filename", "sha256", "width", "height", "url", "analysis", "label", "reviews"]

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_label(self, image: Image) -> str | None:
        """Return the label; null without a review and for an unfit image."""
        return image.label or None


class CaseSerializer(serializers.ModelSerializer[Case]):
    """A case with its images."""

    url = serializers.HyperlinkedIdentityField(view_name="api:case-detail")
    verdict = serializers.SerializerMethodField()
    images = ImageSerializer(many=True, source="all_images")

    class Meta:
        model = Case
        fields = [
            "id", "url", "reference", "notes", "magnification", "synthetic", "created_at", "state", "verdict", "images",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_verdict(self, case: Case) -> str | None:
        """Return the verdict; null until the case has succeeded."""
        return case.verdict or None


class AgainSerializer(serializers.Serializer[Any]):
    """A request for a new analysis."""

    model = serializers.PrimaryKeyRelatedField(
        queryset=ModelVersion.objects.all(),
        required=False,
        help_text="The model version to use, for reviewers and admins only; the champion by default.",
    )


class SubmissionSerializer(serializers.Serializer[Any]):
    """A new case."""

    images = serializers.ListField(child=serializers.FileField(allow_empty_file=True), allow_empty=False)
    reference = serializers.CharField(required=False, allow_blank=True, max_length=100, default="")
    notes = serializers.CharField(required=False, allow_blank=True, max_length=5000, default="")
    magnification = serializers.ChoiceField(choices=Magnification.choices, default=Magnification.X40)
