"""Signing in, and a person's own account: password and tokens."""

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

SHOWN_ONCE = "patchvote_new_token"
"""The cookie that carries a new token to the page that shows it: the server itself stores no token in clear."""

_SHOW_WITHIN_SECONDS = 60


def tried_name(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """The name that somebody tries, as long as the table of attempts takes it: PostgreSQL cuts nothing by itself."""
    name = (credentials or request.POST).get("username") or ""
    return str(name).replace("\0", "")[:255]


def locked_out(request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """The answer after too many wrong passwords: JSON for programs, a page for people."""
    if request.path.startswith("/api/"):
        sentence = _("Too many wrong passwords. Try again in a quarter of an hour.")
        return JsonResponse({"detail": sentence, "code": "throttled"}, status=429)
    return render(request, "429.html", status=429)


class SignIn(auth_views.LoginView):
    """The sign-in page."""

    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: Any) -> HttpResponse:
        """After a wrong password the cursor waits where it is typed again."""
        form.fields["username"].widget.attrs.pop("autofocus", None)
        form.fields["password"].widget.attrs["autofocus"] = True
        return super().form_invalid(form)


class ChangePassword(auth_views.PasswordChangeView):
    """A new password."""

    template_name = "accounts/password.html"
    success_url = reverse_lazy("accounts:account")

    def form_valid(self, form: Any) -> HttpResponse:
        """Say that it worked."""
        messages.success(self.request, _("Your password was changed."))
        return super().form_valid(form)


@method_decorator(never_cache, name="dispatch")
class Account(LoginRequiredMixin, View):
    """A person's roles and API tokens."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """The page, this once with the token that was just made."""
        new_token = request.get_signed_cookie(SHOWN_ONCE, None, max_age=_SHOW_WITHIN_SECONDS)
        tokens = get_token_model().objects.filter(user=request.user).order_by("-created")
        response = render(request, "accounts/account.html", {"tokens": tokens, "new_token": new_token})
        if new_token:
            response.delete_cookie(SHOWN_ONCE, path=request.path, samesite="Strict")
        return response

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make a token, and show it on the page that follows: a reload makes no second one."""
        _instance, token = get_token_model().objects.create(user=request.user)
        response = redirect("accounts:account")
        response.set_signed_cookie(
            SHOWN_ONCE,
            token,
            max_age=_SHOW_WITHIN_SECONDS,
            path=request.path,
            secure=settings.HTTPS,
            httponly=True,
            samesite="Strict",
        )
        return response


class RevokeToken(LoginRequiredMixin, View):
    """Delete one of one's own tokens."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, token_key: str) -> HttpResponse:
        """Delete it."""
        tokens = get_token_model().objects.filter(user=request.user)
        get_object_or_404(tokens, token_key=token_key).delete()
        messages.success(request, _("The token was revoked."))
        return redirect("accounts:account")
