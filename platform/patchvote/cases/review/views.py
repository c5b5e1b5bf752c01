"""Pages for reviewers: reviewing an image, the next case that awaits a review, and the agreement with models."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.mixins import PermissionRequiredMixin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views import View
from django.views.generic import TemplateView

from patchvote.accounts.models import current_user
from patchvote.cases.forms import ReviewForm, SpanForm
from patchvote.cases.models import MAY_REVIEW, Case
from patchvote.cases.review import agreement, agreement_chart
from patchvote.cases.review import services as reviews
from patchvote.cases.services import StateError
from patchvote.cases.views import Detail


class Review(Detail):
    """The view that stores a review of an image."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: Any, image_pk: Any) -> HttpResponse:
        """Store the review and return to the image, or show the form with its errors."""
        case = self.case(pk)
        image = get_object_or_404(case.images.all(), pk=image_pk)
        reviewer = current_user(request)
        if not reviewer.has_perm(MAY_REVIEW):
            raise PermissionDenied
        form = ReviewForm(image, data=request.POST)
        if not form.is_valid():
            return self.page(case, refused=form, status=400)
        given = form.cleaned_data
        try:
            reviews.review(image, reviewer, given["decision"], comment=given["comment"], analysis_id=given["analysis"])
        except StateError as error:
            form.add_error(None, str(error))
            return self.page(case, refused=form, status=409)
        return redirect(f"{case.get_absolute_url()}?reviewed={image.pk}#review-{image.pk}")


class NextCase(PermissionRequiredMixin, View):
    """The redirect to the case that has waited longest for a review."""

    permission_required = MAY_REVIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the next case; with `after`, to the next one after that case, so that users can skip cases."""
        after = _case(request.GET.get("after", ""))
        case = reviews.next_case(after)
        if case is None:
            messages.success(request, _("No other case awaits a review."))
            return redirect(after or "cases:list")
        return redirect(case)


class AgreementPage(PermissionRequiredMixin, TemplateView):
    """The page that shows how often models and reviewers agree."""

    template_name = "cases/agreement.html"
    permission_required = MAY_REVIEW

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the agreement in the chosen time span and with the chosen version."""
        form = SpanForm({"span": "quarter", **self.request.GET.dict()})
        given = form.cleaned_data if form.is_valid() else {}
        span, version = given.get("span") or "quarter", given.get("version")
        since, weekly = _since(span), span == "quarter"
        table = agreement.load_agreement(since=since)
        over_time = table.over_time(weekly=weekly, version=version)
        return super().get_context_data(
            form=form,
            weekly=weekly,
            total=table.total(version),
            over_time=over_time,
            by_version=table.by_version(),
            chart=agreement_chart.over_time(over_time, weekly=weekly) if over_time else "",
            **kwargs,
        )


def _case(pk: str) -> Case | None:
    try:
        return Case.objects.filter(pk=UUID(pk)).first() if pk else None
    except ValueError:
        raise Http404 from None


def _since(span: str) -> date | None:
    """Return the first day of a time span: the start of a week or month, so that the first period is complete."""
    today = timezone.localdate()
    if span == "quarter":
        return today - timedelta(weeks=12, days=today.weekday())
    if span == "year":
        return (today.replace(day=1) - timedelta(days=334)).replace(day=1)  # eleven months earlier
    return None
