"""What is said between parent and child, and what becomes of whatever goes wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from classifier import networks
from testing.options import FINETUNE
from trainer.schemas import Epoch, PatchMetrics
from trainer.worker import failures
from trainer.worker.failures import Names, failure
from trainer.worker.protocol import (
    ArchiveBounds,
    BundleOrder,
    CheckOrder,
    CompareOrder,
    EpochDone,
    LabelledFile,
    Progress,
    TrainOrder,
    read_event,
    read_order,
    read_outcome,
    write_order,
)


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = LabelledFile(path=Path("/a.png"), sha256="0", label="benign", patient="p")
    for order in (
        CheckOrder(archive=tmp_path / "a.zip", source=tmp_path, bounds=ArchiveBounds(max_ratio=3), cache=tmp_path),
        TrainOrder(source=tmp_path, name="a", options=FINETUNE, cache=tmp_path),
        CompareOrder(champion=tmp_path, candidate=tmp_path, images=(file,)),
        BundleOrder(archive=tmp_path, folder=tmp_path),
    ):
        write_order(tmp_path, order)
        assert read_order(tmp_path) == order


def test_a_line_that_was_broken_off_is_no_event() -> None:
    line = Progress(stage="Reading images", done=1, total=2, fraction=0.5).model_dump_json()
    assert read_event(line) == Progress(stage="Reading images", done=1, total=2, fraction=0.5)
    assert read_event(line[:-4]) is None
    assert read_event("Downloading …") is None


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), "out_of_memory", "smaller batch size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "out_of_memory", "smaller network"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", "more memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "Free some space"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk_full", "Free some space"),
        (networks.WeightsUnavailableError("The weights cannot be had. Connect."), "weights_unavailable", "Connect"),
        (ZeroDivisionError("division by zero in /srv/private/place/file.py"), "failed", "division by zero in file.py"),
        (KeyError(), "failed", "KeyError"),
    ],
)
def test_each_failure_has_its_code_and_sentence(error: Exception, code: str, words: str) -> None:
    failed = failure(error, Names({}))
    assert failed.code == code
    assert words in failed.message
    assert "/srv" not in failed.message


def test_paths_are_called_by_their_place_in_the_data_set() -> None:
    names = Names({Path("/srv/data"): "the folder", Path("/srv/data/sets/a b"): "the data set"})
    said = "Look at /srv/data/sets/a b/c/d.png, /srv/data/sets/a b, /srv/data/x.png and /etc/secret/keys: 3/4 of it."
    assert names.apply(said) == "Look at c/d.png, the data set, x.png and keys: 3/4 of it."


def test_an_outcome_is_there_completely_or_not_at_all(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    (tmp_path / "outcome.json").write_text('{"state": "succ')
    assert read_outcome(tmp_path) is None
    assert failures.failure(ValueError("x"), Names({})).state == "failed"


def test_an_epoch_without_a_validation_is_told(tmp_path: Path) -> None:
    epoch = Epoch(number=1, training=PatchMetrics(accuracy=0.5, loss=0.7))
    line = EpochDone(fold=0, folds=2, epoch=epoch).model_dump_json()
    assert read_event(line.encode()) == EpochDone(fold=0, folds=2, epoch=epoch)
