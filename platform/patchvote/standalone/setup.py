"""The preparation of an installation; each step is skipped if it is done already."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q

from classifier import bundle
from patchvote.accounts.models import User
from patchvote.accounts.roles import ADMIN
from patchvote.registry import promotions
from patchvote.registry import services as registry
from patchvote.registry.models import Alias, Origin

FIRST_ADMIN = "admin"
_STATIC_STAMP = ".collected"


@dataclass(frozen=True)
class FirstAdmin:
    """The account that the first start creates.

    Attributes:
        name: The user name.
        password: The generated password; None if the environment set it.
    """

    name: str
    password: str | None


def prepare() -> FirstAdmin | None:
    """Prepare the database, the static files, the shipped model and the first admin.

    Returns:
        The first admin if this call created it, else None.
    """
    for folder in (settings.DATA_DIR, settings.MEDIA_ROOT, settings.MODELS_DIR):
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    migrate()
    collect_static()
    register_shipped_model()
    return create_first_admin()


def migrate() -> None:
    """Apply the pending migrations."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)


def collect_static() -> None:
    """Collect static files if any of them changed."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    stamp = Path(settings.STATIC_ROOT) / _STATIC_STAMP
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(digest.hexdigest())


def register_shipped_model() -> None:
    """Register the shipped bundle; it becomes champion if there is none."""
    version = registry.register(bundle.SHIPPED, origin=Origin.SHIPPED)
    if not Alias.objects.filter(name=Alias.CHAMPION).exists():
        promotions.promote(version, gate=False)


def create_first_admin() -> FirstAdmin | None:
    """Create the account `admin` unless there is a superuser."""
    # An existing account of that name keeps its password and its permissions.
    if User.objects.filter(Q(is_superuser=True) | Q(username=FIRST_ADMIN)).exists():
        return None
    given = settings.FIRST_ADMIN_PASSWORD
    password = given or secrets.token_urlsafe(12)
    user = User.objects.create_superuser(FIRST_ADMIN, password=password)
    user.groups.add(Group.objects.get(name=ADMIN))
    return FirstAdmin(user.username, None if given else password)
