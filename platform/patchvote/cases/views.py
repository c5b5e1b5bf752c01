"""Pages: submitting, a case, the history."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile, File
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from django.views import View
from django.views.generic import FormView
from django_filters.views import FilterView

from patchvote.accounts.models import current_user
from patchvote.cases import polling, samples, services
from patchvote.cases.filters import CaseFilter
from patchvote.cases.forms import AnalyseAgainForm, CaseForm, ReviewForm
from patchvote.cases.models import Case, Image
from patchvote.cases.presenters import Picture, model_versions
from patchvote.cases.review import services as reviews
from patchvote.cases.submit_options import submit_options
from patchvote.core.pagination import BoundedPaginator
from patchvote.registry.services import NoChampionError, champion


class CaseList(LoginRequiredMixin, FilterView):
    """The case list: the cases that the user may see, newest first, with filters, search and pages."""

    template_name = "cases/list.html"
    filterset_class = CaseFilter
    paginator_class = BoundedPaginator
    paginate_by = 25

    def get_queryset(self) -> Any:
        """With what a row shows."""
        visible = Case.objects.visible_to(current_user(self.request))
        return visible.select_related("submitter").with_images(votes=False)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Keep the filters in the links between pages; know the cases whose verdicts mean nothing."""
        query = self.request.GET.copy()
        query.pop("page", None)
        context: dict[str, Any] = super().get_context_data(
            query=query.urlencode(), filtered=any(query.values()), **kwargs
        )
        context["by_synthetic_model"] = {
            case.pk for case in context["page_obj"] if any(version.synthetic for version in model_versions(case))
        }
        if current_user(self.request).sees_all_cases:
            context |= reviews.ids_by_review_status(context["page_obj"])
        return context


class Submit(LoginRequiredMixin, FormView[CaseForm]):
    """The form that sends a case."""

    template_name = "cases/submit.html"
    form_class = CaseForm

    def form_valid(self, form: CaseForm) -> HttpResponse:
        """Store the case and show it, or say of each file why not."""
        given = form.cleaned_data
        return self._submit(
            form, given["images"], given["reference"], notes=given["notes"], magnification=given["magnification"]
        )

    def form_invalid(self, form: CaseForm) -> HttpResponse:
        """400, so that scripts and caches know."""
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Which model will read the images, and what it takes."""
        try:
            reader = champion()
        except NoChampionError:
            reader = None
        limits = services.limits(reader)
        return super().get_context_data(
            champion=reader,
            limits=limits,
            max_images=settings.UPLOAD_MAX_IMAGES,
            submit_options=submit_options(limits),
            **kwargs,
        )

    def _submit(self, form: CaseForm, files: list[File[bytes]], reference: str, **options: Any) -> HttpResponse:
        try:
            case = services.submit(current_user(self.request), files, reference=reference, **options).case
        except services.SubmissionError as error:
            for refusal in error.refusals:
                name = f"{refusal.filename}: " if refusal.filename else ""
                form.add_error("images", f"{name}{refusal.message}")
            return self.form_invalid(form)
        except NoChampionError as error:
            form.add_error(None, str(error))
            return self.form_invalid(form)
        return redirect(case)


class SubmitSample(Submit):
    """Sends a synthetic image, for trying things without one's own; the case says so for ever."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Make a sample and submit it."""
        del request, args, kwargs
        name, data = samples.synthetic_png()
        sample = ContentFile(data, name)
        return self._submit(CaseForm(), [sample], _("Synthetic sample"), synthetic=True)


class CaseView(LoginRequiredMixin, View):
    """What pages of one case share: others' cases are not found."""

    def case(self, pk: Any) -> Case:
        """The case with all that its page shows."""
        visible = Case.objects.visible_to(current_user(self.request)).select_related("submitter")
        return get_object_or_404(visible.with_images(earlier=True), pk=pk)


