"""The interface of job handlers: they create a child's order and store its result, one handler per kind of job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from patchvote.jobs.supervised import SupervisedJob
from trainer.worker.protocol import Event, Order

J = TypeVar("J", bound=SupervisedJob)


class RefusedError(Exception):
    """The refusal of a job, before or after the child's work; the job fails with its code, message and details."""

    def __init__(self, code: str, message: str, details: Sequence[str] = ()) -> None:
        """Store the reason."""
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


class NothingToDoError(Exception):
    """The result of a job that needs no child process."""

    def __init__(self, fields: dict[str, Any]) -> None:
        """Store the fields of the job's row."""
        super().__init__()
        self.fields = fields


class Handler(Protocol, Generic[J]):
    """The handler of one kind of job."""

    model: type[J]

    def create_order(self, job: J) -> Order:
        """Prepare the job's folder and return the child's instructions. Called once per attempt.

        Raises:
            RefusedError: If the job cannot be done.
            NothingToDoError: If the result is known without a child process.
        """
        ...

    def handle_event(self, job: J, event: Event) -> None:
        """Store an event of the child other than progress. After a restart, the child may repeat events."""
        ...

    def store_result(self, job: J, result: dict[str, Any]) -> dict[str, Any]:
        """Store the result, in the transaction that ends the job.

        Returns:
            The fields of the job's row.

        Raises:
            RefusedError: If the result is not acceptable.
        """
        ...

    def clean_up(self, job: J) -> None:
        """Delete the files that an ended job no longer needs. May be called repeatedly, and in any process."""
        ...
