"""The root URL configuration."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from patchvote.jobs.health import health
from patchvote.jobs.metrics import MetricsView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="cases:list")),
    path("cases/", include("patchvote.cases.urls")),
    path("account/", include("patchvote.accounts.urls")),
    path("api/v1/", include("patchvote.config.api_urls")),
    path("admin/", admin.site.urls),
    path("language/", include("django.conf.urls.i18n")),
    path("health/", health, name="health"),
    path("metrics", MetricsView.as_view(), name="metrics"),
]

handler400 = "patchvote.core.error_views.bad_request"
handler404 = "patchvote.core.error_views.not_found"
handler500 = "patchvote.core.error_views.server_error"
