"""The classification tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trainer.data.records import CLASSES, SUBTYPES, LabelledImage

TaskName = Literal["malignancy", "subtype"]
"""`malignancy`: benign or malignant. `subtype`: the eight tumour types of BreakHis."""

TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


@dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes:
        name: See `TaskName`.
        classes: The classes, in the order of the logits.
    """

    name: TaskName
    classes: tuple[str, ...]

    def class_of(self, image: LabelledImage) -> str:
        """Return the class of an image; it is not one of `classes` if the image does not belong to the task."""
        return image.label if self.name == "malignancy" else image.subtype

    @property
    def binary(self) -> bool:
        """Whether the task has two classes, with class 1 as the positive one; a threshold is then chosen."""
        return len(self.classes) == 2  # noqa: PLR2004 (two classes)


TASKS: dict[TaskName, Task] = {
    "malignancy": Task("malignancy", CLASSES),
    "subtype": Task("subtype", SUBTYPES),
}
