"""The roles, which are Django groups: submitter, reviewer and admin."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models.signals import m2m_changed, post_migrate
from django.dispatch import receiver

from patchvote.accounts.models import User

SUBMITTER = "submitter"
REVIEWER = "reviewer"
ADMIN = "admin"
ROLES = (SUBMITTER, REVIEWER, ADMIN)

ADMIN_PERMISSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "accounts": {"user": ("view", "add", "change", "delete")},
    "auditlog": {"logentry": ("view",)},
    "auth": {"group": ("view",)},
    "axes": {"accessattempt": ("view", "delete")},
    "cases": {"case": ("view",), "image": ("view",), "analysis": ("view",), "review": ("view", "add")},
    "jobs": {"worker": ("view",)},
    "knox": {"authtoken": ("view", "delete")},
    "training": {
        "dataset": ("view", "add", "delete"),
        "datasetimage": ("delete",),
        "trainingrun": ("view", "add"),
        "comparison": ("view", "add"),
    },
    "registry": {"modelversion": ("view", "promote"), "promotion": ("view",), "bundleupload": ("view", "add")},
}
"""The permissions of the group admin in the admin site, by app and model."""

REVIEWER_PERMISSIONS: dict[str, dict[str, tuple[str, ...]]] = {"cases": {"review": ("add",)}}
"""The permissions of the group reviewer besides seeing all cases."""


@receiver(post_migrate)
def create_roles(sender: AppConfig, using: str, **_: Any) -> None:
    """Create the groups and add their permissions for the migrated app."""
    if sender.label not in ADMIN_PERMISSIONS:
        return
    groups = {role: Group.objects.using(using).get_or_create(name=role)[0] for role in ROLES}
    create_permissions(sender, using=using, verbosity=0)
    for role, allowed in ((REVIEWER, REVIEWER_PERMISSIONS), (ADMIN, ADMIN_PERMISSIONS)):
        names = [f"{act}_{model}" for model, acts in allowed.get(sender.label, {}).items() for act in acts]
        permissions = Permission.objects.using(using).filter(content_type__app_label=sender.label, codename__in=names)
        groups[role].permissions.add(*permissions)


@receiver(m2m_changed, sender=User.groups.through)
def give_admins_the_admin_site(
    instance: User | Group, action: str, pk_set: set[int] | None, *, reverse: bool, **_: Any
) -> None:
    """Give new members of the group admin access to the admin site, and revoke it from users who leave the group."""
    if action not in {"post_add", "post_remove", "post_clear"}:
        return
    changed = (pk_set or ()) if reverse else [instance.pk]  # reverse: the group's relation was changed
    users = User.objects.filter(pk__in=changed)
    admins = User.objects.filter(groups__name=ADMIN)
    users.filter(pk__in=admins, is_staff=False).update(is_staff=True)
    users.exclude(pk__in=admins).filter(is_superuser=False, is_staff=True).update(is_staff=False)
    if not reverse and isinstance(instance, User):
        instance.refresh_from_db(fields=["is_staff"])
        instance.__dict__.pop("role_names", None)
