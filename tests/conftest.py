"""Fixtures for all tests: images, bundles, users, and a running installation."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from testing.images import encode, noise
from testing.paths import SHARED_IMAGES
from testing.stack import Stack


@pytest.fixture(scope="session")
def png() -> bytes:
    """A PNG file of BreakHis' size."""
    return encode(noise())


@pytest.fixture(scope="session")
def breakhis() -> Path:
    """The shared real images, where they are there."""
    if not SHARED_IMAGES.exists():
        pytest.skip("the shared BreakHis images are not here")
    return SHARED_IMAGES


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle with random weights of a small network."""
    import torch

    from classifier import bundle, networks

    torch.manual_seed(0)
    module = networks.create("squeezenet")
    metadata = bundle.BundleMetadata(
        name="tiny",
        network="squeezenet",
        normalisation=networks.spec("squeezenet").normalisation,
        threshold=0.5,
        synthetic=True,
    )
    return bundle.save(tmp_path_factory.mktemp("bundles") / "tiny", module.state_dict(), metadata)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A running installation for all tests that only use it."""
    # Jobs that tests kill on purpose need not wait longer each time.
    running = Stack(tmp_path_factory.mktemp("stack") / "data", PATCHVOTE_RETRY_SECONDS="0")
    running.start()
    yield running
    assert running.stop() == 0


# --- for tests inside Django ------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _plain_static_files(settings: Any) -> None:
    """Pages name static files as they lie: nothing was collected for tests inside Django."""
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


@pytest.fixture(autouse=True)
def _quick_passwords(settings: Any) -> None:
    """Hashing a password slowly, as it should be, would take a third of a second for each person and sign-in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def _leases_outlive_the_test(request: pytest.FixtureRequest, settings: Any) -> None:
    """Leases are renewed in a thread, which would wait 20 seconds for a lock that the test's own transaction holds."""
    mark = request.node.get_closest_marker("django_db")
    transactional = "transactional_db" in request.fixturenames or (mark and mark.kwargs.get("transaction"))
    if not transactional:
        settings.JOB_LEASE = timedelta(minutes=10)


@pytest.fixture(autouse=True)
def _own_language() -> Iterator[None]:
    """No test goes on in the language of the one before it."""
    yield
    translation.deactivate()


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    """Files of a test lie in its own folder; returns where uploads are kept."""
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.MODELS_DIR = tmp_path / "models"
    return Path(settings.MEDIA_ROOT)


@pytest.fixture
def tiny_champion(db: None, media: Path, tiny_bundle: Any) -> Any:
    """A registered model that serves."""
    from patchvote.registry import promotions, services

    version = services.register(tiny_bundle.folder, tried=True)
    promotions.promote(version)
    return version


@pytest.fixture
def make_user(db: None) -> Any:
    """Makes people: `make_user("ana", "reviewer")`."""
    from django.contrib.auth.models import Group

    from patchvote.accounts.models import User

    def make(name: str, role: str = "submitter") -> User:
        user = User.objects.create_user(name, password=f"{name}-secret-word")
        user.groups.add(Group.objects.get(name=role))
        return user

    return make


@pytest.fixture
def ana(make_user: Any) -> Any:
    """A submitter."""
    return make_user("ana")


@pytest.fixture
def rita(make_user: Any) -> Any:
    """A reviewer."""
    return make_user("rita", "reviewer")


@pytest.fixture
def upload(png: bytes) -> Any:
    """Makes uploaded files: `upload()`, or `upload(b"…", "name.png")`."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    return lambda data=None, name="slide.png": SimpleUploadedFile(name, png if data is None else data)


@pytest.fixture
def submit(tiny_champion: Any, upload: Any) -> Any:
    """Stores cases: `submit(user)`, `submit(user, file, file, reference="B-1")`."""
    from patchvote.cases import submissions

    return lambda user, *files, **fields: submissions.submit(user, files or [upload()], **fields).case


@pytest.fixture
def work() -> Any:
    """Does in this process what an inference worker does."""
    from patchvote.cases.inference import worker

    return worker.work


@pytest.fixture
def finish() -> Any:
    """Gives all open analyses a result without a network, which takes longer: 12 of 15 patches vote malignant."""
    from classifier.grid import COVER
    from classifier.votes import count
    from patchvote.cases.models import Analysis
    from patchvote.jobs import ledger

    def store() -> None:
        prediction = count(COVER.boxes(700, 460), [1.5] * 12 + [-2.0] * 3, threshold=0.5, temperature=1)
        for job in ledger.claim(Analysis, "test", 100):
            ledger.succeed([(job, prediction.as_dict())])

    return store


@pytest.fixture
def api(make_user: Any) -> Any:
    """API clients: `api(user)`, or without a user for nobody."""
    from rest_framework.test import APIClient

    def make(user: Any = None) -> Any:
        client = APIClient()
        if user is not None:
            from knox.models import AuthToken

            _, token = AuthToken.objects.create(user)
            client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
        return client

    return make
