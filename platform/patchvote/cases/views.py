"""Pages: the case list, the form that submits a case, and the result page."""

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
from patchvote.cases import polling, samples, services, submissions
from patchvote.cases.decoding import upload_limits
from patchvote.cases.filters import CaseFilter
from patchvote.cases.forms import AnalyseAgainForm, CaseForm, ReviewForm
from patchvote.cases.models import MAY_REVIEW, Case, Image
from patchvote.cases.presenters import ImagePresenter, model_versions
from patchvote.cases.submit_options import submit_options
from patchvote.cases.summaries import ids_by_review_status
from patchvote.core.pagination import BoundedPaginator
from patchvote.registry.services import NoChampionError, champion


class CaseList(LoginRequiredMixin, FilterView):
    """The case list: the cases that the user may see, newest first, with filters, search and pages."""

    template_name = "cases/list.html"
    filterset_class = CaseFilter
    paginator_class = BoundedPaginator
    paginate_by = 25

    def get_queryset(self) -> Any:
        """Return the visible cases with all that a row of the list shows."""
        visible = Case.objects.visible_to(current_user(self.request))
        return visible.select_related("submitter").with_images(votes=False)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the query string for the links between pages, the cases by synthetic models, and the review status."""
        query = self.request.GET.copy()
        query.pop("page", None)
        context: dict[str, Any] = super().get_context_data(
            query=query.urlencode(), filtered=any(query.values()), **kwargs
        )
        context["by_synthetic_model"] = {
            case.pk for case in context["page_obj"] if any(version.synthetic for version in model_versions(case))
        }
        if current_user(self.request).sees_all_cases:
            context |= ids_by_review_status(context["page_obj"])
        return context


class Submit(LoginRequiredMixin, FormView[CaseForm]):
    """The page with the form that submits a case."""

    template_name = "cases/submit.html"
    form_class = CaseForm

    def form_valid(self, form: CaseForm) -> HttpResponse:
        """Store the case and redirect to it, or show why each file was refused."""
        given = form.cleaned_data
        return self._submit(
            form, given["images"], given["reference"], notes=given["notes"], magnification=given["magnification"]
        )

    def form_invalid(self, form: CaseForm) -> HttpResponse:
        """Respond with status 400, so that scripts and caches notice the error."""
        return self.render_to_response(self.get_context_data(form=form), status=400)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the champion, which will analyse the images, and the upload limits."""
        try:
            version = champion()
        except NoChampionError:
            version = None
        limits = upload_limits(version)
        return super().get_context_data(
            champion=version,
            limits=limits,
            max_images=settings.UPLOAD_MAX_IMAGES,
            submit_options=submit_options(limits),
            **kwargs,
        )

    def _submit(self, form: CaseForm, files: list[File[bytes]], reference: str, **options: Any) -> HttpResponse:
        try:
            case = submissions.submit(current_user(self.request), files, reference=reference, **options).case
        except submissions.SubmissionError as error:
            for refusal in error.refusals:
                name = f"{refusal.filename}: " if refusal.filename else ""
                form.add_error("images", f"{name}{refusal.message}")
            return self.form_invalid(form)
        except NoChampionError as error:
            form.add_error(None, str(error))
            return self.form_invalid(form)
        return redirect(case)


class SubmitSample(Submit):
    """Submits a synthetic sample; its case stays marked as synthetic."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Create a sample and submit it."""
        del request, args, kwargs
        name, data = samples.synthetic_png()
        sample = ContentFile(data, name)
        return self._submit(CaseForm(), [sample], _("Synthetic sample"), synthetic=True)


class CaseView(LoginRequiredMixin, View):
    """The base view of the pages of one case; cases that the user may not see answer 404."""

    def case(self, pk: Any) -> Case:
        """Return the case with all that its page shows."""
        visible = Case.objects.visible_to(current_user(self.request)).select_related("submitter")
        return get_object_or_404(visible.with_images(earlier=True), pk=pk)


class Detail(CaseView):
    """The result page."""

    template_name = "cases/detail.html"

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Show the case."""
        del request
        return self.page(self.case(pk))

    def page(self, case: Case, *, refused: ReviewForm | None = None, status: int = 200) -> HttpResponse:
        """Render the case.

        Args:
            case: The case.
            refused: The invalid review form of one of its images.
            status: The status code of the response.
        """
        response = render(self.request, self.template_name, self.context(case, refused), status=status)
        add_never_cache_headers(response)
        return response

    def context(self, case: Case, refused: ReviewForm | None = None) -> dict[str, Any]:
        """Return the context of the template: the case, its images, and when to poll again."""
        delayed = polling.is_delayed(case)
        images = case.all_images
        versions = model_versions(case)
        user = current_user(self.request)
        may_review = user.has_perm(MAY_REVIEW)

        def present(image: Image) -> ImagePresenter:
            # Only after the case has ended: polling would overwrite what a reviewer types.
            form = ReviewForm(image) if may_review and case.ended else None
            if refused and refused.image == image:
                form = refused
            return ImagePresenter(image, image.analysis, services.duplicates_of(image, user), form)

        return {
            "case": case,
            "model_versions": versions,
            "synthetic_model": any(version.synthetic for version in versions),
            "pictures": [present(image) for image in images],
            "ended_images": sum(image.analysis is not None and image.analysis.ended for image in images),
            "poll_seconds": polling.next_delay(self.request.GET.get("after", "")),
            "etag": polling.etag(case, delayed),
            "delayed": delayed,
            "may_review": may_review,
            "again_form": AnalyseAgainForm() if may_review and case.ended else None,
            "unreviewed": [image for image in images if image.analysis and image.analysis.verdict and not image.review],
        }


class Status(Detail):
    """The part of the result page that polling replaces; 304 while it has not changed."""

    template_name = "cases/_status.html"

    def get(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Return 304 if the client has the current state of the case, else the part of the page."""
        case = polling.get_case(current_user(request), pk)
        etag = polling.etag(case, polling.is_delayed(case))
        response: HttpResponse = polling.not_modified(request, etag) or super().get(request, pk)
        response["ETag"] = etag
        response["Retry-After"] = str(polling.next_delay(request.GET.get("after", "")))
        add_never_cache_headers(response)
        return response


class Cancel(CaseView):
    """Cancels the analyses of a case that have not ended."""

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
    """Analyses all images again with the champion; reviewers and admins may choose another version."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Queue, then show the case."""
        case = self.case(pk)
        form = AnalyseAgainForm(request.POST)
        if request.POST.get("version") and not current_user(request).has_perm(MAY_REVIEW):
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
    """The page that compares several analyses of one image, each with its votes."""

    AT_ONCE = 4

    def get(self, request: HttpRequest, pk: Any, image_pk: Any) -> HttpResponse:
        """Show the chosen analyses, or the newest two."""
        visible = Image.objects.visible_to(current_user(request)).select_related("case")
        image = get_object_or_404(visible, pk=image_pk, case=pk)
        done = image.analyses.exclude(verdict="").select_related("model_version")
        choice = list(done.defer("votes"))
        wanted = set(request.GET.getlist("analysis"))
        shown = [one.pk for one in choice if str(one.pk) in wanted][: self.AT_ONCE] or [one.pk for one in choice[:2]]
        pictures = [ImagePresenter(image, analysis) for analysis in done.filter(pk__in=shown)]
        context = {"case": image.case, "image": image, "choice": choice, "shown": shown, "pictures": pictures}
        return render(request, "cases/side_by_side.html", context | {"at_once": self.AT_ONCE})
