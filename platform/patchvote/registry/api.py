"""Model versions over REST."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets

from patchvote.registry.models import ModelVersion
from patchvote.rest import ReadThrottle


class ModelSerializer(serializers.ModelSerializer[ModelVersion]):
    """A version with its metrics and whether it serves."""

    network = serializers.CharField(source="metadata.network")
    magnifications = serializers.ListField(child=serializers.CharField())
    threshold = serializers.FloatField(source="metadata.threshold")
    intended_use = serializers.CharField(source="metadata.intended_use")
    metrics = serializers.DictField(source="metadata.metrics")
    training_data = serializers.DictField(source="metadata.data")
    synthetic = serializers.BooleanField()
    champion = serializers.BooleanField(source="is_champion")

    class Meta:
        model = ModelVersion
        fields = [
            "id", "name", "version", "sha256", "champion", "network", "magnifications", "threshold", "intended_use",
            "synthetic", "metrics", "training_data", "created_at",
        ]  # fmt: skip


@extend_schema(tags=["models"])
class ModelViewSet(viewsets.ReadOnlyModelViewSet[ModelVersion]):
    """The registered model versions, newest first."""

    queryset = ModelVersion.objects.all()
    serializer_class = ModelSerializer
    throttle_classes = [ReadThrottle]
    ordering_fields = ["created_at", "name", "version"]
