"""What the training worker does for each kind of job: the order for the child, and what becomes of its outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from patchvote.jobs.supervised import SupervisedJob
from trainer.worker.protocol import Event, Order

J = TypeVar("J", bound=SupervisedJob)


class RefusedError(Exception):
    """A job that cannot be done, as its worker finds before or after the child's work."""

    def __init__(self, code: str, message: str, details: Sequence[str] = ()) -> None:
        """Keep them for the job's row."""
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


class NothingToDoError(Exception):
    """A job whose result is known without a child."""

    def __init__(self, fields: dict[str, Any]) -> None:
        """Keep the fields for the job's row."""
        super().__init__()
        self.fields = fields


class Handler(Protocol, Generic[J]):
    """One kind of job."""

    model: type[J]

    def order(self, job: J) -> Order:
        """Prepare the job's folder and say what the child shall do; again for each attempt.

        Raises:
            RefusedError: If it cannot be done.
            NothingToDoError: If it is done already.
        """
        ...

    def happened(self, job: J, event: Event) -> None:
        """Store what the child told, beyond the progress; the same may be told again after a restart."""
        ...

    def succeeded(self, job: J, result: dict[str, Any]) -> dict[str, Any]:
        """Store the result, in the transaction that ends the job.

        Returns:
            Fields for the job's row.

        Raises:
            RefusedError: If the result cannot be taken.
        """
        ...

    def ended(self, job: J) -> None:
        """Tidy up after a job that ended, however; may happen twice, and in any process. `job` is as it is stored."""
        ...
