"""A fake API behind httpx's mock transport, whose jobs go through states that a test has scripted."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
from uuid_utils.compat import uuid7

from shared.formats.epochs import unpack_steps
from shared.lifecycle import AttemptOutcome, JobState, Phase, WorkerState
from shared.schemas import (
    Attempt,
    BatchResult,
    BatchResults,
    JobCounts,
    JobError,
    JobEvent,
    LayerSummary,
    ModelDetail,
    ModelKind,
    Page,
    Problem,
    Progress,
    Resolution,
    Series,
    Worker,
    WorkerAttempt,
)
from shared.schemas.ids import is_part
from tests.support.factories import as_shown, make_epoch, make_evaluation, make_spec
from trainshed.async_client import AsyncClient
from trainshed.client import Client
from trainshed.notebook.answers import Job, JobDetail, JobEvaluation, Metrics

T = TypeVar("T")

URL = "http://trainshed.test"
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_job(**overrides: Any) -> JobDetail:
    """A queued training job of 3 epochs with 2 steps each."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "kind": "train",
        "state": JobState.QUEUED,
        "phase": None,
        "name": None,
        "tags": (),
        "queue": "default",
        "priority": "normal",
        "spec": make_spec(),
        "attempt": 0,
        "max_attempts": 3,
        "lost_attempts": 0,
        "max_runtime_s": None,
        "version": 1,
        "progress": make_progress(0),
        "values": {},
        "model_id": None,
        "retry_of": None,
        "error": None,
        "cancel_requested_at": None,
        "scheduled_at": T0,
        "created_at": T0,
        "started_at": None,
        "finished_at": None,
        "attempts": (),
    }
    return JobDetail(**{**values, **overrides})


def make_progress(epoch: int) -> Progress:
    return Progress(epoch=epoch, epochs=3, step=2 * epoch, steps=6, percent=100 * epoch / 3)


def make_attempt(number: int = 1, **overrides: Any) -> Attempt:
    values: dict[str, Any] = {
        "number": number,
        "worker": "host:42",
        "device": "CPU",
        "versions": {},
        "started_at": T0,
        "finished_at": None,
        "outcome": None,
        "error_code": None,
        "error_message": None,
    }
    return Attempt(**{**values, **overrides})


def make_states(job: JobDetail) -> list[JobDetail]:
    """The successive states of a job that succeeds."""

    def at(version: int, **changes: Any) -> JobDetail:
        return job.model_copy(update={"version": version, **changes})

    running: dict[str, Any] = {"state": JobState.RUNNING, "attempt": 1, "attempts": (make_attempt(),)}
    trained = [
        at(
            epoch + 2,
            **running,
            phase=Phase.TRAINING,
            progress=make_progress(epoch),
            values=make_epoch(epoch - 1).values,
        )
        for epoch in (1, 3)
    ]
    done: dict[str, Any] = {
        "attempt": 1,
        "state": JobState.SUCCEEDED,
        "attempts": (make_attempt(outcome=AttemptOutcome.SUCCEEDED, finished_at=T0 + timedelta(seconds=2)),),
        "progress": make_progress(3),
        "values": {**make_epoch(2).values, "evaluation_accuracy": 0.98, "evaluation_loss": 0.2},
        "model_id": uuid7(),
        "started_at": T0,
        "finished_at": T0 + timedelta(seconds=2),
    }
    return [job, at(2, **running, phase=Phase.LOADING_DATA), *trained, at(6, **done)]


def make_success(job: JobDetail) -> JobDetail:
    """The job after it succeeded."""
    return make_states(job)[-1]


def make_cancellation(job: JobDetail) -> JobDetail:
    """The job after it was cancelled while queued."""
    return job.model_copy(update={"state": JobState.CANCELLED, "version": job.version + 1})


def make_failure(job: JobDetail, code: str = "data_unavailable", message: str = "no route") -> JobDetail:
    """The job after its only attempt failed."""
    failed = make_attempt(
        outcome=AttemptOutcome.FAILED, error_code=code, error_message=message, finished_at=T0
    )
    changes = {
        "state": JobState.FAILED,
        "error": JobError(code=code, message=message),
        "attempt": 1,
        "attempts": (failed,),
        "version": job.version + 1,
    }
    return job.model_copy(update=changes)


def make_job_evaluation(job_id: UUID, **overrides: Any) -> JobEvaluation:
    values = as_shown(make_evaluation(), **overrides).model_dump()
    return JobEvaluation(**values, job_id=job_id, model_id=uuid7(), dataset="digits")


def make_model(model_id: UUID, job_id: UUID) -> ModelDetail:
    layer = LayerSummary(
        name="conv2d", type="Conv2D", output_shape=(24, 24, 8), parameters=208, trainable=True
    )
    return ModelDetail(
        id=model_id,
        job_id=job_id,
        dataset="digits",
        kind=ModelKind.CNN,
        parameters=5_994,
        layers=(layer,),
        weights_sha256="0" * 64,
        accuracy=0.98,
        created_at=T0,
        spec=make_spec(),
        evaluations=(),
    )


