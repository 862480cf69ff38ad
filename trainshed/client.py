"""The Python client: Trainshed's REST API as typed calls."""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from math import inf
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, ValidationError

from shared.lifecycle import TERMINAL
from shared.schemas import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyList,
    BatchAction,
    BatchResult,
    BatchResults,
    Comparison,
    CreatedApiKey,
    EvaluateJobCreate,
    EventPage,
    Job,
    JobBatch,
    JobClone,
    JobCounts,
    JobDetail,
    JobEvaluation,
    JobEvent,
    JobListQuery,
    JobLogLine,
    JobLogPage,
    JobMetrics,
    JobPage,
    JobPatch,
    LogLevel,
    ManyMetrics,
    Me,
    Metrics,
    MisclassifiedImage,
    MisclassifiedPage,
    ModelDetail,
    ModelFormat,
    ModelPage,
    ModelPatch,
    ModelReference,
    ModelSummary,
    Objective,
    Predictions,
    Queue,
    QueueList,
    Sweep,
    SweepCreate,
    SweepDetail,
    SweepPage,
    TrainJobCreate,
    Worker,
    WorkerList,
)
from shared.settings import Settings, get_settings
from trainshed.connection import Connection
from trainshed.errors import UnexpectedAnswer
from trainshed.streaming import EventStream

M = TypeVar("M", bound=BaseModel)

Rows = Sequence[Sequence[float]]

_PAGE = 100
_JPEG = b"\xff\xd8"  # what such a file begins with
_LOG_POLL_S = 1.0  # between two looks for more lines of a log

_LONGEST_WAIT_S = 30.0  # that the server answers to
_POLL_S = (0.2, 1.0)  # of a server that does not wait: the first pause between two looks, and the longest


class _Check(BaseModel):
    ok: bool
    detail: str


class _Readiness(BaseModel):
    checks: dict[str, _Check]


