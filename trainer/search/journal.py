"""The journal of a search: Optuna's storage in the search's folder, from which an interrupted search resumes."""

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
from trainer.utils.lock import locked

Identity: TypeAlias = Mapping[str, Any]
"""Everything that the trials of a study depend on, by a readable name; the values survive JSON unchanged."""

_FILE = "journal.log"
_IDENTITY = "identity"
_SPLITS = "splits"


@dataclass(frozen=True)
class Journal:
    """The Optuna studies of a folder that only this process uses; see `open_journal`."""

    folder: Path
    storage: JournalStorage

    def check(self, identities: Mapping[str, Identity]) -> None:
        """Refuse the journal of another search, before any trial runs.

        Args:
            identities: The identity of each requested study, by its name; the journal may contain other studies of
                the same search.

        Raises:
            OptionsError: If the journal belongs to another search; it lists the differences.
        """
        for study in optuna.get_all_study_summaries(self.storage):
            stored = study.user_attrs.get(_IDENTITY, {})
            if not stored and not study.n_trials:
                continue  # the process was killed between the study's first line and its second
            of_any_subset = {**next(iter(identities.values())), _SPLITS: stored.get(_SPLITS)}
            requested = identities.get(study.study_name, of_any_subset)
            if stored != requested:
                sentence = (
                    f"{self.folder} contains a search that differs in: {', '.join(_differences(stored, requested))}."
                )
                raise OptionsError([f"{sentence} Choose another folder, or repeat the same search."])

    def study(self, name: str, identity: Identity, *, minimise: bool) -> optuna.Study:
        """Create or resume a study; a trial that was running when its process ended is marked as failed."""
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
    """Return the completed trials of a study, in order."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """Open the journal of a folder and lock the folder until the block or the process ends.

    Raises:
        ValueError: If another process uses the folder.
        OptionsError: If the file is not a journal.
    """
    with locked(folder):
        yield Journal(folder, _storage(folder / _FILE))


def _storage(path: Path) -> JournalStorage:
    """Return Optuna's storage in a file with one line per operation."""
    # A process that was killed while it wrote leaves this lock file; the folder's lock rules out a live process.
    Path(f"{path}.lock").unlink(missing_ok=True)
    try:
        if path.is_file():
            _drop_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise OptionsError(
            [f"{path} is not the journal of a search, or it is damaged. Choose another folder."]
        ) from error


def _drop_torn_line(path: Path) -> None:
    """Remove an incomplete last line, to which Optuna would append its next line."""
    content = path.read_bytes()
    torn = content.rpartition(b"\n")[2]
    if torn and not torn.startswith(b"{"):
        raise ValueError("The file does not end as a journal does.")
    os.truncate(path, len(content) - len(torn))


def _differences(stored: Identity, requested: Identity) -> list[str]:
    """Return the names of the values that differ; differing options are listed one by one."""
    names = [name for name in requested if stored.get(name) != requested[name]]
    if "options" in names:
        stored_options = stored.get("options") or {}
        fields = [field for field, value in requested["options"].items() if stored_options.get(field) != value]
        names[names.index("options")] = f"options ({', '.join(fields)})"
    return names
