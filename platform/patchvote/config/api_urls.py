"""The REST API, version 1."""

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.routers import SimpleRouter

from patchvote.accounts.api import TokenView
from patchvote.cases.api import CaseViewSet, ImageView
from patchvote.cases.review.api import ReviewsView
from patchvote.jobs.health import health
from patchvote.registry.api import BundleUploadViewSet, ModelViewSet, PromotionViewSet
from patchvote.training.api import CompareViewSet, ComparisonViewSet, DataSetViewSet, PromoteViewSet, RunViewSet

router = SimpleRouter()
router.register("cases", CaseViewSet, basename="case")
router.register("data-sets", DataSetViewSet, basename="data-set")
router.register("training-runs", RunViewSet, basename="training-run")
router.register("comparisons", ComparisonViewSet, basename="comparison")
router.register("models", ModelViewSet, basename="model")
router.register("bundle-uploads", BundleUploadViewSet, basename="bundle-upload")
router.register("promotions", PromotionViewSet, basename="promotion")

# Swagger UI sets style attributes. Its files are served from here, so the page works offline.
docs = csp_update({"style-src": [SELF, UNSAFE_INLINE]})(
    SpectacularSwaggerSplitView.as_view(url_name="api:schema", permission_classes=[AllowAny])
)

app_name = "api"
urlpatterns = [
    path("tokens/", TokenView.as_view(), name="tokens"),
    path("images/<uuid:pk>/", ImageView.as_view(), name="image"),
    path("images/<uuid:pk>/reviews/", ReviewsView.as_view(), name="reviews"),
    path("models/<uuid:pk>/compare/", CompareViewSet.as_view({"post": "create"}), name="model-compare"),
    path("models/<uuid:pk>/promote/", PromoteViewSet.as_view({"post": "create"}), name="model-promote"),
    path("health/", health),
    path("schema/", SpectacularAPIView.as_view(permission_classes=[AllowAny]), name="schema"),
    path("docs/", docs, name="docs"),
    *router.urls,
]
