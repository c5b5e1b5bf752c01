"""BreakHis's official fold lists: `dsfold1.txt` and so on, with rows `name|magnification|fold|train or test`."""

from __future__ import annotations

from pathlib import Path

from trainer.data.datasets import ImageDataset

_ROLES = frozenset({"train", "test"})
_COLUMNS = 4
_NAMED = 5


def read(folder: Path | None) -> list[dict[str, str]]:
    """Read the lists: for each one, the role of each image (`train` or `test`) by the file name without suffix.

    Raises:
        ValueError: Listing what is wrong with the lists.
    """
    if folder is None:
        raise ValueError("The official protocol needs --fold-lists: the folder with dsfold1.txt to dsfold5.txt.")
    paths = sorted(folder.glob("dsfold*.txt"))
    if not paths:
        raise ValueError(f"{folder} contains no dsfold1.txt. Choose the folder of BreakHis's fold lists.")
    return [_read_list(path) for path in paths]


def problems(data: ImageDataset, folder: Path | None) -> list[str]:
    """Return one sentence for each reason why the lists cannot be used for a data set.

    The lists may name images that the data set lacks, but they have to name every image of the data set.
    """
    try:
        lists = read(folder)
    except ValueError as error:
        return str(error).splitlines()
    found = []
    for number, roles in enumerate(lists, 1):
        unknown = [image.path.name for image in data.images if image.path.stem not in roles]
        if unknown:
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            found.append(f"Official fold {number} does not list {', '.join(unknown[:_NAMED])}{more}.")
            continue
        trained = {data.task.class_of(image) for image in data.images if roles[image.path.stem] == "train"}
        missing = [name for name in data.task.classes if name not in trained]
        if missing and data.task.binary:
            found.append(f"In official fold {number}, the training images here have no {' and no '.join(missing)} one.")
    return found or _without_others(data, lists)


def _without_others(data: ImageDataset, lists: list[dict[str, str]]) -> list[str]:
    """Return a sentence for each list whose threshold cannot be chosen on the test images of the other lists."""
    found = []
    tested = [{image.path.stem for image in data.images if roles[image.path.stem] == "test"} for roles in lists]
    for number, mine in enumerate(tested, 1):
        others = set().union(*tested) - mine
        present = {data.task.class_of(image) for image in data.images if image.path.stem in others}
        if len(present) < len(data.task.classes) and data.task.binary:
            found.append(
                f"Official fold {number} gets its threshold from the other folds' test images that it does not test "
                "itself, and they are not of both classes. Give all five lists."
            )
    return found


def _read_list(path: Path) -> dict[str, str]:
    roles = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        columns = line.strip().split("|")
        if len(columns) != _COLUMNS or columns[3] not in _ROLES:
            shown = line[:80]
            raise ValueError(f"{path.name}, line {number}, is not name|magnification|fold|train or test: {shown!r}.")
        roles[Path(columns[0]).stem] = columns[3]
    return roles
