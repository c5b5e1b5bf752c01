"""App configuration."""

from auditlog.apps import AuditlogConfig
from axes.apps import AppConfig as AxesConfig
from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """People and what they may do."""

    name = "patchvote.accounts"
    default = True  # of the configurations in this module
    verbose_name = _("Accounts")

    def ready(self) -> None:
        """Connect the rules that make the roles and give admins the admin site, and start the audit log."""
        from patchvote.accounts import audit, receivers, roles  # noqa: F401

        audit.track()


class TokensConfig(AppConfig):
    """django-rest-knox, by a name that people understand."""

    name = "knox"
    verbose_name = _("API tokens")


class AuditLogConfig(AuditlogConfig):
    """django-auditlog, by a name that people understand."""

    verbose_name = _("Audit log")


class SignInAttemptsConfig(AxesConfig):
    """django-axes, by a name that people understand."""

    verbose_name = _("Sign-in attempts")
