"""Cases, images, analyses and reviews in the shape of the REST API (docs/api.md)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from patchvote.cases.models import Analysis, Case, Image, Magnification, Review, Verdict
from patchvote.registry.models import ModelVersion


class ErrorSerializer(serializers.Serializer[Any]):
    """Why a job failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class VoteSerializer(serializers.Serializer[Any]):
    """One patch: its place, in pixels, its probability and its vote."""

    row = serializers.IntegerField()
    column = serializers.IntegerField()
    x = serializers.IntegerField()
    y = serializers.IntegerField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    malignant_probability = serializers.FloatField()
    vote = serializers.ChoiceField(choices=Verdict.choices)


class ModelReferenceSerializer(serializers.ModelSerializer[ModelVersion]):
    """Which model version."""

    class Meta:
        model = ModelVersion
        fields = ["name", "version", "sha256"]


class AnalysisSerializer(serializers.ModelSerializer[Analysis]):
    """What one model version says of one image."""

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
        """Null until there is one."""
        return analysis.verdict or None

    @extend_schema_field(ErrorSerializer(allow_null=True))
    def get_error(self, analysis: Analysis) -> dict[str, str] | None:
        """Null unless it failed."""
        if not analysis.error_code:
            return None
        return {"code": analysis.error_code, "message": analysis.error}


class PastAnalysisSerializer(AnalysisSerializer):
    """An analysis with its image, and whether it is the current one."""

    image = serializers.UUIDField(source="image_id")

    class Meta(AnalysisSerializer.Meta):
        fields = ["image", "current", *AnalysisSerializer.Meta.fields]


class ReviewSerializer(serializers.ModelSerializer[Review]):
    """A reviewer's word on an image: on what one analysis said of it."""

    label = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, as DRF collects them
    reviewer = serializers.CharField(source="reviewer.username", read_only=True)
    analysis = serializers.UUIDField(source="analysis_id", read_only=True)
    model = ModelReferenceSerializer(source="analysis.model_version", read_only=True)

    class Meta:
        model = Review
        fields = ["id", "decision", "label", "comment", "reviewer", "created_at", "analysis", "model"]

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_label(self, review: Review) -> str | None:
        """What the image shows; null if it is unfit."""
        return review.label or None


class ImageSerializer(serializers.ModelSerializer[Image]):
    """One image with its current analysis, its reviews (latest first) and the label that the latest gives it."""

    url = serializers.HyperlinkedIdentityField(view_name="api:image")
    analysis = AnalysisSerializer()
    label = serializers.SerializerMethodField()  # type: ignore[assignment]  # a field, as DRF collects them
    reviews = ReviewSerializer(many=True)

    class Meta:
        model = Image
        fields = ["id", "filename", "sha256", "width", "height", "url", "analysis", "label", "reviews"]

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_label(self, image: Image) -> str | None:
        """Null without a review, and if the image is unfit."""
        return image.label or None


class CaseSerializer(serializers.ModelSerializer[Case]):
    """A case with its images."""

    url = serializers.HyperlinkedIdentityField(view_name="api:case-detail")
    verdict = serializers.SerializerMethodField()
    images = ImageSerializer(many=True)

    class Meta:
        model = Case
        fields = [
            "id", "url", "reference", "notes", "magnification", "synthetic", "created_at", "state", "verdict", "images",
        ]  # fmt: skip

    @extend_schema_field(serializers.ChoiceField(choices=Verdict.choices, allow_null=True))
    def get_verdict(self, case: Case) -> str | None:
        """Null until the case succeeded."""
        return case.verdict or None


class AgainSerializer(serializers.Serializer[Any]):
    """What a client may send to analyse again."""

    model = serializers.PrimaryKeyRelatedField(
        queryset=ModelVersion.objects.all(),
        required=False,
        help_text="The model version that shall read the images, for reviewers and admins; the champion unless said.",
    )


class SubmissionSerializer(serializers.Serializer[Any]):
    """What a client sends."""

    images = serializers.ListField(child=serializers.FileField(allow_empty_file=True), allow_empty=False)
    reference = serializers.CharField(required=False, allow_blank=True, max_length=100, default="")
    notes = serializers.CharField(required=False, allow_blank=True, max_length=5000, default="")
    magnification = serializers.ChoiceField(choices=Magnification.choices, default=Magnification.X40)
