"""The REST API, version 1."""

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.routers import SimpleRouter

from patchvote.accounts.api import TokenView
from patchvote.cases.api import CaseViewSet, ImageView
from patchvote.jobs.health import health
from patchvote.registry.api import ModelViewSet

router = SimpleRouter()
router.register("cases", CaseViewSet, basename="case")
router.register("models", ModelViewSet, basename="model")

# Swagger UI writes style attributes; its files come from this server.
docs = csp_update({"style-src": [SELF, UNSAFE_INLINE]})(
    SpectacularSwaggerSplitView.as_view(url_name="api:schema", permission_classes=[AllowAny])
)

app_name = "api"
urlpatterns = [
    path("tokens/", TokenView.as_view(), name="tokens"),
    path("images/<uuid:pk>/", ImageView.as_view(), name="image"),
    path("health/", health),
    path("schema/", SpectacularAPIView.as_view(permission_classes=[AllowAny]), name="schema"),
    path("docs/", docs, name="docs"),
    *router.urls,
]
