"""The REST API of data sets, training runs, comparisons and promotion, for programs of admins."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from patchvote.accounts import audit
from patchvote.accounts.models import current_user
from patchvote.core.api_base import Conflict, HasPermission, ReadThrottle
from patchvote.jobs.supervised import SupervisedJob
from patchvote.registry import promotions
from patchvote.registry.api import ModelSerializer
from patchvote.registry.models import ModelVersion
from patchvote.registry.services import NoChampionError
from patchvote.training import comparisons, data_sets, runs
from patchvote.training.forms import DataSetForm
from patchvote.training.models import Comparison, DataSet, TrainingRun
from patchvote.training.serializers import (
    CompareSerializer,
    ComparisonSerializer,
    DataSetRequestSerializer,
    DataSetSerializer,
    ReasonSerializer,
    RunRequestSerializer,
    RunSerializer,
    WatchedRunSerializer,
)  # fmt: skip

RETRY_AFTER_SECONDS = 2


class _ReadsOwnTables(HasPermission):
    """A permission that requires the model's view permission for reading, too: data sets are confidential."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the user has the view permission and the permission of the action."""
        model = view.queryset.model._meta  # type: ignore[attr-defined]  # noqa: SLF001 (documented by Django)
        may_view = request.user.has_perm(f"{model.app_label}.view_{model.model_name}")
        return super().has_permission(request, view) and may_view


class _JobViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Any]):
    """The base of the view sets that list jobs and show one."""

    throttle_classes = [ReadThrottle]
    permission_classes = [_ReadsOwnTables]
    ordering_fields = ["queued_at"]
    lookup_value_converter = "uuid"

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return one job. While the response has a `Retry-After` header, poll again after that many seconds."""
        del request, args, kwargs
        return self.respond(self.get_object())

    def respond(self, job: SupervisedJob, status_code: int = status.HTTP_200_OK) -> Response:
        """Return the job in its current state."""
        response = Response(self.get_serializer(job).data, status=status_code)
        if not job.ended:
            response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if status_code == status.HTTP_202_ACCEPTED:
            response["Location"] = response.data["url"]
        return response


@extend_schema(tags=["training"])
class DataSetViewSet(_JobViewSet):
    """Data sets, newest first."""

    queryset = DataSet.objects.select_related("created_by")
    serializer_class = DataSetSerializer
    parser_classes = [MultiPartParser, JSONParser, FormParser]
    required = {"create": "training.add_dataset"}

    @extend_schema(request={"multipart/form-data": DataSetRequestSerializer}, responses={202: DataSetSerializer})
    def create(self, request: Request) -> Response:
        """Add a data set. It is checked in the background; `error.details` lists all its problems."""
        fields = DataSetRequestSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        given = fields.validated_data
        data_set = DataSet(created_by=current_user(request._request))  # noqa: SLF001 (the same user)
        form = DataSetForm(given, {"archive": given.get("archive")}, instance=data_set)
        if not form.is_valid():
            problems = {
                name: [
                    exceptions.ErrorDetail(str(sentence), "invalid") for error in errors for sentence in error.messages
                ]
                for name, errors in form.errors.as_data().items()
            }
            raise exceptions.ValidationError(
                {name.replace("__all__", "non_field_errors"): v for name, v in problems.items()}
            )
        try:
            form.store(data_set)
        except data_sets.DataSetRefusedError as refusal:
            raise exceptions.ValidationError({given["source"]: refusal.problems}) from refusal
        return self.respond(data_set, status.HTTP_202_ACCEPTED)


@extend_schema(tags=["training"])
class RunViewSet(_JobViewSet):
    """Training runs, newest first."""

    queryset = TrainingRun.objects.select_related("created_by", "model_version")
    parser_classes = [JSONParser]
    required = {"create": "training.add_trainingrun", "cancel": "training.add_trainingrun"}

    def get_serializer_class(self) -> Any:
        """Omit the learning curves from lists."""
        return RunSerializer if self.action == "list" else WatchedRunSerializer

    @extend_schema(request=RunRequestSerializer, responses={202: WatchedRunSerializer})
    def create(self, request: Request) -> Response:
        """Start a run."""
        fields = RunRequestSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        given = fields.validated_data
        run = TrainingRun(
            data_set=given["data_set"],
            name=given["name"],
            note=given["note"],
            created_by=current_user(request._request),  # noqa: SLF001 (the same user)
        )
        try:
            runs.start(run, given["options"])
        except runs.RunRefusedError as refusal:
            raise Conflict(str(refusal), code="data_set_not_checked") from refusal
        return self.respond(run, status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses={200: WatchedRunSerializer})
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: Any = None) -> Response:
        """Cancel a run; 409 if it has ended."""
        del pk
        run = self.get_object()
        try:
            runs.cancel(run)
        except runs.RunEndedError as error:
            raise Conflict(str(error), code="already_ended") from error
        audit.record(current_user(request._request), "cancelled", run)  # noqa: SLF001 (the same user)
        return self.respond(run)

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    @action(detail=True)
    def log(self, request: Request, pk: Any = None) -> HttpResponse:
        """Return the end of the log of the run's processes."""
        del request, pk
        return HttpResponse(self.get_object().log_end(500), content_type="text/plain; charset=utf-8")


@extend_schema(tags=["training"])
class ComparisonViewSet(_JobViewSet):
    """Comparisons of candidates with the champion, newest first."""

    queryset = Comparison.objects.select_related("created_by", "candidate", "champion").prefetch_related("data_sets")
    serializer_class = ComparisonSerializer


class CompareViewSet(viewsets.ViewSet):
    """The view that starts comparisons."""

    permission_classes = [HasPermission]
    parser_classes = [JSONParser]
    required = {"create": "training.add_comparison"}

    @extend_schema(tags=["models"], request=CompareSerializer, responses={202: ComparisonSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Compare a version with the champion on images of patients that neither was trained on."""
        candidate = get_object_or_404(ModelVersion, pk=pk)
        fields = CompareSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            comparison = comparisons.start(
                candidate,
                among=fields.validated_data["data_sets"],
                by=current_user(request._request),  # noqa: SLF001 (the same user)
            )
        except comparisons.ComparisonRefusedError as refusal:
            raise Conflict(str(refusal), code="already_champion") from refusal
        except NoChampionError as refusal:
            raise Conflict(str(refusal), code="no_champion") from refusal
        answer = ComparisonSerializer(comparison, context={"request": request})
        response = Response(answer.data, status=status.HTTP_202_ACCEPTED)
        response["Location"] = reverse("api:comparison-detail", args=[comparison.pk], request=request)
        return response


class PromoteViewSet(viewsets.ViewSet):
    """The view that promotes a version."""

    permission_classes = [HasPermission]
    parser_classes = [JSONParser]
    required = {"create": "registry.promote_modelversion"}

    @extend_schema(tags=["models"], request=ReasonSerializer, responses={200: ModelSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Make a version the champion; 409 with the gate's message if the gate refuses.

        The newest comparison with the champion counts. A `reason` overrides the gate, except that the champion cannot
        be promoted again. The audit log keeps the reason.
        """
        candidate = get_object_or_404(ModelVersion, pk=pk)
        fields = ReasonSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        try:
            comparisons.promote(
                candidate,
                by=current_user(request._request),  # noqa: SLF001 (the same user)
                reason=fields.validated_data["reason"],
            )
        except promotions.PromotionRefusedError as refusal:
            raise Conflict(str(refusal), code=refusal.code) from refusal
        return Response(ModelSerializer(candidate, context={"request": request}).data)