class Detail(CaseView):
    """The result page."""

    template_name = "cases/detail.html"

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """The page, or with htmx the part of it that changes."""
        del request
        return self.page(self.case(pk))

    def page(self, case: Case, *, refused: ReviewForm | None = None, status: int = 200) -> HttpResponse:
        """Show the case.

        Args:
            case: The case.
            refused: What a reviewer sent of one of its images and has to send again.
            status: Of the answer.
        """
        response = render(self.request, self.template_name, self.context(case, refused), status=status)
        add_never_cache_headers(response)
        return response

    def context(self, case: Case, refused: ReviewForm | None = None) -> dict[str, Any]:
        """The case, and when to ask again."""
        delayed = polling.delayed(case)
        images = list(case.images.all())
        versions = model_versions(case)
        user = current_user(self.request)
        may_review = user.has_perm(reviews.MAY_REVIEW)

        def picture(image: Image) -> Picture:
            # Not before the case has ended: polling would take away what somebody writes.
            form = ReviewForm(image) if may_review and case.ended else None
            if refused and refused.image == image:
                form = refused
            return Picture(image, image.analysis, services.duplicates_of(image, user), form)

        return {
            "case": case,
            "model_versions": versions,
            "synthetic_model": any(version.synthetic for version in versions),
            "pictures": [picture(image) for image in images],
            "ended_images": sum(image.analysis is not None and image.analysis.ended for image in images),
            "poll_seconds": polling.next_delay(self.request.GET.get("after", "")),
            "etag": polling.etag(case, delayed),
            "delayed": delayed,
            "may_review": may_review,
            "again_form": AnalyseAgainForm() if may_review and case.ended else None,
            "unreviewed": [image for image in images if image.analysis and image.analysis.verdict and not image.review],
        }


class Status(Detail):
    """The part of the result page that changes, for polling: 304 as long as it does not."""

    template_name = "cases/_status.html"

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Nothing for who has seen this state of the case; the part of the page for others."""
        case = polling.visible(current_user(request), pk)
        etag = polling.etag(case, polling.delayed(case))
        answer: HttpResponse = polling.unchanged(request, etag) or super().get(request, pk)
        answer["ETag"] = etag
        answer["Retry-After"] = str(polling.next_delay(request.GET.get("after", "")))
        add_never_cache_headers(answer)
        return answer


class Cancel(CaseView):
    """Cancel what has not ended."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Cancel, then show the case."""
        case = self.case(pk)
        try:
            services.cancel(case)
        except services.StateError as error:
            messages.warning(request, str(error))
        return redirect(case)


class AnalyseAgain(CaseView):
    """Let the present champion read all images again; reviewers and admins may name another version."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Queue, then show the case."""
        case = self.case(pk)
        form = AnalyseAgainForm(request.POST)
        if request.POST.get("version") and not current_user(request).has_perm(reviews.MAY_REVIEW):
            raise PermissionDenied
        try:
            if form.is_valid():
                services.analyse_again(case, form.cleaned_data["version"])
            else:
                messages.warning(request, str(form.errors["version"][0]))
        except (services.StateError, NoChampionError) as error:
            messages.warning(request, str(error))
        return redirect(case)


class SideBySide(LoginRequiredMixin, View):
    """What several analyses say of one image, each with its votes."""

    AT_ONCE = 4

    def get(self, request: HttpRequest, pk: Any, image_pk: Any) -> HttpResponse:
        """The analyses that were chosen, or the newest two."""
        visible = Image.objects.visible_to(current_user(request)).select_related("case")
        image = get_object_or_404(visible, pk=image_pk, case=pk)
        done = image.analyses.exclude(verdict="").select_related("model_version")
        choice = list(done.defer("votes"))
        asked = set(request.GET.getlist("analysis"))
        shown = [one.pk for one in choice if str(one.pk) in asked][: self.AT_ONCE] or [one.pk for one in choice[:2]]
        pictures = [Picture(image, analysis) for analysis in done.filter(pk__in=shown)]
        context = {"case": image.case, "image": image, "choice": choice, "shown": shown, "pictures": pictures}
        return render(request, "cases/side_by_side.html", context | {"at_once": self.AT_ONCE})
