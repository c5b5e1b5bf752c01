"""URLs of sign-in and of the user's own account."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from patchvote.accounts import views

app_name = "accounts"
urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("", views.Account.as_view(), name="account"),
    path("password/", views.ChangePassword.as_view(), name="password"),
    path("tokens/<str:token_key>/revoke/", views.RevokeToken.as_view(), name="revoke-token"),
]
