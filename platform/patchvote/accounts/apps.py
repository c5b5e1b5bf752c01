"""The configuration of the app `accounts` and of three libraries."""

from auditlog.apps import AuditlogConfig
from axes.apps import AppConfig as AxesConfig
from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """The app of users and their permissions."""

    name = "patchvote.accounts"
    default = True  # the default among the configurations in this module
    verbose_name = _("Accounts")

    def ready(self) -> None:
        """Connect the receivers and start the audit log."""
        from patchvote.accounts import audit, receivers, roles  # noqa: F401

        audit.track()


class TokensConfig(AppConfig):
    """The app django-rest-knox with a name for users."""

    name = "knox"
    verbose_name = _("API tokens")


class AuditLogConfig(AuditlogConfig):
    """The app django-auditlog with a name for users."""

    verbose_name = _("Audit log")


class SignInAttemptsConfig(AxesConfig):
    """The app django-axes with a name for users."""

    verbose_name = _("Sign-in attempts")
