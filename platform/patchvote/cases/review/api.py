"""The REST API of reviews."""

from __future__ import annotations

from typing import Any

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, generics, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from patchvote.cases.api import SubmitThrottle
from patchvote.cases.models import MAY_REVIEW, Image, Review
from patchvote.cases.review import services as reviews
from patchvote.cases.serializers import ReviewSerializer
from patchvote.cases.services import StateError
from patchvote.core.api_base import Conflict, ReadThrottle


class NewReviewSerializer(serializers.ModelSerializer[Review]):
    """A new review."""

    analysis = serializers.UUIDField(
        required=False,
        help_text="The analysis that the reviewer saw: 409 if the image was analysed again since. By default, the "
        "current one.",
    )

    class Meta:
        model = Review
        fields = ["decision", "comment", "analysis"]


@extend_schema(tags=["cases"])
class ReviewsView(generics.ListAPIView[Review]):
    """The reviews of an image, latest first: the first one counts."""

    queryset = Review.objects.none()
    serializer_class = ReviewSerializer
    filter_backends = []

    def get_queryset(self) -> Any:
        """Return the reviews of the image, if the user may see it."""
        return self._image().reviews.with_authors()

    def get_throttles(self) -> list[BaseThrottle]:
        """Use a stricter throttle for writing than for reading."""
        return [SubmitThrottle() if self.request.method == "POST" else ReadThrottle()]

    @extend_schema(request=NewReviewSerializer, responses={201: ReviewSerializer})
    def post(self, request: Request, pk: Any) -> Response:
        """Confirm or correct the verdict, or mark the image as unfit; for reviewers and admins.

        409 `not_reviewable` if there is no verdict to confirm or correct, or the image is being analysed.
        """
        del pk
        image = self._image()
        if not request.user.has_perm(MAY_REVIEW):
            raise exceptions.PermissionDenied
        fields = NewReviewSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        given = fields.validated_data
        try:
            review = reviews.review(
                image,
                request.user,  # type: ignore[arg-type]
                given["decision"],
                comment=given.get("comment", ""),
                analysis_id=given.get("analysis"),
            )
        except StateError as error:
            raise Conflict(str(error), code="not_reviewable") from error
        return Response(ReviewSerializer(review).data, status=status.HTTP_201_CREATED)

    def _image(self) -> Image:
        visible = Image.objects.visible_to(self.request.user)  # type: ignore[arg-type]
        return get_object_or_404(visible, pk=self.kwargs["pk"])
