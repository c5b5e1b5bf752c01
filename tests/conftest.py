"""What tests share: pictures, bundles, people, and a whole running installation."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
import weakref
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from django.utils import translation
from PIL import Image as Picture
from supervisor.xmlrpc import SupervisorTransport

from tests.postgres import create_database, drop_database

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data" / "breakhis"


def noise(width: int = 700, height: int = 460, seed: int = 0) -> np.ndarray:
    """A picture unlike any other, pinkish like tissue."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 120, (height // 20 + 1, width // 20 + 1, 3), dtype=np.uint8)
    pixels = coarse.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
    return (pixels + np.array([130, 60, 110], np.uint8)).astype(np.uint8)


def encode(pixels: np.ndarray | Picture.Image, file_format: str = "PNG", **options: Any) -> bytes:
    picture = pixels if isinstance(pixels, Picture.Image) else Picture.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


@pytest.fixture
def png() -> bytes:
    return encode(noise())


@pytest.fixture(scope="session")
def breakhis() -> Path:
    """The shared real images, where they are there."""
    if not SHARED.exists():
        pytest.skip("the shared BreakHis images are not here")
    return SHARED


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


class Stack:
    """A whole installation, started by `manage.py up` on a data folder and a port of its own.

    Where DATABASE_URL names a PostgreSQL server, it has a database of its own there, else SQLite in its data folder.
    """

    admin_password = "correct horse battery"

    def __init__(self, folder: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.output = ""
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}},
            **({} if "DATABASE_URL" in environment else self._own_database()),
            "PATCHVOTE_DATA": str(folder),
            "PATCHVOTE_ADMIN_PASSWORD": self.admin_password,
            "PORT": str(self.port),
            **environment,
        }
        self._log = folder.parent / f"{folder.name}-up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _own_database(self) -> dict[str, str]:
        server = os.environ.get("DATABASE_URL", "")
        if not server.startswith("postgres"):
            return {}
        name = f"patchvote-{uuid.uuid4().hex[:12]}"
        url = create_database(server, name)
        weakref.finalize(self, drop_database, server, name)  # once nobody has this stack any more
        return {"DATABASE_URL": url}

    def start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
        self.wait_for("to be ready", lambda: "Patchvote is ready" in self.printed(), seconds=180)

    def stop(self) -> int:
        """Ctrl-C, and the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def printed(self) -> str:
        if self._process is not None and self._process.poll() not in {None, 0}:
            raise AssertionError(f"manage.py up ended: {self._log.read_text()}")
        return self._log.read_text()

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def create_user(self, name: str, password: str, role: str) -> None:
        self.manage(
            "shell", "-c",
            "from django.contrib.auth.models import Group; from patchvote.accounts.models import User; "
            f"User.objects.create_user({name!r}, password={password!r}).groups.add(Group.objects.get(name={role!r}))",
        )  # fmt: skip

    def processes(self) -> dict[str, int]:
        """The process ids of what runs, by name."""
        return {process["name"]: process["pid"] for process in self.remote().supervisor.getAllProcessInfo()}

    def remote(self) -> Any:
        """Supervisord's XML-RPC."""
        socket_path = f"unix://{self.folder / 'run' / 'control.sock'}"
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, socket_path))

    def redis(self) -> Any:
        import redis

        return redis.Redis(unix_socket_path=str(self.folder / "run" / "redis.sock"))

    def client(self, name: str = "admin", password: str | None = None) -> Client:
        return Client(self, name, password or self.admin_password)

    @staticmethod
    def wait_for(what: str, condition: Any, seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s for {what}")


class Client:
    """An API client of a stack, over real HTTP."""

    def __init__(self, stack: Stack, name: str, password: str) -> None:
        self._api = f"{stack.url}/api/v1/"
        self._session = requests.Session()
        answer = self._session.post(f"{self._api}tokens/", json={"username": name, "password": password}, timeout=30)
        assert answer.status_code == 201, answer.text
        self.token = str(answer.json()["token"])
        self._session.headers["Authorization"] = f"Token {self.token}"

    def get(self, path: str) -> requests.Response:
        return self._session.get(self._url(path), timeout=30)

    def submit(self, *images: bytes, **fields: str) -> Any:
        files = [("images", (f"image-{i}.png", data, "image/png")) for i, data in enumerate(images)]
        answer = self._session.post(self._url("cases/"), files=files, data=fields, timeout=60)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def post(self, path: str, fields: dict[str, str], **files: tuple[str, bytes]) -> Any:
        """Send a form with files to be worked on."""
        answer = self._session.post(self._url(path), data=fields, files=files, timeout=120)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def post_json(self, path: str, content: Any, status: int = 202) -> Any:
        """Send JSON."""
        answer = self._session.post(self._url(path), json=content, timeout=60)
        assert answer.status_code == status, answer.text
        return answer.json()

    def finished(self, case: Any, seconds: float = 120) -> Any:
        """Wait until a case has ended, and return it."""

        def ended() -> Any:
            try:
                now = self.get(case["url"]).json()
            except requests.ConnectionError:  # a test killed the web server: what was left of it answered until now
                return None
            return now if now["state"] not in {"queued", "running"} else None

        return Stack.wait_for(f"case {case['id']}", ended, seconds)

    def _url(self, path: str) -> str:
        return path if re.match("https?://", path) else f"{self._api}{path}"


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
    from patchvote.registry import services

    version = services.register(tiny_bundle.folder)
    services.promote(version)
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
    from patchvote.cases import services

    return lambda user, *files, **fields: services.submit(user, files or [upload()], **fields).case


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