def make_event(job_id: UUID, seq: int = 1, **overrides: Any) -> JobEvent:
    values: dict[str, Any] = {"type": "submitted", "attempt": 0, "data": {}, "at": T0}
    return JobEvent(**{"job_id": job_id, "seq": seq, **values, **overrides})


def make_worker(**overrides: Any) -> Worker:
    values: dict[str, Any] = {
        "id": "host:42",
        "host": "host",
        "pid": 42,
        "queues": ("default",),
        "devices": (),
        "slots": 1,
        "versions": {},
        "state": WorkerState.ONLINE,
        "started_at": T0,
        "heartbeat_at": T0,
        "heartbeat_age_s": 1.0,
    }
    return Worker(**{**values, **overrides})


def make_worker_attempt(**overrides: Any) -> WorkerAttempt:
    """An attempt that took two seconds."""
    values: dict[str, Any] = {
        "job_id": uuid7(),
        "number": 1,
        "kind": "train",
        "name": None,
        "device": "CPU",
        "started_at": T0,
        "finished_at": T0 + timedelta(seconds=2),
        "outcome": AttemptOutcome.SUCCEEDED,
        "error_code": None,
        "error_message": None,
    }
    return WorkerAttempt(**{**values, **overrides})


def make_metrics(epochs: int = 3, resolution: Resolution = Resolution.EPOCH) -> Metrics:
    """The metrics of a job that has trained `epochs` epochs with 2 steps each."""
    trained = [make_epoch(epoch) for epoch in range(epochs)]
    rows = [
        {name: [value] for name, value in epoch.values.items()}
        if resolution is Resolution.EPOCH
        else {name: steps.tolist() for name, steps in unpack_steps(epoch.steps).items()}
        for epoch in trained
    ]
    metrics = {name: [value for row in rows for value in row[name]] for name in (rows[0] if rows else ())}
    return Metrics(
        series=tuple(
            Series(name=name, resolution=resolution, x=tuple(range(len(y))), y=tuple(y))
            for name, y in metrics.items()
        )
    )


def make_problem(status: int, detail: str, **more: Any) -> httpx.Response:
    problem = Problem(type="about:blank", title="a problem", status=status, detail=detail, **more)
    return httpx.Response(
        status, json=problem.model_dump(), headers={"Content-Type": "application/problem+json"}
    )


