"""Sign-in, and the user's own account: password and tokens."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache
from knox.models import get_token_model

NEW_TOKEN_COOKIE = "patchvote_new_token"  # noqa: S105 (the name of a cookie)
"""The cookie that carries a new token to the page that shows it: the server stores no token in plain text."""

_SHOW_WITHIN_SECONDS = 60


def attempted_username(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """Return the user name of a sign-in attempt, cut to the length of the column: PostgreSQL does not truncate."""
    name = (credentials or request.POST).get("username") or ""
    return str(name).replace("\0", "")[:255]


def lockout_response(request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """Return the response after too many wrong passwords: JSON under /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        sentence = _("Too many wrong passwords. Try again in a quarter of an hour.")
        return JsonResponse({"detail": sentence, "code": "throttled"}, status=429)
    return render(request, "429.html", status=429)


class SignIn(auth_views.LoginView):
    """The sign-in page."""

    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: Any) -> HttpResponse:
        """Move the focus to the password after a wrong one."""
        form.fields["username"].widget.attrs.pop("autofocus", None)
        form.fields["password"].widget.attrs["autofocus"] = True
        return super().form_invalid(form)


class ChangePassword(auth_views.PasswordChangeView):
    """The page for changing the password."""

    template_name = "accounts/password.html"
    success_url = reverse_lazy("accounts:account")

    def form_valid(self, form: Any) -> HttpResponse:
        """Confirm the change with a message."""
        messages.success(self.request, _("Your password was changed."))
        return super().form_valid(form)


@method_decorator(never_cache, name="dispatch")
class Account(LoginRequiredMixin, View):
    """The page of the user's roles and API tokens."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the page, once with the token that was just created."""
        new_token = request.get_signed_cookie(NEW_TOKEN_COOKIE, None, max_age=_SHOW_WITHIN_SECONDS)
        tokens = get_token_model().objects.filter(user=request.user).order_by("-created")
        response = render(request, "accounts/account.html", {"tokens": tokens, "new_token": new_token})
        if new_token:
            response.delete_cookie(NEW_TOKEN_COOKIE, path=request.path, samesite="Strict")
        return response

    def post(self, request: HttpRequest) -> HttpResponse:
        """Create a token and redirect to the page that shows it, so that a reload creates no second token."""
        _instance, token = get_token_model().objects.create(user=request.user)
        response = redirect("accounts:account")
        response.set_signed_cookie(
            NEW_TOKEN_COOKIE,
            token,
            max_age=_SHOW_WITHIN_SECONDS,
            path=request.path,
            secure=settings.HTTPS,
            httponly=True,
            samesite="Strict",
        )
        return response


class RevokeToken(LoginRequiredMixin, View):
    """The action that revokes one of the user's own tokens."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, token_key: str) -> HttpResponse:
        """Delete the token."""
        tokens = get_token_model().objects.filter(user=request.user)
        get_object_or_404(tokens, token_key=token_key).delete()
        messages.success(request, _("The token was revoked."))
        return redirect("accounts:account")
