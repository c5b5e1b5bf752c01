"""People and tokens in the admin."""

from __future__ import annotations

from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from knox.models import AuthToken

from patchvote.accounts import audit_sentences
from patchvote.accounts.models import User
from patchvote.core.admin_base import ReadOnlyAdmin

admin.site.site_header = admin.site.site_title = "Patchvote"
admin.site.index_title = _("Administration")


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User]):
    """People; their roles are their groups."""

    list_display = ["username", "first_name", "last_name", "roles", "is_active", "last_login"]
    list_filter = ["groups", "is_active"]
    date_hierarchy = None
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (_("Person"), {"fields": ["first_name", "last_name", "email"]}),
        (
            _("Role"),
            {
                "fields": ["groups", "is_active", "is_staff", "is_superuser"],
                "description": _(
                    "submitter: sends cases and sees its own. reviewer: sees all cases. admin: also this site."
                ),
            },
        ),
        (_("Dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [
        (None, {"classes": ["wide"], "fields": ["username", "usable_password", "password1", "password2", "groups"]})
    ]
    readonly_fields = ["last_login", "date_joined", "is_staff"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Nobody makes a superuser but a superuser."""
        fields = list(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else [*fields, "is_superuser"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a superuser (a password, say) but a superuser."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes a superuser but a superuser. Who has sent cases can only be made inactive."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_delete_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description=_("roles"))
    def roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all())


admin.site.unregister([AuthToken, Group, LogEntry])


@admin.register(Group)
class RoleAdmin(ReadOnlyAdmin):
    """The roles: the program knows their names, so they stay as they are."""

    fields = ["name"]


@admin.register(AuthToken)
class TokenAdmin(ReadOnlyAdmin):
    """API tokens: only their first characters and a hash are kept; here they can be revoked."""

    list_display = ["token_key", "user", "created", "expiry"]
    list_select_related = ["user"]
    search_fields = ["user__username", "token_key"]
    fields = ["token_key", "user", "created", "expiry"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who has the permission: this is how a token is revoked."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


class ActFilter(admin.SimpleListFilter):
    """What was done."""

    title = _("act")
    parameter_name = "act"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(name, act.label) for name, act in audit_sentences.ACTS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        return queryset.filter(additional_data__act=self.value()) if self.value() else queryset


@admin.register(LogEntry)
class AuditLogAdmin(ReadOnlyAdmin):
    """The audit log, read-only: who did what and when."""

    list_display = ["timestamp", "person", "sentence", "thing", "address"]
    list_display_links = ["timestamp"]
    list_filter = [ActFilter, "timestamp", ("actor", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["content_type", "actor"]
    search_fields = ["object_repr", "object_pk", "actor__username", "additional_data"]
    fields = ["timestamp", "person", "sentence", "thing", "address", "told", "additional_data"]
    readonly_fields = ["person", "sentence", "thing", "address", "told"]
    show_full_result_count = False

    @admin.display(description=_("who"), ordering="actor__username")
    def person(self, entry: LogEntry) -> str:
        return audit_sentences.person(entry) or "-"

    @admin.display(description=_("what"))
    def sentence(self, entry: LogEntry) -> str:
        return audit_sentences.sentence(entry)

    @admin.display(description=_("from the address"), ordering="remote_addr")
    def address(self, entry: LogEntry) -> str:
        return entry.remote_addr or "-"

    @admin.display(description=_("fields"))
    def told(self, entry: LogEntry) -> str:
        rows = format_html_join("", "<tr><th scope=row>{}</th><td>{}</td></tr>", audit_sentences.changes(entry))
        return format_html("<table>{}</table>", rows) if rows else "-"

    @admin.display(description=_("of"))
    def thing(self, entry: LogEntry) -> str:
        kind = entry.content_type
        try:
            url = reverse(f"admin:{kind.app_label}_{kind.model}_change", args=[entry.object_pk])
        except NoReverseMatch:
            return str(entry.object_repr)
        return format_html('<a href="{}">{}</a>', url, entry.object_repr)
