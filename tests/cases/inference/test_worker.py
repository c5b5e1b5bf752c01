"""What an inference worker does with what it claims, and what it does when it is told to stop."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from patchvote.cases import services, thumbnails
from patchvote.cases.inference import model_cache, worker
from patchvote.cases.inference.batches import Batch
from patchvote.cases.models import Analysis, Case
from patchvote.jobs import ledger
from patchvote.jobs.models import State, Worker
from patchvote.registry import promotions
from testing.cases import states
from testing.images import encode, noise

SMALL = encode(noise(230, 230))


def test_images_that_fill_a_batch_are_taken_at_once(submit: Any, ana: Any, work: Any, claims: list[int]) -> None:
    for _ in range(6):
        submit(ana)
    work()
    assert [size for size in claims if size] == [4, 2]
    assert states() == [("succeeded", 1)] * 6


def test_small_images_make_larger_claims(
    submit: Any, ana: Any, upload: Any, work: Any, claims: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        submit(ana, upload(SMALL))
    monkeypatch.setattr(worker.InferenceRun, "batch_size", 45)
    monkeypatch.setattr(worker.InferenceRun, "patches_an_image", 15)
    work()
    assert claims[0] == 3
    assert max(claims) > 4
    assert states() == [("succeeded", 1)] * 20


def test_workers_share_what_waits(submit: Any, ana: Any, work: Any, claims: list[int]) -> None:
    Worker.objects.create(name="this", queue="inference")
    Worker.objects.create(name="other", queue="inference")
    for _ in range(4):
        submit(ana)
    work()
    assert claims[0] == 2


def test_what_was_tried_is_computed_alone(submit: Any, ana: Any, work: Any, claims: list[int]) -> None:
    for _ in range(4):
        submit(ana)
    oldest = Analysis.objects.order_by("queued_at").first()
    Analysis.objects.filter(pk=oldest.pk).update(attempts=1)
    work()
    assert [size for size in claims if size] == [1, 3]


def test_a_worker_that_is_told_to_stop_gives_back_what_it_has_not_begun(
    submit: Any, ana: Any, work: Any, claims: list[int], stop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        submit(ana)
    claim = ledger.claim

    def stopped_meanwhile(*arguments: Any, untried: bool = False) -> Any:
        claimed = claim(*arguments, untried=untried)
        if untried:  # beside the first batch
            stop()
        return claimed

    monkeypatch.setattr(ledger, "claim", stopped_meanwhile)
    work()
    assert states() == [("queued", 0)] * 3 + [("succeeded", 1)] * 4


def test_what_would_take_long_is_given_back(
    submit: Any, ana: Any, upload: Any, work: Any, stop: Any, monkeypatch: pytest.MonkeyPatch, tiny_champion: Any
) -> None:
    predictor = model_cache.load(tiny_champion).result()
    monkeypatch.setattr(predictor, "batch_size", 1)
    monkeypatch.setattr(worker, "SECONDS_TO_FINISH", 0)
    start = predictor.start

    def stopped_meanwhile(images: Any) -> Any:
        stop()
        return start(images)

    monkeypatch.setattr(predictor, "start", stopped_meanwhile)
    case = submit(ana)
    work()
    assert states() == [("queued", 0)]
    case.refresh_from_db()
    assert case.state == State.QUEUED


def test_a_long_analysis_shows_how_far_it_has_come(
    submit: Any, ana: Any, work: Any, monkeypatch: pytest.MonkeyPatch, tiny_champion: Any
) -> None:
    monkeypatch.setattr(model_cache.load(tiny_champion).result(), "batch_size", 5)
    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0)
    told: list[tuple[float, int]] = []  # share and revision
    report_progress = services.report_progress

    def listen(*args: Any) -> bool:
        held = report_progress(*args)
        told.append((Analysis.objects.get().progress, Case.objects.get().revision))
        return held

    monkeypatch.setattr(services, "report_progress", listen)
    submit(ana)
    work()
    shares, revisions = zip(*told, strict=True)
    assert len(told) > 1
    assert shares == tuple(sorted(set(shares)))
    assert 0 < shares[0] < shares[-1] < 1
    assert revisions == tuple(sorted(set(revisions)))
    assert revisions[-1] < Case.objects.get().revision
    assert Analysis.objects.get().progress == 1


def test_what_is_cancelled_meanwhile_is_not_computed_to_its_end(
    submit: Any, ana: Any, work: Any, monkeypatch: pytest.MonkeyPatch, tiny_champion: Any
) -> None:
    predictor = model_cache.load(tiny_champion).result()
    monkeypatch.setattr(predictor, "batch_size", 1)
    monkeypatch.setattr(worker, "PROGRESS_SECONDS", 0)
    case = submit(ana)
    passes: list[int] = []
    cancelled = threading.Event()
    forward, report_progress = predictor._forward, services.report_progress

    def compute(inputs: Any) -> Any:
        passes.append(1)
        if len(passes) > 2:
            cancelled.wait(10)
            time.sleep(0.1)
        return forward(inputs)

    def cancel_meanwhile(*args: Any) -> bool:
        services.cancel(case)
        held = report_progress(*args)
        cancelled.set()
        return held

    monkeypatch.setattr(predictor, "_forward", compute)
    monkeypatch.setattr(services, "report_progress", cancel_meanwhile)
    work()
    assert len(passes) < 15
    assert states() == [("cancelled", 1)]


def test_an_error_that_ends_the_run_leaves_the_rest_to_others(
    submit: Any, ana: Any, work: Any, claims: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        submit(ana)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(ledger, "succeed", full)
    with pytest.raises(OSError, match="input/output"):
        work()
    assert states() == [("queued", 0)] * 2 + [("running", 1)] * 4


def test_previews_are_there_before_anybody_asks(submit: Any, ana: Any, work: Any, media: Path) -> None:
    image = submit(ana).images.get()
    work()
    made = {path.name for path in (media / "previews").rglob("*.jpg")}
    assert made == {f"{image.pk.hex}-{size}.jpg" for size in thumbnails.SIZES}


def test_the_next_champion_is_loaded_before_its_first_case(
    submit: Any, ana: Any, work: Any, second_version: Any, tiny_champion: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(ana)
    work()
    promotions.promote(second_version, gate=False)
    model_cache._loaded.pop(second_version.sha256, None)
    monkeypatch.setattr(model_cache, "_preloaded", tiny_champion.sha256)
    worker.preload_champion()
    loading = model_cache._loaded[second_version.sha256]
    assert loading.result().bundle.sha256 == second_version.sha256
    assert tiny_champion.sha256 in model_cache._loaded
    submit(ana)
    work()
    assert model_cache._loaded[second_version.sha256] is loading


def test_a_model_that_could_not_be_loaded_is_tried_again(submit: Any, ana: Any, work: Any, tiny_champion: Any) -> None:
    model_cache._loaded.clear()
    weights = tiny_champion.folder / "model.safetensors"
    hidden = weights.rename(weights.with_suffix(".hidden"))
    submit(ana)
    work()
    assert states() == [("failed", 1)]
    hidden.rename(weights)
    submit(ana)
    work()
    assert states() == [("failed", 1), ("succeeded", 1)]


def test_a_worker_that_hangs_ends_itself(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import time; from datetime import timedelta; from patchvote.cases.inference.watchdog import Watchdog\n"
        "dog = Watchdog(timedelta(seconds=0.2)); dog.check(); time.sleep(0.1); dog.reset(); time.sleep(0.15)\n"
        "dog.check(); print('alive', flush=True); time.sleep(0.3); dog.check(); print('not reached')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "alive\n"
    assert done.returncode == -9
    assert "this worker kills itself" in done.stderr


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_leases_of_what_waits_its_turn_are_renewed(
    submit: Any, ana: Any, work: Any, claims: list[int], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOB_LEASE = timedelta(seconds=0.6)
    for _ in range(6):
        submit(ana)
    prepare = Batch.prepare
    swept: list[tuple[int, int]] = []

    def slow(*arguments: Any) -> None:
        prepare(*arguments)
        time.sleep(1.2)
        swept.append(ledger.sweep(Analysis))

    monkeypatch.setattr(Batch, "prepare", slow)
    work()
    assert len(swept) > 1 and set(swept) == {(0, 0)}
    assert states() == [("succeeded", 1)] * 6


def test_a_champion_that_cannot_be_loaded_is_said_once(
    tiny_champion: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_cache._loaded.clear()
    monkeypatch.setattr(model_cache, "_preloaded", "")
    (tiny_champion.folder / "metadata.json").write_text("{}")
    for _ in range(3):
        worker.preload_champion()
        model_cache._loader.submit(int).result()
    assert caplog.text.count("the next model version cannot be loaded") == 1


@pytest.mark.parametrize(
    "error", [OperationalError("database is locked"), RuntimeError("cannot schedule new futures")], ids=type
)
@pytest.mark.parametrize("images", [1, 6])
def test_a_claim_ahead_that_fails_costs_the_current_batch_nothing(
    submit: Any,
    ana: Any,
    work: Any,
    claims: list[int],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    images: int,
) -> None:
    for _ in range(images):
        submit(ana)
    claim = ledger.claim

    def locked(*args: Any, **options: Any) -> Any:
        if options.get("untried"):
            raise error
        return claim(*args, **options)

    monkeypatch.setattr(ledger, "claim", locked)
    work()
    assert states() == [("succeeded", 1)] * images
