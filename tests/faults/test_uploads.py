"""Uploads that meet a dying web server, a locked database or a full disk: taken whole, or not at all."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import requests

from testing.faults.audit import files_out_of_place
from testing.faults.following import whole
from testing.faults.injections import busy_worker, killed_web_master, killed_web_worker, locked_database
from testing.faults.installation import Installation
from testing.faults.pages import SignedIn
from testing.faults.pictures import Pool
from testing.images import encode
from testing.processes import kill
from testing.stack import Client

pytestmark = [pytest.mark.faults, pytest.mark.slow]

MEGABYTE = 2**20


def grain(seed: int, side: int = 800) -> bytes:
    """An image that no format makes small: 1.8 MB unless said otherwise."""
    return encode(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def send(on: Installation, client: Client, image: bytes, key: str = "") -> requests.Response:
    """One request, whatever it is answered."""
    headers = {"Authorization": client._session.headers["Authorization"], "Idempotency-Key": key or uuid.uuid4().hex}
    files = {"images": ("slide.png", image)}
    return requests.post(f"{on.url}/api/v1/cases/", files=files, headers=headers, timeout=90)


def kept(on: Installation) -> tuple[int, int, int]:
    """Cases, images and files that are there."""
    rows = [on.database.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in ("cases_case", "cases_image")]
    return rows[0], rows[1], sum(path.is_file() for path in (on.folder / "media" / "originals").rglob("*"))


def test_an_upload_that_was_cut_off_leaves_nothing(installation: Installation, client: Client) -> None:
    before = kept(installation)
    image = grain(1, side=1200)
    body = requests.Request("POST", installation.url, files={"images": ("slide.png", image)}).prepare()
    half = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=60)
    half.putrequest("POST", "/api/v1/cases/")
    for name, value in {**body.headers, "Authorization": str(client._session.headers["Authorization"])}.items():
        half.putheader(name, value)
    assert isinstance(body.body, bytes)
    half.endheaders(body.body[: len(image) - MEGABYTE])
    uploads = installation.folder / "uploads"
    installation.wait_for("the upload to be on its way", lambda: any(uploads.iterdir()), 30)
    for pid in installation.web_workers():
        kill(pid)
    half.close()
    assert files_out_of_place(installation) == []
    assert kept(installation) == before


@pytest.mark.parametrize("fault", [killed_web_worker, killed_web_master])
def test_a_case_sent_again_after_the_web_server_died_is_one_case(
    installation: Installation, client: Client, chance: Random, pool: Pool, fault: Any
) -> None:
    before = kept(installation)[0]
    key = uuid.uuid4().hex
    first = send(installation, client, pool.files[0], key)
    with fault(installation, chance):
        pass

    def again() -> Any:
        try:
            answer = send(installation, client, pool.files[0], key)
        except requests.RequestException:
            return None
        return answer if answer.status_code == 202 else None

    second = installation.wait_for("an answer", again, 60)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"
    assert kept(installation)[0] == before + 1
    assert whole(client.finished(first.json()))


def test_a_database_locked_for_too_long_is_a_busy_server(
    installation: Installation, client: Client, chance: Random, pool: Pool
) -> None:
    working = client.submit(grain(2), reference="while locked")
    busy_worker(installation, chance)
    workers = set(installation.pids("inference"))
    before = kept(installation)
    with locked_database(installation, chance):
        started = time.monotonic()
        answer = send(installation, client, pool.files[1])
        time.sleep(max(0, 25 - (time.monotonic() - started)))
    assert kept(installation) == before
    assert whole(client.finished(working))
    assert set(installation.pids("inference")) == workers
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert whole(client.finished(send(installation, client, pool.files[1]).json()))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own, which root may mount."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leaving: int) -> Path:
    """Write a file as large as the disk allows, less what is left for others."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(MEGABYTE))
        file.truncate(path.stat().st_size - leaving)
    return path


def test_a_full_disk_takes_no_case_and_works_again_with_room(tmp_path: Path, pool: Pool) -> None:
    with small_disk(tmp_path / "data", megabytes=120):
        # By the usual margin so small a disk would never be healthy.
        margin: dict[str, Any] = {"PATCHVOTE_STORAGE_MARGIN_MB": "1"}
        on = Installation(tmp_path / "data", pool.bundle, workers=1, sweeps=1, **margin)
        on.start()
        try:
            client, person = on.connected(), SignedIn(on)
            assert whole(client.finished(client.submit(grain(3), reference="room")))
            before = kept(on)
            ballast = fill(on.folder, leaving=MEGABYTE)
            answer = send(on, client, grain(4))
            page = person.post("/cases/new/", {"magnification": "40X"}, images=("slide.png", grain(5)))
            full = kept(on)
            ballast.unlink()
            after = send(on, client, grain(4))
            assert whole(client.finished(after.json()))
        finally:
            on.stop()
    assert full == before
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert page.status_code == 507
    assert "text/html" in page.headers["Content-Type"]
