"""The part of the client that manages: lists and changes of jobs, workers and queues."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

from pydantic import BaseModel

from client.connection import Connection
from shared.schemas import (
    BatchAction,
    BatchResult,
    BatchResults,
    Job,
    JobBatch,
    JobClone,
    JobCounts,
    JobListQuery,
    JobPage,
    JobPatch,
    Queue,
    QueueList,
    Worker,
    WorkerList,
)

M = TypeVar("M", bound=BaseModel)


class Operations:
    """Calls that manage; what they raise is what every call of `Trainshed` raises."""

    _connection: Connection

    def jobs(self, query: JobListQuery | None = None, *, page_size: int = 100) -> Iterator[Job]:
        """Every job that fits the query, in its order; pages are fetched as they are needed."""
        asked = query.model_dump(mode="json", exclude_unset=True) if query else {}
        asked["limit"] = page_size
        while True:
            page = self._read(JobPage, "GET", "/v1/jobs", params=asked)
            yield from page.data
            if not page.has_more:
                return
            asked["cursor"] = page.next_cursor

    def counts(self) -> JobCounts:
        """How many jobs there are, by state and by queue."""
        return self._read(JobCounts, "GET", "/v1/jobs/counts")

    def edit(self, job_id: UUID, patch: JobPatch) -> Job:
        """Give a job, whatever its state, another name or other tags."""
        body = patch.model_dump(mode="json", exclude_unset=True)
        return self._read(Job, "PATCH", f"/v1/jobs/{job_id}", json=body)

    def delete(self, job_id: UUID) -> None:
        """Delete a finished job, with its model."""
        self._connection.call("DELETE", f"/v1/jobs/{job_id}")

    def clone(self, job_id: UUID, overrides: JobClone, *, idempotency_key: str | None = None) -> Job:
        """Submit a new job that is as another one but for the overrides; the key is as in `submit`."""
        body = overrides.model_dump(mode="json", exclude_unset=True)
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return self._read(Job, "POST", f"/v1/jobs/{job_id}/clone", headers=headers, json=body)

    def batch(
        self, action: BatchAction, job_ids: Sequence[UUID], *, idempotency_key: str | None = None
    ) -> tuple[BatchResult, ...]:
        """Cancel, retry or delete up to 200 jobs, each on its own; the key is as in `submit`."""
        body = JobBatch(action=action, ids=tuple(job_ids)).model_dump(mode="json")
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return self._read(BatchResults, "POST", "/v1/jobs/batch", headers=headers, json=body).data

    def workers(self) -> tuple[Worker, ...]:
        """The workers, last heard of first."""
        return self._read(WorkerList, "GET", "/v1/workers").data

    def drain(self, worker_id: str) -> Worker:
        """Let a worker finish the jobs that it runs, and take no others."""
        return self._read(Worker, "POST", f"/v1/workers/{quote(worker_id, safe='')}/drain")

    def undrain(self, worker_id: str) -> Worker:
        """Let a worker take jobs again."""
        return self._read(Worker, "POST", f"/v1/workers/{quote(worker_id, safe='')}/undrain")

    def queues(self) -> tuple[Queue, ...]:
        """The queues, by name."""
        return self._read(QueueList, "GET", "/v1/queues").data

    def pause(self, queue: str) -> Queue:
        """Let no job of a queue be started; those that run go on."""
        return self._read(Queue, "POST", f"/v1/queues/{quote(queue, safe='')}/pause")

    def resume(self, queue: str) -> Queue:
        """Let a queue's jobs be started again."""
        return self._read(Queue, "POST", f"/v1/queues/{quote(queue, safe='')}/resume")

    def _read(self, schema: type[M], method: str, path: str, **options: Any) -> M:
        return self._connection.read(schema, self._connection.call(method, path, **options))
