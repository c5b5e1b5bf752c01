"""People."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.http import HttpRequest
from django.utils.functional import cached_property


class User(AbstractUser):
    """A person or a program. What it may do comes from its groups (`patchvote.accounts.roles`)."""

    @cached_property
    def role_names(self) -> frozenset[str]:
        """The names of its groups."""
        return frozenset(self.groups.values_list("name", flat=True))

    @property
    def sees_all_cases(self) -> bool:
        """Reviewers and admins see every case; the others their own."""
        return self.is_superuser or not self.role_names.isdisjoint({"reviewer", "admin"})


def current_user(request: HttpRequest) -> User:
    """Who makes a request that only signed-in people can make."""
    if not isinstance(request.user, User):
        raise TypeError("This view must be kept for people who signed in.")
    return request.user
