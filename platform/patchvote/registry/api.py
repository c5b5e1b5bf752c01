"""Model versions over REST: reading, uploading and downloading bundles, the champion's history and the way back."""

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
from patchvote.registry import downloads, services
from patchvote.registry.models import BundleUpload, ModelVersion, Promotion

RETRY_AFTER_SECONDS = 1


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
            "synthetic", "metrics", "training_data", "origin", "created_at",
        ]  # fmt: skip


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    """Which version, in short."""

    class Meta:
        model = ModelVersion
        fields = ["id", "name", "version", "sha256"]
        ref_name = "Version"


class UploadErrorSerializer(serializers.Serializer[Any]):
    """Why a bundle was refused."""

    code = serializers.CharField()
    message = serializers.CharField()


class BundleSerializer(serializers.Serializer[Any]):
    """What a client sends."""

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
        """Null unless it was refused."""
        return {"code": upload.error_code, "message": upload.error} if upload.error_code else None


class PromotionSerializer(serializers.ModelSerializer[Promotion]):
    """One step of the champion's history."""

    version = VersionSerializer()
    previous = VersionSerializer(allow_null=True)
    by = serializers.CharField(source="by.username", default=None, allow_null=True)
    evidence = serializers.DictField(allow_null=True)

    class Meta:
        model = Promotion
        fields = ["id", "kind", "version", "previous", "by", "at", "reason", "overridden", "evidence"]


class RollbackSerializer(serializers.Serializer[Any]):
    """Which champion shall be left, so that a call sent twice goes one step, and why, if somebody says so."""

    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000, default="")

    def get_fields(self) -> dict[str, Any]:
        """With `from`, which cannot be an attribute in Python."""
        leaving = serializers.PrimaryKeyRelatedField(
            queryset=ModelVersion.objects.all(),
            required=False,
            help_text="Id of the model that serves now; 409 if another one does.",
        )
        return {**super().get_fields(), "from": leaving}


@extend_schema(tags=["models"])
class ModelViewSet(viewsets.ReadOnlyModelViewSet[ModelVersion]):
    """The registered model versions, newest first."""

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
        """A bundle comes as a multipart form, everything else as JSON."""
        return [MultiPartParser(), JSONParser()]

    @extend_schema(request={"multipart/form-data": BundleSerializer}, responses={202: BundleUploadSerializer})
    def create(self, request: Request) -> Response:
        """Send a bundle as one zip, `bundle`; it is tried in the background and then becomes a model version."""
        fields = BundleSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            upload = services.upload(fields.validated_data["bundle"], by=current_user(request._request))  # noqa: SLF001
        except BundleError as error:
            raise exceptions.ValidationError({"bundle": [services.sentence(error)]}, code="bad_bundle") from error
        response = _upload_answer(upload, request, status.HTTP_202_ACCEPTED)
        response["Location"] = reverse("api:bundle-upload-detail", args=[upload.pk], request=request)
        return response

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def bundle(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """The bundle as one zip, for admins; another installation can take it."""
        del request, pk
        try:
            return downloads.packed(self.get_object())
        except BundleError as error:
            raise exceptions.NotFound(_("The bundle's files are not sound."), code="bundle_unsound") from error

    @extend_schema(request=RollbackSerializer, responses={200: ModelSerializer})
    @action(detail=False, methods=["post"])
    def rollback(self, request: Request) -> Response:
        """Let the model serve again that served before the champion, for admins; 409 if there is none.

        With `from`, the id of the champion that shall be left, a call that is sent twice goes one step, not two: the
        second is refused with 409 `champion_changed`.
        """
        fields = RollbackSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            version = services.rollback(
                by=current_user(request._request),  # noqa: SLF001 (the same person)
                reason=fields.validated_data["reason"],
                leaving=fields.validated_data.get("from"),
            )
        except services.PromotionRefusedError as error:
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
        """One upload; poll it as `Retry-After` says until that header is gone."""
        del args, kwargs
        return _upload_answer(self.get_object(), request, status.HTTP_200_OK)


@extend_schema(tags=["models"])
class PromotionViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Promotion]):
    """The history of the champion, newest first, for admins."""

    queryset = Promotion.objects.select_related("version", "previous", "by")
    serializer_class = PromotionSerializer
    throttle_classes = [ReadThrottle]
    permission_classes = [HasPermission]
    ordering_fields = ["at"]
    required = {"list": "registry.view_promotion"}


def _upload_answer(upload: BundleUpload, request: Request, code: int) -> Response:
    response = Response(BundleUploadSerializer(upload, context={"request": request}).data, status=code)
    if not upload.ended:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
