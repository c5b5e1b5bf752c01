"""The tasks: which classes an image is sorted into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from trainer.data.records import CLASSES, SUBTYPES, LabelledImage

TaskName = Literal["malignancy", "subtype"]
"""`malignancy`: benign or malignant. `subtype`: the eight tumour types of BreakHis."""

TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)


@dataclass(frozen=True)
class Task:
    """What is to be told apart.

    Attributes:
        name: See `TaskName`.
        classes: In the order of the logits.
    """

    name: TaskName
    classes: tuple[str, ...]

    def class_of(self, image: LabelledImage) -> str:
        """The class of an image; not one of `classes` where the image does not belong to the task."""
        return image.label if self.name == "malignancy" else image.subtype

    @property
    def binary(self) -> bool:
        """Whether there is a threshold to choose: class 1 is then the positive one, malignant."""
        return len(self.classes) == 2  # noqa: PLR2004 (two classes)


TASKS: dict[TaskName, Task] = {
    "malignancy": Task("malignancy", CLASSES),
    "subtype": Task("subtype", SUBTYPES),
}
