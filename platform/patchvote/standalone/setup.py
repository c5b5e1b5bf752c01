"""What has to be there before anything starts; each step is skipped where it is done already."""

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
    """The account made at the first start; `password` is None where the environment gave it."""

    name: str
    password: str | None


def prepare() -> FirstAdmin | None:
    """Bring database, static files, model and first admin into place.

    Returns:
        The first admin if it was made just now.
    """
    for folder in (settings.DATA_DIR, settings.MEDIA_ROOT, settings.MODELS_DIR):
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    migrate()
    collect_static()
    register_shipped_model()
    return make_first_admin()


def migrate() -> None:
    """Apply migrations that are not applied yet."""
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
    """Register the bundle that comes with Patchvote; it becomes champion where there is none."""
    version = registry.register(bundle.SHIPPED, origin=Origin.SHIPPED)
    if not Alias.objects.filter(name=Alias.CHAMPION).exists():
        promotions.promote(version, gate=False)


def make_first_admin() -> FirstAdmin | None:
    """Make the account `admin` where there is no superuser yet."""
    # A person of that name whom somebody made a superuser no longer stays what he or she is.
    if User.objects.filter(Q(is_superuser=True) | Q(username=FIRST_ADMIN)).exists():
        return None
    given = settings.FIRST_ADMIN_PASSWORD
    password = given or secrets.token_urlsafe(12)
    user = User.objects.create_superuser(FIRST_ADMIN, password=password)
    user.groups.add(Group.objects.get(name=ADMIN))
    return FirstAdmin(user.username, None if given else password)
