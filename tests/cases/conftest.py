"""What tests of cases share: verdicts as wanted, a second model version, reviewers, and what a worker claims."""

from __future__ import annotations

from typing import Any

import pytest

from patchvote.jobs import heartbeat, ledger


@pytest.fixture
def give_verdicts() -> Any:
    """Ends all open analyses: `give_verdicts("benign")`, each with votes that amount to it."""
    from classifier.grid import COVER
    from classifier.votes import count
    from patchvote.cases.models import Analysis

    def give(verdict: str = "malignant") -> None:
        logits = [2.0] * 12 + [-1.0] * 3 if verdict == "malignant" else [-2.0] * 12 + [1.0] * 3
        prediction = count(COVER.boxes(700, 460), logits, threshold=0.5, temperature=1)
        ledger.succeed([(job, prediction.as_dict()) for job in ledger.claim(Analysis, "test", 100)])

    return give


@pytest.fixture
def case(submit: Any, ana: Any, give_verdicts: Any) -> Any:
    """A case of one image, called malignant by the champion."""
    case = submit(ana, reference="B-1")
    give_verdicts("malignant")
    case.refresh_from_db()
    return case


@pytest.fixture(scope="session")
def second_bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Like `tiny_bundle`, with other weights."""
    import torch

    from classifier import bundle, networks

    torch.manual_seed(1)
    metadata = bundle.BundleMetadata(
        name="tiny",
        network="squeezenet",
        normalisation=networks.spec("squeezenet").normalisation,
        threshold=0.5,
        synthetic=True,
    )
    folder = tmp_path_factory.mktemp("bundles") / "second"
    return bundle.save(folder, networks.create("squeezenet").state_dict(), metadata)


@pytest.fixture
def second_version(tiny_champion: Any, second_bundle: Any) -> Any:
    """A registered model that does not serve."""
    from patchvote.registry import services

    return services.register(second_bundle.folder, tried=True)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Tells the worker to stop; it forgets that when the test ends."""
    yield heartbeat.stop
    heartbeat._stop.clear()


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many analyses each claim took."""
    sizes: list[int] = []
    claim = ledger.claim

    def counted(*args: Any, **options: Any) -> Any:
        jobs = claim(*args, **options)
        sizes.append(len(jobs))
        return jobs

    from patchvote.cases.inference import worker

    monkeypatch.setattr(ledger, "claim", counted)
    monkeypatch.setattr(worker.InferenceRun, "batch_size", 64)
    monkeypatch.setattr(worker.InferenceRun, "patches_an_image", 15)
    return sizes
