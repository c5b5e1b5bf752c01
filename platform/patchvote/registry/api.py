"""The REST API of model versions: reading, uploading and downloading bundles, promotions and rollback."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from classifier.bundle import BundleError
from patchvote.accounts.models import current_user
from patchvote.core.api_base import Conflict, HasPermission, ReadThrottle
from patchvote.registry import downloads, promotions, uploads
from patchvote.registry.models import BundleUpload, ModelVersion, Promotion

RETRY_AFTER_SECONDS = 1


class ModelSerializer(serializers.ModelSerializer[ModelVersion]):
    """A model version with its metrics; `champion` is true if it analyses new cases."""

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
            "synthetic", "metrics", "training_data", "origin", "created_at",
        ]  # fmt: skip


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    """The identity of a model version."""

    class Meta:
        model = ModelVersion
        fields = ["id", "name", "version", "sha256"]
        ref_name = "Version"


class UploadErrorSerializer(serializers.Serializer[Any]):
    """The reason why a bundle was refused."""

    code = serializers.CharField()
    message = serializers.CharField()


class BundleSerializer(serializers.Serializer[Any]):
    """A bundle to upload."""

    bundle = serializers.FileField()


class BundleUploadSerializer(serializers.ModelSerializer[BundleUpload]):
    """An uploaded bundle: being tried, registered or refused."""

    url = serializers.HyperlinkedIdentityField(view_name="api:bundle-upload-detail")
    model = VersionSerializer(source="model_version", allow_null=True)
    error = serializers.SerializerMethodField()

    class Meta:
        model = BundleUpload
        fields = ["id", "url", "filename", "state", "model", "error", "queued_at", "finished_at"]

    @extend_schema_field(UploadErrorSerializer(allow_null=True))
    def get_error(self, upload: BundleUpload) -> dict[str, str] | None:
        """Return the error; null unless the bundle was refused."""
        return {"code": upload.error_code, "message": upload.error} if upload.error_code else None


class PromotionSerializer(serializers.ModelSerializer[Promotion]):
    """A promotion or rollback of the champion."""

    version = VersionSerializer()
    previous = VersionSerializer(allow_null=True)
    by = serializers.CharField(source="by.username", default=None, allow_null=True)
    evidence = serializers.DictField(allow_null=True)

    class Meta:
        model = Promotion
        fields = ["id", "kind", "version", "previous", "by", "at", "reason", "overridden", "evidence"]


class RollbackSerializer(serializers.Serializer[Any]):
    """The champion to roll back from, so that a repeated request has no second effect, and an optional reason."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000, default="")

    def get_fields(self) -> dict[str, Any]:
        """Add the field `from`, whose name cannot be an attribute in Python."""
        leaving = serializers.PrimaryKeyRelatedField(
            queryset=ModelVersion.objects.all(),
            required=False,
            help_text="Id of the current champion; 409 if another model version is champion.",
        )
        return {**super().get_fields(), "from": leaving}


@extend_schema(tags=["models"])
class ModelViewSet(viewsets.ReadOnlyModelViewSet[ModelVersion]):
    """Registered model versions, newest first."""

    queryset = ModelVersion.objects.all()
    serializer_class = ModelSerializer
    throttle_classes = [ReadThrottle]
    permission_classes = [HasPermission]
    ordering_fields = ["created_at", "name", "version"]
    required = {
        "create": "registry.add_bundleupload",
        "bundle": "registry.view_modelversion",
        "rollback": "registry.promote_modelversion",
    }

    def get_parsers(self) -> list[Any]:
        """Accept multipart forms for bundles, and JSON for everything else."""
        return [MultiPartParser(), JSONParser()]

    @extend_schema(request={"multipart/form-data": BundleSerializer}, responses={202: BundleUploadSerializer})
    def create(self, request: Request) -> Response:
        """Upload a bundle as one zip, `bundle`. It is tried in the background and then becomes a model version."""
        fields = BundleSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            upload = uploads.upload(fields.validated_data["bundle"], by=current_user(request._request))  # noqa: SLF001
        except BundleError as error:
            raise exceptions.ValidationError({"bundle": [uploads.error_message(error)]}, code="bad_bundle") from error
        response = _upload_response(upload, request, status.HTTP_202_ACCEPTED)
        response["Location"] = reverse("api:bundle-upload-detail", args=[upload.pk], request=request)
        return response

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def bundle(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """Download the bundle as one zip, for admins. Another installation can register it."""
        del request, pk
        try:
            return downloads.bundle_response(self.get_object())
        except BundleError as error:
            raise exceptions.NotFound(_("The bundle's files are not valid."), code="bundle_unsound") from error

    @extend_schema(request=RollbackSerializer, responses={200: ModelSerializer})
    @action(detail=False, methods=["post"])
    def rollback(self, request: Request) -> Response:
        """Make the previous champion the champion again, for admins; 409 if there is none.

        With `from`, the id of the current champion, a repeated request does not roll back twice: it is refused with 409
        `champion_changed`.
        """
        fields = RollbackSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            version = promotions.roll_back(
                by=current_user(request._request),  # noqa: SLF001 (the same user)
                reason=fields.validated_data["reason"],
                leaving=fields.validated_data.get("from"),
            )
        except promotions.PromotionRefusedError as error:
            raise Conflict(str(error), code=error.code) from error
        return Response(self.get_serializer(version).data)


@extend_schema(tags=["models"])
class BundleUploadViewSet(mixins.RetrieveModelMixin, viewsets.GenericViewSet[BundleUpload]):
    """Uploaded bundles, for admins."""

    queryset = BundleUpload.objects.select_related("model_version")
    serializer_class = BundleUploadSerializer
    throttle_classes = [ReadThrottle]
    permission_classes = [HasPermission]
    required = {"retrieve": "registry.view_bundleupload"}

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return one upload. While the response has a `Retry-After` header, poll again after that many seconds."""
        del args, kwargs
        return _upload_response(self.get_object(), request, status.HTTP_200_OK)


@extend_schema(tags=["models"])
class PromotionViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Promotion]):
    """Promotions and rollbacks of the champion, newest first, for admins."""

    queryset = Promotion.objects.select_related("version", "previous", "by")
    serializer_class = PromotionSerializer
    throttle_classes = [ReadThrottle]
    permission_classes = [HasPermission]
    ordering_fields = ["at"]
    required = {"list": "registry.view_promotion"}


def _upload_response(upload: BundleUpload, request: Request, status_code: int) -> Response:
    response = Response(BundleUploadSerializer(upload, context={"request": request}).data, status=status_code)
    if not upload.ended:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
