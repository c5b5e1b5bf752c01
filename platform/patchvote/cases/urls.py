"""URLs of the pages of cases and reviews."""

from django.urls import path

from patchvote.cases import views
from patchvote.cases.review import views as review_views

app_name = "cases"
urlpatterns = [
    path("", views.CaseList.as_view(), name="list"),
    path("new/", views.Submit.as_view(), name="submit"),
    path("sample/", views.SubmitSample.as_view(), name="sample"),
    path("agreement/", review_views.AgreementPage.as_view(), name="agreement"),
    path("next-review/", review_views.NextCase.as_view(), name="next-review"),
    path("<uuid:pk>/", views.Detail.as_view(), name="detail"),
    path("<uuid:pk>/status/", views.Status.as_view(), name="status"),
    path("<uuid:pk>/cancel/", views.Cancel.as_view(), name="cancel"),
    path("<uuid:pk>/analyse-again/", views.AnalyseAgain.as_view(), name="analyse-again"),
    path("<uuid:pk>/images/<uuid:image_pk>/review/", review_views.Review.as_view(), name="review"),
    path("<uuid:pk>/images/<uuid:image_pk>/side-by-side/", views.SideBySide.as_view(), name="side-by-side"),
]