class Client(AbstractContextManager["Client"]):
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
        self._wait_s = min(_LONGEST_WAIT_S, timeout_s * 2 / 3)
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

    def watch(self, job_id: UUID, *, timeout_s: float | None = None) -> Iterator[JobDetail]:
        """The job now, and each time it has changed, until it is finished.

        Raises:
            TimeoutError: it was not finished in time.
        """
        deadline = inf if timeout_s is None else time.monotonic() + timeout_s
        etag, seen, pause_s = "", None, _POLL_S[0]
        while True:
            asked = time.monotonic()
            response = self._look(job_id, etag, min(self._wait_s, max(0.0, deadline - asked)))
            if response.status_code != httpx.codes.NOT_MODIFIED:
                etag, pause_s = response.headers.get("ETag", ""), _POLL_S[0]
                job = self._connection.read(JobDetail, response)
                if job != seen:
                    seen = job
                    yield job
                if job.state in TERMINAL:
                    return
            elif time.monotonic() - asked < pause_s:  # this server does not wait
                self._sleep(pause_s)
                pause_s = min(pause_s * 1.5, _POLL_S[1])
            if time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is not finished after {timeout_s:g} s")

    def _look(self, job_id: UUID, etag: str, wait_s: float) -> httpx.Response:
        """The job at once, or if `etag` is given when it is another than that or the time is over."""
        options: dict[str, Any] = {"headers": {"If-None-Match": etag}, "params": {"wait": wait_s}}
        return self._connection.call("GET", f"/v1/jobs/{job_id}", **(options if etag else {}))

    def events(self, job_id: UUID, *, after: int = 0) -> Iterator[JobEvent]:
        """What has happened to a job so far, after the event of that number; fetched in pages."""
        more = True
        while more:
            page = self._get(EventPage, f"/v1/jobs/{job_id}/events", params={"after": after})
            yield from page.data
            more = page.has_more
            after = page.data[-1].seq if page.data else after

    def stream(self, job_id: UUID, *, after: int = 0) -> Iterator[JobEvent]:
        """A job's events as they happen, after the one of that number, until the job is finished.

        Each comes once, however often the connection is lost or the server restarts. Where no stream comes
        through, as behind some proxies, the server is asked again and again instead.
        """
        stream = EventStream(self._connection, f"/v1/jobs/{job_id}/stream", str(after), self._sleep)
        for event in stream:
            after = event.seq
            yield event
        if not stream.ended:
            for _ in self.watch(job_id):
                for event in self.events(job_id, after=after):
                    after = event.seq
                    yield event

    def stream_all(self, *, after: str = "") -> Iterator[JobEvent]:
        """All jobs' events as they happen, without an end.

        Each comes once, a job's in their order, however often the connection is lost or the server restarts.

        Args:
            after: `0` for the first event on; empty for what happens from now on.

        Raises:
            UnexpectedAnswer: no stream comes through, as behind some proxies.
        """
        yield from EventStream(self._connection, "/v1/stream", after, self._sleep)
        raise UnexpectedAnswer(
            f"no stream comes through from {self.url}: does a proxy in between hold answers back?"
        )

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

    def evaluation(self, job_id: UUID) -> JobEvaluation:
        """What a succeeded job measured."""
        return self._get(JobEvaluation, f"/v1/jobs/{job_id}/evaluation")

    def logs(
        self, job_id: UUID, *, level: LogLevel = LogLevel.DEBUG, text: str = "", follow: bool = False
    ) -> Iterator[JobLogLine]:
        """The lines that a job's attempts logged, oldest first.

        Args:
            level: the least important one.
            text: only lines whose message has it.
            follow: go on until the job is finished.
        """
        query = {"level": level, "q": text, "after": "0.0"}
        over = not follow
        while True:
            page = self._get(JobLogPage, f"/v1/jobs/{job_id}/logs", params=query)
            yield from page.data
            query["after"] = page.next_cursor
            if page.has_more:
                continue
            if over:
                return
            over = self.job(job_id).state in TERMINAL
            self._sleep(_LOG_POLL_S)  # also when it is over: its last lines come within a second

    def me(self) -> Me:
        """Who the server takes this client for, and what it may do."""
        return self._get(Me, "/v1/me")

    def create_api_key(self, key: ApiKeyCreate) -> CreatedApiKey:
        """Make an API key. A call that was tried again may leave another one, which nobody has."""
        body = key.model_dump(mode="json")
        return self._connection.read(CreatedApiKey, self._connection.call("POST", "/v1/api-keys", json=body))

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

    def _create(self, path: str, idempotency_key: str | None, **options: Any) -> Job:
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return self._connection.read(Job, self._connection.call("POST", path, headers=headers, **options))

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

    def metrics(
        self,
        job_id: UUID,
        resolution: Literal["epoch", "step"] = "epoch",
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
    ) -> Metrics:
        """A job's curves so far: those of these names, or all; at most so many points of each."""
        query = _curve_query(resolution, names, max_points)
        return self._get(Metrics, f"/v1/jobs/{job_id}/metrics", params=query)

    def metrics_of(
        self,
        job_ids: Sequence[UUID],
        resolution: Literal["epoch", "step"] = "epoch",
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
    ) -> tuple[JobMetrics, ...]:
        """The curves of up to 50 jobs, in this order; the rest is as in `metrics`."""
        query = {"jobs": _listed(job_ids), **_curve_query(resolution, names, max_points)}
        return self._get(ManyMetrics, "/v1/metrics", params=query).data

    def metrics_file(
        self,
        job_ids: Sequence[UUID],
        form: Literal["csv", "ndjson"],
        resolution: Literal["epoch", "step"] = "epoch",
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
    ) -> str:
        """The same as a text with a line a point."""
        query = {"jobs": _listed(job_ids), "format": form, **_curve_query(resolution, names, max_points)}
        return self._connection.call("GET", "/v1/metrics", params=query).text

    def compare(self, job_ids: Sequence[UUID]) -> Comparison:
        """Two to ten jobs side by side."""
        return self._get(Comparison, "/v1/compare", params={"jobs": _listed(job_ids)})

    def misclassified(
        self, job_id: UUID, *, label: int | None = None, predicted: int | None = None
    ) -> Iterator[MisclassifiedImage]:
        """The images that a job's evaluation got wrong; of one class, or taken for one."""
        query: dict[str, Any] = {"limit": _PAGE, **_given(label=label, predicted=predicted)}
        while True:
            page = self._get(MisclassifiedPage, f"/v1/jobs/{job_id}/misclassified", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def models(self, *, page_size: int = _PAGE) -> Iterator[ModelSummary]:
        """Every model, newest first."""
        query: dict[str, Any] = {"limit": page_size}
        while True:
            page = self._get(ModelPage, "/v1/models", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def model(self, model: ModelReference) -> ModelDetail:
        """A trained model, by its id or alias."""
        return self._get(ModelDetail, f"/v1/models/{model}")

    def change_model(self, model: ModelReference, changes: ModelPatch) -> ModelDetail:
        """Name or describe a model; an alias moves here from the model that has it."""
        body = changes.model_dump(mode="json", exclude_unset=True)
        return self._connection.read(
            ModelDetail, self._connection.call("PATCH", f"/v1/models/{model}", json=body)
        )

    def delete_model(self, model: ModelReference) -> None:
        """Delete a model that has no alias, and that no evaluation job measures or has measured."""
        self._connection.call("DELETE", f"/v1/models/{model}")

    def download(self, model: ModelReference, file_format: ModelFormat = ModelFormat.KERAS) -> bytes:
        """A model's file."""
        path = f"/v1/models/{model}/download"
        return self._connection.call("GET", path, params={"format": file_format}).content

    def predict(
        self, model: ModelReference, images: bytes | Sequence[bytes | Rows], *, threshold: float | None = None
    ) -> Predictions:
        """What a model says of a picture, or of up to 64 images.

        Args:
            model: its id or alias.
            images: the bytes of a PNG or JPEG file; or several of such, or of 28 rows of 28 numbers, 0 to 1,
                white on black.
            threshold: below which no digit is found; None: as the model was trained.
        """
        body: dict[str, Any]
        if isinstance(images, bytes):
            kind = "image/jpeg" if images.startswith(_JPEG) else "image/png"
            body = {"content": images, "headers": {"Content-Type": kind}}
        else:
            body = {"json": {"images": [_encoded(image) for image in images]}}
        query = _given(threshold=threshold)
        answer = self._connection.call("POST", f"/v1/models/{model}/predict", params=query, **body)
        return self._connection.read(Predictions, answer)

    def submit_sweep(self, sweep: SweepCreate, *, idempotency_key: str | None = None) -> SweepDetail:
        """Hand in up to 1,000 jobs at once, all or none; `idempotency_key` is as in `submit`."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        body = sweep.model_dump(mode="json", exclude_unset=True)
        answer = self._connection.call("POST", "/v1/sweeps", headers=headers, json=body)
        return self._connection.read(SweepDetail, answer)

    def sweeps(self, metric: Objective = "evaluation_accuracy") -> Iterator[Sweep]:
        """Every sweep, newest first, with its best job."""
        query: dict[str, Any] = {"limit": _PAGE, "metric": metric}
        while True:
            page = self._get(SweepPage, "/v1/sweeps", params=query)
            yield from page.data
            if not page.has_more:
                return
            query["cursor"] = page.next_cursor

    def sweep(self, sweep_id: UUID, metric: Objective = "evaluation_accuracy") -> SweepDetail:
        """A sweep and its jobs, the best by this metric first."""
        return self._get(SweepDetail, f"/v1/sweeps/{sweep_id}", params={"metric": metric})

    def cancel_sweep(self, sweep_id: UUID) -> SweepDetail:
        """Cancel every job of a sweep that is not over."""
        return self._connection.read(
            SweepDetail, self._connection.call("POST", f"/v1/sweeps/{sweep_id}/cancel")
        )

    def _get(self, schema: type[M], path: str, **options: Any) -> M:
        return self._connection.read(schema, self._connection.call("GET", path, **options))


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


def _curve_query(resolution: str, names: Sequence[str], max_points: int | None) -> dict[str, Any]:
    return {"resolution": resolution, **_given(names=",".join(names) or None, max_points=max_points)}


def _listed(ids: Sequence[UUID]) -> str:
    return ",".join(map(str, ids))


def _encoded(image: bytes | Rows) -> str | Rows:
    return b64encode(image).decode() if isinstance(image, bytes) else image


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
