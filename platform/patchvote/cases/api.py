"""The REST API of cases and images; clients rely on docs/api.md."""

from __future__ import annotations

from typing import Any, TypeVar

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from classifier.imaging.decode import DecodeError
from patchvote.cases import polling, services, submissions, thumbnails
from patchvote.cases.filters import CaseFilter
from patchvote.cases.models import MAY_REVIEW, Analysis, Case, Image
from patchvote.cases.serializers import (
    AgainSerializer,
    CaseSerializer,
    PastAnalysisSerializer,
    SubmissionSerializer,
)
from patchvote.core.api_base import Conflict, ReadThrottle
from patchvote.registry.services import NoChampionError

Answer = TypeVar("Answer", bound=HttpResponseBase)

RETRY_AFTER_SECONDS = 1
KEY_LENGTH = 200


class NoModel(exceptions.APIException):
    """503: no model version is champion yet."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "no_model"


class LengthRequired(exceptions.APIException):
    """411: the body has no declared length; Django would read nothing of it."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_code = "length_required"
    default_detail = _("Send the request with a Content-Length; chunked uploads cannot be read.")


class RefusedFiles(exceptions.APIException):
    """400, or 413 if size is the only problem: every refused file with its name, message and code."""

    def __init__(self, error: submissions.SubmissionError) -> None:
        """Store the refusals."""
        super().__init__(error.refusals[0].message, error.refusals[0].code)
        self.refusals = error.refusals
        self.status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE if error.too_large else status.HTTP_400_BAD_REQUEST

    def get_full_details(self) -> Any:
        """Return the refusals in DRF's format for a field, with the file name added to each."""
        return {"images": [{"message": r.message, "code": r.code, "filename": r.filename} for r in self.refusals]}


class SubmitThrottle(UserRateThrottle):
    """The throttle for requests that create work."""

    scope = "submit"


