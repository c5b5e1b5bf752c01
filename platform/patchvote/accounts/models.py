"""The model of users."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.http import HttpRequest
from django.utils.functional import cached_property


class User(AbstractUser):
    """A person or a program. Its groups define its permissions (`patchvote.accounts.roles`)."""

    @cached_property
    def role_names(self) -> frozenset[str]:
        """The names of the user's groups."""
        return frozenset(self.groups.values_list("name", flat=True))

    @property
    def sees_all_cases(self) -> bool:
        """Whether the user sees all cases: reviewers and admins do, others see their own."""
        return self.is_superuser or not self.role_names.isdisjoint({"reviewer", "admin"})


def current_user(request: HttpRequest) -> User:
    """Return the user of a request to a view that requires a signed-in user.

    Raises:
        TypeError: If the user is anonymous: the view lacks its protection.
    """
    if not isinstance(request.user, User):
        raise TypeError("This view must require a signed-in user.")
    return request.user
