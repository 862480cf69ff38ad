"""The Python client: Trainshed's REST API as typed calls."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, ValidationError

from client.connection import Connection
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyList,
    CreatedApiKey,
    EvaluateJobCreate,
    Job,
    JobDetail,
    JobEvaluation,
    JobPage,
    Me,
    Metrics,
    ModelFormat,
    ModelSummary,
    TrainJobCreate,
    Worker,
    WorkerList,
)
from shared.settings import Settings, get_settings

M = TypeVar("M", bound=BaseModel)

_POLL_S = (0.2, 1.0)  # the first pause between two looks at a job, and the longest


class _Check(BaseModel):
    ok: bool
    detail: str


class _Readiness(BaseModel):
    checks: dict[str, _Check]


class Trainshed(AbstractContextManager["Trainshed"]):
    """A Trainshed server.

    Every call is tried again while the server cannot be reached or is busy, and none has its effect twice: a
    job is submitted with an idempotency key.

    Every call raises:
        ServerUnreachable: all tries were in vain.
        TrainshedApiError: the server refused, or failed.
        UnexpectedAnswer: something else than Trainshed answered.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        patience_s: float = 30.0,
        timeout_s: float = 15.0,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to connect.

        Args:
            url: such as `http://127.0.0.1:8000`; None takes the address that the settings give the API.
            patience_s: for how long a call is tried again; at most two seconds until the server has answered
                for the first time.
            timeout_s: for how long one try may wait for an answer.
            api_key: shown to the server; None takes the setting `API_KEY`, or for the settings' own API
                `API_KEYS` too.
            transport: httpx's, for tests.
            sleep: what passes the time between two tries.
        """
        self._sleep = sleep
        self._connection = Connection(
            url or local_url(get_settings()),
            patience_s=patience_s,
            timeout_s=timeout_s,
            api_key=_key(url) if api_key is None else api_key,
            transport=transport,
            sleep=sleep,
        )

    @property
    def url(self) -> str:
        """Of the server."""
        return self._connection.url

    def close(self) -> None:
        """Close every connection."""
        self._connection.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, job: TrainJobCreate | EvaluateJobCreate, *, idempotency_key: str | None = None) -> Job:
        """Hand in a job.

        Args:
            job: what to train or evaluate.
            idempotency_key: two calls with one key make one job; None draws a key for this call.
        """
        body = {"kind": job.kind, **job.model_dump(mode="json", exclude_unset=True)}
        return self._create("/v1/jobs", idempotency_key, json=body)

    def job(self, job_id: UUID) -> JobDetail:
        """A job with its attempts."""
        return self._get(JobDetail, f"/v1/jobs/{job_id}")

    def jobs(self, *, state: JobState | None = None, page_size: int = 100) -> Iterator[Job]:
        """Every job, newest first; pages are fetched as they are needed."""
        query: dict[str, Any] = {"limit": page_size} | ({"state": state} if state else {})
        while True:
            page = self._get(JobPage, "/v1/jobs", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def watch(self, job_id: UUID, *, timeout_s: float | None = None) -> Iterator[JobDetail]:
        """The job now, and each time it has changed, until it is finished.

        Raises:
            TimeoutError: it was not finished in time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        etag, seen, pause_s = "", None, _POLL_S[0]
        while True:
            headers = {"If-None-Match": etag} if etag else {}
            response = self._connection.call("GET", f"/v1/jobs/{job_id}", headers=headers)
            if response.status_code == httpx.codes.NOT_MODIFIED:
                pause_s = min(pause_s * 1.5, _POLL_S[1])
            else:
                etag, pause_s = response.headers.get("ETag", ""), _POLL_S[0]
                job = self._connection.read(JobDetail, response)
                if job != seen:
                    seen = job
                    yield job
                if job.state in TERMINAL:
                    return
            if deadline is not None and time.monotonic() + pause_s > deadline:
                raise TimeoutError(f"job {job_id} is not finished after {timeout_s:g} s")
            self._sleep(pause_s)

    def wait(self, job_id: UUID, *, timeout_s: float | None = None) -> JobDetail:
        """The job when it is finished.

        Raises:
            TimeoutError: it was not finished in time.
        """
        *_, finished = self.watch(job_id, timeout_s=timeout_s)
        return finished

    def cancel(self, job_id: UUID) -> Job:
        """Ask for a job's end: a queued one ends at once, a running one within seconds."""
        return self._connection.read(Job, self._connection.call("POST", f"/v1/jobs/{job_id}/cancel"))

    def retry(self, job_id: UUID, *, idempotency_key: str | None = None) -> Job:
        """Submit a finished job again, as a new one; `idempotency_key` is as in `submit`."""
        return self._create(f"/v1/jobs/{job_id}/retry", idempotency_key)

    def metrics(self, job_id: UUID, resolution: Literal["epoch", "step"] = "epoch") -> Metrics:
        """A job's curves so far."""
        return self._get(Metrics, f"/v1/jobs/{job_id}/metrics", params={"resolution": resolution})

    def evaluation(self, job_id: UUID) -> JobEvaluation:
        """What a succeeded job measured."""
        return self._get(JobEvaluation, f"/v1/jobs/{job_id}/evaluation")

    def workers(self) -> tuple[Worker, ...]:
        """The workers, last heard of first."""
        return self._get(WorkerList, "/v1/workers").data

    def model(self, model_id: UUID) -> ModelSummary:
        """A trained model."""
        return self._get(ModelSummary, f"/v1/models/{model_id}")

    def download(self, model_id: UUID, file_format: ModelFormat = ModelFormat.KERAS) -> bytes:
        """A model's file."""
        path = f"/v1/models/{model_id}/download"
        return self._connection.call("GET", path, params={"format": file_format}).content

    def me(self) -> Me:
        """Who the server takes this client for, and what it may do."""
        return self._get(Me, "/v1/me")

    def create_api_key(self, key: ApiKeyCreate) -> CreatedApiKey:
        """Make an API key. A call that was tried again may leave another one, which nobody has."""
        body = key.model_dump(mode="json")
        return self._connection.read(
            CreatedApiKey, self._connection.call("POST", "/v1/api-keys", json=body)
        )

    def api_keys(self) -> tuple[ApiKey, ...]:
        """Every API key, newest first, without its secret."""
        return self._get(ApiKeyList, "/v1/api-keys").data

    def revoke_api_key(self, key_id: UUID) -> None:
        """End an API key, at once and for good."""
        self._connection.call("DELETE", f"/v1/api-keys/{key_id}")

    def why_not_ready(self) -> str:
        """What the server lacks to do its work now; empty if nothing. Asked once, and raises nothing."""
        response = self._connection.probe("/readyz")
        if response is None:
            return f"{self.url} does not answer"
        if response.is_success:
            return ""
        try:
            checks = _Readiness.model_validate_json(response.content).checks
        except ValidationError:
            return f"{self.url} is not ready"
        return "; ".join(check.detail for check in checks.values() if not check.ok)

    def _get(self, schema: type[M], path: str, **options: Any) -> M:
        return self._connection.read(schema, self._connection.call("GET", path, **options))

    def _create(self, path: str, idempotency_key: str | None, **options: Any) -> Job:
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return self._connection.read(Job, self._connection.call("POST", path, headers=headers, **options))


def own_key(settings: Settings) -> str:
    """What opens the API of these settings; empty if nothing is set."""
    keys = (settings.api_key, *settings.api_keys)
    return next((key.get_secret_value() for key in keys if key), "")


def _key(url: str | None) -> str:
    settings = get_settings()
    # an administrator's key goes to this host's own API only, whatever address is asked
    return own_key(settings) if url is None else settings.api_key.get_secret_value()


def local_url(settings: Settings) -> str:
    """Where the API of these settings is reached from this host."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
