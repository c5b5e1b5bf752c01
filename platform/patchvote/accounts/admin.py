"""The admin of users, roles, API tokens and the audit log."""

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
    """The admin of users; their roles are their groups."""

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
                    "submitter: submits cases and sees only these. reviewer: sees and reviews all cases. "
                    "admin: also uses this site."
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
        """Make `is_superuser` read-only unless the user is a superuser."""
        fields = list(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else [*fields, "is_superuser"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may change the object; only superusers may change a superuser."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may delete the object; only superusers may delete a superuser.

        Users who have submitted cases cannot be deleted, only deactivated.
        """
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
    """The read-only list of roles: the program depends on their names."""

    fields = ["name"]


@admin.register(AuthToken)
class TokenAdmin(ReadOnlyAdmin):
    """The admin of API tokens, where tokens can be revoked; only a hash and the first characters are stored."""

    list_display = ["token_key", "user", "created", "expiry"]
    list_select_related = ["user"]
    search_fields = ["user__username", "token_key"]
    fields = ["token_key", "user", "created", "expiry"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may delete tokens: deleting a token revokes it."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


class ActFilter(admin.SimpleListFilter):
    """A filter by the kind of act."""

    title = _("act")
    parameter_name = "act"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(name, act.label) for name, act in audit_sentences.ACTS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[LogEntry]) -> QuerySet[LogEntry]:
        return queryset.filter(additional_data__act=self.value()) if self.value() else queryset


@admin.register(LogEntry)
class AuditLogAdmin(ReadOnlyAdmin):
    """The audit log, read-only: who did what and when."""

    list_display = ["timestamp", "actor_name", "sentence", "object_link", "address"]
    list_display_links = ["timestamp"]
    list_filter = [ActFilter, "timestamp", ("actor", admin.RelatedOnlyFieldListFilter)]
    list_select_related = ["content_type", "actor"]
    search_fields = ["object_repr", "object_pk", "actor__username", "additional_data"]
    fields = ["timestamp", "actor_name", "sentence", "object_link", "address", "field_changes", "additional_data"]
    readonly_fields = ["actor_name", "sentence", "object_link", "address", "field_changes"]
    show_full_result_count = False

    @admin.display(description=_("who"), ordering="actor__username")
    def actor_name(self, entry: LogEntry) -> str:
        return audit_sentences.actor_name(entry) or "-"

    @admin.display(description=_("what"))
    def sentence(self, entry: LogEntry) -> str:
        return audit_sentences.sentence(entry)

    @admin.display(description=_("from the address"), ordering="remote_addr")
    def address(self, entry: LogEntry) -> str:
        return entry.remote_addr or "-"

    @admin.display(description=_("fields"))
    def field_changes(self, entry: LogEntry) -> str:
        rows = format_html_join("", "<tr><th scope=row>{}</th><td>{}</td></tr>", audit_sentences.changes(entry))
        return format_html("<table>{}</table>", rows) if rows else "-"

    @admin.display(description=_("object"))
    def object_link(self, entry: LogEntry) -> str:
        kind = entry.content_type
        try:
            url = reverse(f"admin:{kind.app_label}_{kind.model}_change", args=[entry.object_pk])
        except NoReverseMatch:
            return str(entry.object_repr)
        return format_html('<a href="{}">{}</a>', url, entry.object_repr)