@extend_schema(tags=["cases"])
class CaseViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Case]):
    """Cases: your own, or all of them for reviewers and admins."""

    queryset = Case.objects.none()
    serializer_class = CaseSerializer
    filterset_class = CaseFilter
    ordering_fields = ["created_at", "state", "verdict", "reference"]

    def get_queryset(self) -> Any:
        """Return the cases that the user may see; other cases answer 404."""
        user = self.request.user
        if not user.is_authenticated:  # the schema is generated without a user
            return Case.objects.none()
        return Case.objects.visible_to(user).with_images()

    def get_throttles(self) -> list[Any]:
        """Use a stricter throttle for requests that create work than for reading."""
        return [SubmitThrottle() if self.action in {"create", "reanalyse"} else ReadThrottle()]

    def get_parsers(self) -> list[Any]:
        """Accept multipart forms only when a case is submitted."""
        submitting = self.request and self.request.method == "POST" and self.action_map.get("post") == "create"
        return [MultiPartParser()] if submitting else super().get_parsers()

    @extend_schema(
        request={"multipart/form-data": SubmissionSerializer},
        responses={202: CaseSerializer},
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                location=OpenApiParameter.HEADER,
                description="A unique text for each case. A repeated request with the same key returns the first case.",
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Submit a case with one or more images; they are analysed in the background."""
        if not request.headers.get("Content-Length"):
            raise LengthRequired
        fields = SubmissionSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > KEY_LENGTH:
            raise exceptions.ValidationError({"Idempotency-Key": [_("At most 200 characters.")]}, code="max_length")
        given = fields.validated_data
        try:
            submission = submissions.submit(
                request.user,  # type: ignore[arg-type]
                given["images"],
                reference=given["reference"],
                notes=given["notes"],
                magnification=given["magnification"],
                idempotency_key=key or None,
            )
        except submissions.SubmissionError as error:
            raise RefusedFiles(error) from error
        except submissions.KeyReusedError as error:
            raise Conflict(str(error), code="idempotency_key_reused") from error
        except NoChampionError as error:
            raise NoModel(str(error)) from error
        respond = self._respond if submission.repeated else self._respond_loaded
        response = respond(submission.case, status.HTTP_202_ACCEPTED)
        response["Location"] = reverse("api:case-detail", args=[submission.case.pk], request=request)
        if submission.repeated:
            response["Idempotent-Replayed"] = "true"
        return response

    @extend_schema(
        responses={200: CaseSerializer, 304: None},
        parameters=[OpenApiParameter("If-None-Match", location=OpenApiParameter.HEADER, description="An ETag.")],
    )
    def retrieve(  # type: ignore[override]  # an empty 304 is not a DRF response
        self, request: Request, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Return one case. While the response has a `Retry-After` header, poll again after that many seconds.

        With the last `ETag` as `If-None-Match`, the response is an empty 304 while nothing has changed.
        """
        del args
        case = polling.get_case(request.user, kwargs["pk"])  # type: ignore[arg-type]
        not_modified = polling.not_modified(request._request, self._etag(case))  # noqa: SLF001 (Django's own request)
        return self._add_headers(case, not_modified) if not_modified else self._respond(case, status.HTTP_200_OK)

    @extend_schema(request=None, responses={200: CaseSerializer})
    @action(detail=True, methods=["post"], filterset_class=None)
    def cancel(self, request: Request, pk: str | None = None) -> Response:
        """Cancel the analyses that have not ended; 409 if all of them have."""
        del request, pk
        case = self.get_object()
        try:
            services.cancel(case)
        except services.StateError as error:
            raise Conflict(str(error), code="already_ended") from error
        return self._respond(case, status.HTTP_200_OK)

    @extend_schema(request=AgainSerializer, responses={202: CaseSerializer})
    @action(detail=True, methods=["post"], filterset_class=None)
    def reanalyse(self, request: Request, pk: str | None = None) -> Response:
        """Analyse all images again with the current champion or the given model; 409 while an analysis is running.

        Only reviewers and admins may give a model.
        """
        del pk
        case = self.get_object()
        fields = AgainSerializer(data=request.data)
        if "model" in request.data and not request.user.has_perm(MAY_REVIEW):
            raise exceptions.PermissionDenied
        fields.is_valid(raise_exception=True)
        try:
            services.analyse_again(case, fields.validated_data.get("model"))
        except services.UnsuitedError as error:
            raise Conflict(str(error), code="model_unsuited") from error
        except services.StateError as error:
            raise Conflict(str(error), code="not_ended") from error
        except NoChampionError as error:
            raise NoModel(str(error)) from error
        return self._respond(case, status.HTTP_202_ACCEPTED)

    @extend_schema(responses={200: PastAnalysisSerializer(many=True)})
    @action(detail=True, filterset_class=None, ordering_fields=[])
    def analyses(self, request: Request, pk: str | None = None) -> Response:
        """List all analyses of a case's images, including the ones that newer analyses replaced, newest first."""
        del request, pk
        rows = Analysis.objects.filter(image__case=self.get_object()).select_related("model_version")
        page: Any = self.paginate_queryset(rows.order_by("-queued_at", "pk"))  # type: ignore[arg-type]
        return self.get_paginated_response(PastAnalysisSerializer(page, many=True).data)

    def _respond(self, case: Case, status_code: int) -> Response:
        return self._respond_loaded(Case.objects.with_images().get(pk=case.pk), status_code)

    def _respond_loaded(self, case: Case, status_code: int) -> Response:
        """Return a case whose images are loaded already."""
        return self._add_headers(case, Response(self.get_serializer(case).data, status=status_code))

    def _etag(self, case: Case) -> str:
        return polling.etag(case, self.request.get_host())

    def _add_headers(self, case: Case, response: Answer) -> Answer:
        """Add the headers that polling clients use."""
        response["ETag"] = self._etag(case)
        if not case.ended:
            response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        patch_cache_control(response, private=True, no_store=True)
        return response


class ImageView(APIView):
    """The re-encoded copy of an image, for users who may see its case."""

    throttle_classes = [ReadThrottle]

    @extend_schema(
        tags=["cases"],
        parameters=[OpenApiParameter("size", enum=list(thumbnails.SIZES), description="full by default")],
        responses={(200, thumbnails.CONTENT_TYPE): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, pk: str) -> HttpResponse:
        """Return a JPEG without metadata; the uploaded file itself is never served."""
        image = get_object_or_404(Image.objects.visible_to(request.user), pk=pk)  # type: ignore[arg-type]
        size = request.query_params.get("size", "full")
        if size not in thumbnails.SIZES:
            raise exceptions.ValidationError({"size": [_("full or thumbnail")]}, code="invalid_choice")
        try:
            data = thumbnails.preview(image, size)
        except (OSError, DecodeError):
            raise exceptions.NotFound(_("The image's file is not on the server."), code="file_gone") from None
        response = HttpResponse(data, content_type=thumbnails.CONTENT_TYPE)
        response["Content-Disposition"] = f'inline; filename="{image.pk}.jpg"'
        response["X-Content-Type-Options"] = "nosniff"
        response["Content-Security-Policy"] = "default-src 'none'; sandbox"
        patch_cache_control(response, private=True, max_age=3600, immutable=True)
        return response
