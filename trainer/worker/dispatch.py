"""Execute an order of any kind."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import BinaryIO

from trainer.schemas import FrozenModel
from trainer.utils.progress import Stage, listening
from trainer.worker.event_writer import EventWriter
from trainer.worker.failures import Names, failure
from trainer.worker.protocol import (
    BundleOrder,
    CheckOrder,
    CompareOrder,
    Order,
    Outcome,
    Succeeded,
    TrainOrder,
    read_order,
)

logger = logging.getLogger(__name__)

_DRAFTS = (".part-*", ".bundle-*")  # unfinished files of a killed child


def perform(folder: Path, output: BinaryIO) -> Outcome:
    """Execute the order in a folder; a failure is an outcome as well.

    Args:
        folder: The folder, locked for this process.
        output: The stream for events.
    """
    names = Names({folder: "the folder"})
    try:
        order = read_order(folder)
        names = _names(order, folder)
        _remove_drafts(folder)
        logger.info("order %s: started", order.kind)
        result = _work(order, folder, output)
    except Exception as error:
        logger.exception("order failed")
        return failure(error, names)
    logger.info("order %s: done", order.kind)
    return Succeeded(result=result.model_dump(mode="json"))


def _work(order: Order, folder: Path, output: BinaryIO) -> FrozenModel:
    """Execute the order and report its progress.

    Each kind imports its own module, because PyTorch takes seconds to load and the check of a data set needs none.
    """
    writer = EventWriter(output)
    with listening(writer):
        if isinstance(order, CheckOrder):
            from trainer.worker.check import check

            writer.expect({Stage.UNPACKING: 1, Stage.READING: 3} if order.archive else {Stage.READING: 1})
            return check(order)
        if isinstance(order, TrainOrder):
            from trainer.worker.train import train

            return train(order, folder, writer)
        if isinstance(order, CompareOrder):
            from trainer.worker.compare import compare

            writer.expect({Stage.JUDGING: 1})
            return compare(order, folder)
        from trainer.worker.bundle import try_bundle

        writer.expect({Stage.TRYING: 1})
        return try_bundle(order)


def _names(order: Order, folder: Path) -> Names:
    """Return names for paths in messages.

    Files of the data set are named by their relative path, other files by a description.
    """
    places = {folder: "the folder"}
    if isinstance(order, CheckOrder | TrainOrder):
        places |= {order.source: "the data set", order.cache: "the cache"}
    if isinstance(order, CheckOrder) and order.archive is not None:
        places[order.archive] = "the archive"
    elif isinstance(order, CompareOrder):
        places |= {order.champion: "the champion", order.candidate: "the candidate"}
        places |= {image.path.parent: "the images" for image in order.images}
    elif isinstance(order, BundleOrder):
        places |= {order.archive: "the uploaded file", order.folder: "the bundle"}
    return Names(places)


def _remove_drafts(folder: Path) -> None:
    for pattern in _DRAFTS:
        for path in folder.rglob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