class FakeApi:
    """The API, without a network, a database or a clock.

    Attributes:
        states: the remaining states of each job; each GET of a job consumes a state, except the last.
        states_after_submit: returns the successive states of a submitted job.
        faults: the responses or errors that the next requests get instead.
        requests: every request, in order.
        pauses: the seconds that the client would have slept, in order.
        ready: the response of `/readyz`.
        events: the events of each job.
        attempts: those of every worker.
        no_streams: whether a stream gets an HTML page, as from a proxy that blocks it.
    """

    def __init__(self) -> None:
        self.states: dict[UUID, list[JobDetail]] = {}
        self.events: dict[UUID, list[JobEvent]] = {}
        self.no_streams = False
        self.states_after_submit: Callable[[JobDetail], list[JobDetail]] = make_states
        self.faults: list[httpx.Response | Exception] = []
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.ready = httpx.Response(200, json={"ready": True, "checks": {}})
        self.workers: tuple[Worker, ...] = (make_worker(),)
        self.attempts: tuple[WorkerAttempt, ...] = ()
        self._job_of_key: dict[str, UUID] = {}

    def connect(self, url: str | None = None, *, api_key: str | None = None) -> Client:
        """A client of this API."""
        transport = httpx.MockTransport(self._respond)
        return Client(url, api_key=api_key, transport=transport, sleep=self.pauses.append, patience_s=5.0)

    def connect_async(self) -> AsyncClient:
        """An asynchronous client of this API."""

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        return AsyncClient(transport=httpx.MockTransport(self._respond), sleep=pause, patience_s=5.0)

    def add(self, *states: JobDetail) -> UUID:
        """Add a job with these successive states; return its id."""
        self.states[states[0].id] = list(states)
        return states[0].id

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        path = request.url.path
        if path == "/readyz":
            return self.ready
        lists: dict[str, Sequence[Any]] = {"/v1/workers": self.workers, "/v1/models": self._models()}
        lists |= {f"/v1/workers/{worker.id}/attempts": self.attempts for worker in self.workers}
        if path in lists:
            return _json(_page(request, lists[path]))
        if path == "/v1/jobs":
            return self._submit(request) if request.method == "POST" else self._list(request)
        if path == "/v1/jobs/batch":
            return self._batch(request)
        if path == "/v1/jobs/counts":
            states = Counter(states[0].state for states in self.states.values())
            return _json(JobCounts(total=sum(states.values()), states=states, queues={}))
        if match := re.fullmatch(r"/v1/(jobs|models)/([0-9a-f-]{36})(/[\w./]+)?", path):
            return self._get(request, match[1], UUID(match[2]), match[3] or "")
        if match := re.fullmatch(r"/v1/(jobs|models)/([\w-]+)", path):
            return self._find(match[1], match[2])
        return make_problem(404, f"there is nothing at {path}")

    def _find(self, kind: str, part: str) -> httpx.Response:
        """Respond to a GET of what has an id with this part; the state of a job stays as it is."""
        if kind == "jobs":
            jobs = [states[0] for job_id, states in self.states.items() if is_part(part, job_id)]
            return _json(jobs[0]) if jobs else make_problem(404, f"no job's id begins or ends with {part}")
        models = [model for model in self._models() if is_part(part, model.id) or is_part(part, model.job_id)]
        return _json(models[0]) if models else make_problem(404, f"there is no model {part}")

    def _models(self) -> list[ModelDetail]:
        last = [states[-1] for states in self.states.values()]
        return [make_model(job.model_id, job.id) for job in last[::-1] if job.model_id]

    def _submit(self, request: httpx.Request, retry_of: UUID | None = None) -> httpx.Response:
        key = request.headers["Idempotency-Key"]
        if key not in self._job_of_key:
            job = make_job(retry_of=retry_of)
            self._job_of_key[key] = self.add(*self.states_after_submit(job))
        return _json(self.states[self._job_of_key[key]][0], 202)

    def _batch(self, request: httpx.Request) -> httpx.Response:
        """Delete or cancel; a job that is queued cannot be deleted."""
        body = json.loads(request.content)
        results = []
        for job_id in map(UUID, body["ids"]):
            states, problem, new_id = self.states[job_id], None, None
            if body["action"] == "delete" and states[-1].state is JobState.QUEUED:
                problem = Problem(
                    type="about:blank", title="no", status=409, detail=f"job {job_id} is queued"
                )
            elif body["action"] == "delete":
                del self.states[job_id]
            elif body["action"] == "cancel":
                self.add(make_cancellation(states[0]))
            else:
                new_id = self.add(*self.states_after_submit(make_job(retry_of=job_id)))
            status = problem.status if problem else 200
            results.append(BatchResult(id=job_id, status=status, new_id=new_id, problem=problem))
        return _json(BatchResults(data=tuple(results)))

    def _list(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        jobs = [states[0] for states in reversed(self.states.values())]
        selected = query.get_list("state") or list(JobState)
        matches = tuple(
            Job(**job.model_dump())
            for job in jobs
            if job.state in selected and query.get("tag", "") in ("", *job.tags)
        )
        return _json(_page(request, matches))

    def _get(self, request: httpx.Request, kind: str, some_id: UUID, action: str) -> httpx.Response:
        if kind == "models":
            return self._model(some_id, action)
        if some_id not in self.states:
            return make_problem(404, f"there is no job {some_id}")
        match action:
            case "/metrics":
                return _json(make_metrics(resolution=Resolution(request.url.params["resolution"])))
            case "/evaluation":
                return _json(make_job_evaluation(some_id))
            case "/retry":
                return self._submit(request, retry_of=some_id)
            case "/events":
                after = int(request.url.params["after"])
                return _json(_page(request, [event for event in self.events[some_id] if event.seq > after]))
            case "/stream" if self.no_streams:
                return httpx.Response(200, headers={"Content-Type": "text/html"}, text="a proxy's error")
            case "/stream":
                sent = [
                    f"data: {event.model_dump_json()}\nid: {event.seq}\n\n" for event in self.events[some_id]
                ]
                text = "".join(sent) + "event: end\ndata: {}\n\n"
                return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text=text)
            case "/cancel":
                self.add(make_cancellation(self.states[some_id][0]))
        return self._job(request, self.states[some_id])

    def _job(self, request: httpx.Request, states: list[JobDetail]) -> httpx.Response:
        job = states.pop(0) if len(states) > 1 else states[0]
        tag = f'"{job.version}"'
        if request.headers.get("If-None-Match") == tag:
            return httpx.Response(304, headers={"ETag": tag})
        return _json(job, headers={"ETag": tag})

    def _model(self, model_id: UUID, action: str) -> httpx.Response:
        job_ids = [job_id for job_id, states in self.states.items() if states[-1].model_id == model_id]
        if not job_ids:
            return make_problem(404, f"there is no model {model_id}")
        if action == "/download" or action.startswith("/tfjs/"):
            return httpx.Response(200, content=b"the model's file")
        return _json(make_model(model_id, job_ids[0]))


def _page(request: httpx.Request, items: Sequence[T]) -> Page[T]:
    """A page of up to two items, or fewer if the request has a lower limit; its cursor is an index."""
    start = int(request.url.params.get("cursor", "0"))
    end = start + min(2, int(request.url.params["limit"]))
    has_more = end < len(items)
    return Page(data=tuple(items[start:end]), next_cursor=str(end) if has_more else None, has_more=has_more)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, content=body.model_dump_json(), headers=headers)
