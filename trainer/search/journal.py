"""A search's memory: Optuna's journal in a folder of its own, so that a search that was broken off goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from trainer.errors import OptionsError
from trainer.utils.lock import alone_in

Identity: TypeAlias = Mapping[str, Any]
"""What the trials of a study depend on, by names for people, exactly as JSON gives it back."""

_FILE = "journal.log"
_IDENTITY = "identity"
_SPLITS = "splits"


@dataclass(frozen=True)
class Journal:
    """The studies of a folder that this process has to itself; see `opened`."""

    folder: Path
    storage: JournalStorage

    def check(self, ours: Mapping[str, Identity]) -> None:
        """Refuse a journal of another search, before any trial.

        Args:
            ours: Of each study that is wanted, by its name; the journal may hold others of the same search.

        Raises:
            OptionsError: Saying what differs.
        """
        for study in optuna.get_all_study_summaries(self.storage):
            kept = study.user_attrs.get(_IDENTITY, {})
            if not kept and not study.n_trials:
                continue  # killed between the study's first line and its second
            anyone = {**next(iter(ours.values())), _SPLITS: kept.get(_SPLITS)}
            wanted = ours.get(study.study_name, anyone)
            if kept != wanted:
                sentence = f"{self.folder} holds a search that differs in: {', '.join(_differences(kept, wanted))}."
                raise OptionsError([f"{sentence} Choose another folder, or ask for the same."])

    def study(self, name: str, identity: Identity, *, minimise: bool) -> optuna.Study:
        """A study, begun or gone on with; a trial that was under way when its process ended has failed."""
        study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="minimize" if minimise else "maximize",
            load_if_exists=True,
        )
        if _IDENTITY not in study.user_attrs:
            study.set_user_attr(_IDENTITY, identity)
        for abandoned in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(abandoned.number, state=TrialState.FAIL)
        return study


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were not broken off, in their order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """The journal of a folder, kept from other processes; however this one ends, it lets go.

    Raises:
        ValueError: If another process is at work there.
        OptionsError: If the file is no journal.
    """
    with alone_in(folder):
        yield Journal(folder, _open(folder / _FILE))


def _open(path: Path) -> JournalStorage:
    """Optuna's storage in a file of one line an operation."""
    # Left by a process that was killed while it wrote; there is no other, see `opened`.
    Path(f"{path}.lock").unlink(missing_ok=True)
    try:
        if path.is_file():
            _drop_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise OptionsError([f"{path} is no journal of a search, or it is damaged. Choose another folder."]) from error


def _drop_torn_line(path: Path) -> None:
    """Take away a last line that was not written to its end: Optuna would write its next one behind it."""
    content = path.read_bytes()
    torn = content.rpartition(b"\n")[2]
    if torn and not torn.startswith(b"{"):
        raise ValueError("Something else than a journal ends here.")
    os.truncate(path, len(content) - len(torn))


def _differences(kept: Identity, wanted: Identity) -> list[str]:
    """What is not the same, options one by one."""
    names = [name for name in wanted if kept.get(name) != wanted[name]]
    if "options" in names:
        then = kept.get("options") or {}
        fields = [field for field, value in wanted["options"].items() if then.get(field) != value]
        names[names.index("options")] = f"options ({', '.join(fields)})"
    return names
