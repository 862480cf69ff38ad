"""The Python client: Trainshed's REST API as typed methods."""

import time
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import inf
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, ValidationError

from shared import schemas
from shared.lifecycle import TERMINAL
from shared.schemas import (
    Job,
    JobDetail,
    JobEvent,
    LogLevel,
    ModelReference,
    Objective,
    Page,
    Part,
    Resolution,
)
from shared.settings import Settings, get_settings
from trainshed.connection import Connection
from trainshed.errors import UnexpectedResponse
from trainshed.streaming import EventStream

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Pixels = Sequence[Sequence[float]]

_PAGE_SIZE = 100
_LOG_POLL_S = 1.0
_MAX_LONG_POLL_S = 30.0  # the longest `wait` that the server accepts
_JOB_POLL_S = (0.2, 1.0)  # for a server that does not long-poll: the first interval, and the longest
_JPEG_SIGNATURE = b"\xff\xd8"


class Health(NamedTuple):
    """What a server reports about itself.

    Attributes:
        ready: whether it serves requests.
        lacks: what is missing and what to do, for people; empty if nothing is. Without Redis it is ready,
            but jobs start late, or wait.
    """

    ready: bool
    lacks: str


class Client(AbstractContextManager["Client"]):
    """A client of a Trainshed server.

    Every request is retried while the server cannot be reached or is busy. Retries are safe: whatever creates
    jobs carries an idempotency key.

    Every method raises:
        ServerUnreachable: no response, after all retries.
        TrainshedApiError: the server refused the request, or failed.
        UnexpectedResponse: the response is not Trainshed's.
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
            url: of the server, such as `http://127.0.0.1:8000`. None: the setting `URL`, or if that is empty
                the API of these settings on this host.
            patience_s: seconds during which a request is retried: three times as many while a job is
                followed, so that a restart of the server is outlasted, and at most two until the server has
                responded for the first time.
            timeout_s: seconds that each try may wait for a response.
            api_key: sent with every request. None: the setting `API_KEY`, or for this host's own API also
                the first of `API_KEYS`.
            transport, sleep: replaced by tests.
        """
        settings = get_settings()
        url = url or settings.url
        if api_key is None:
            # an administrator's key of API_KEYS must reach no server but this host's own
            api_key = settings.api_key.get_secret_value() if url else local_api_key(settings)
        self._sleep = sleep
        self._long_poll_s = min(_MAX_LONG_POLL_S, timeout_s * 2 / 3)
        self._connection = Connection(
            url or local_url(settings),
            patience_s=patience_s,
            timeout_s=timeout_s,
            api_key=api_key,
            transport=transport,
            sleep=sleep,
        )

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._connection.url

    def close(self) -> None:
        """Close every connection."""
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    # Jobs

    def submit(
        self, job: schemas.TrainJobCreate | schemas.EvaluateJobCreate, *, idempotency_key: str | None = None
    ) -> Job:
        """Submit a job. Calls with the same idempotency key create one job; by default the key is random."""
        return self._create(Job, "/v1/jobs", idempotency_key, job.model_copy(update={"kind": job.kind}))

    def job(self, job_id: UUID) -> JobDetail:
        """Return a job with its attempts."""
        return self._get(JobDetail, f"/v1/jobs/{job_id}")

    def jobs(
        self, query: schemas.JobListQuery | None = None, *, page_size: int = _PAGE_SIZE
    ) -> Iterator[Job]:
        """Yield the jobs that match the query, in its order; pages are fetched as they are needed."""
        filters = _json(query) if query else {}
        return self._pages(Page[Job], "/v1/jobs", **{"limit": page_size, **filters})

    def counts(self) -> schemas.JobCounts:
        """Return the number of jobs by state and by queue."""
        return self._get(schemas.JobCounts, "/v1/jobs/counts")

    def throughput(self, minutes: int = 60) -> schemas.Throughput:
        """Return how many jobs finished in each of the last minutes, the oldest first, up to a day."""
        return self._get(schemas.Throughput, "/v1/jobs/throughput", params={"minutes": minutes})

    def watch(self, job_id: UUID, *, timeout_s: float | None = None) -> Iterator[JobDetail]:
        """Yield the job now, and again after each change until it is finished.

        Raises:
            TimeoutError: the job is not finished after `timeout_s`.
        """
        with self._connection.following():
            yield from self._watch(job_id, timeout_s)

    def _watch(
        self, job_id: UUID, timeout_s: float | None, until: Literal["change", "end"] = "change"
    ) -> Iterator[JobDetail]:
        deadline = inf if timeout_s is None else time.monotonic() + timeout_s
        etag, previous, interval_s = "", None, _JOB_POLL_S[0]
        while True:
            began = time.monotonic()
            wait_s = min(self._long_poll_s, max(0.0, deadline - began))
            response = self._poll(job_id, etag, wait_s, until)
            if response.status_code != httpx.codes.NOT_MODIFIED:
                etag, interval_s = response.headers.get("ETag", ""), _JOB_POLL_S[0]
                job = self._connection.read(JobDetail, response)
                if job != previous:
                    previous = job
                    yield job
                if job.state in TERMINAL:
                    return
            elif time.monotonic() - began < interval_s:  # this server does not long-poll
                self._sleep(interval_s)
                interval_s = min(interval_s * 1.5, _JOB_POLL_S[1])
            if time.monotonic() >= deadline:
                raise TimeoutError(f"job {job_id} is not finished after {timeout_s:g} s")

    def wait(self, job_id: UUID, *, timeout_s: float | None = None) -> JobDetail:
        """Wait until a job is finished, and return it.

        Raises:
            TimeoutError: the job is not finished after `timeout_s`.
        """
        with self._connection.following():
            *_, finished = self._watch(job_id, timeout_s, until="end")
        return finished

    def edit(self, job_id: UUID, patch: schemas.JobPatch) -> Job:
        """Change a job's name or tags, in any state."""
        return self._request(Job, "PATCH", f"/v1/jobs/{job_id}", json=_json(patch))

    def cancel(self, job_id: UUID) -> Job:
        """Cancel a job: at once if it is queued, within seconds if it is running."""
        return self._request(Job, "POST", f"/v1/jobs/{job_id}/cancel")

    def retry(self, job_id: UUID, *, idempotency_key: str | None = None) -> Job:
        """Submit a finished job again, as a new job; `idempotency_key` is as in `submit`."""
        return self._create(Job, f"/v1/jobs/{job_id}/retry", idempotency_key)

    def clone(self, job_id: UUID, overrides: schemas.JobClone, *, idempotency_key: str | None = None) -> Job:
        """Submit a copy of a job with the overrides applied; `idempotency_key` is as in `submit`."""
        return self._create(Job, f"/v1/jobs/{job_id}/clone", idempotency_key, overrides)

    def delete(self, job_id: UUID) -> None:
        """Delete a finished job and its model."""
        self._connection.call("DELETE", f"/v1/jobs/{job_id}")

    def batch(
        self, action: schemas.BatchAction, job_ids: Sequence[UUID], *, idempotency_key: str | None = None
    ) -> tuple[schemas.BatchResult, ...]:
        """Cancel, retry or delete up to 200 jobs, each independently; `idempotency_key` is as in `submit`."""
        body = schemas.JobBatch(action=action, ids=tuple(job_ids))
        return self._create(schemas.BatchResults, "/v1/jobs/batch", idempotency_key, body).data

    # Events and logs

    def events(self, job_id: UUID, *, after: int = 0) -> Iterator[JobEvent]:
        """Yield a job's events so far, after the event with that number; pages are fetched as needed."""
        return self._pages(Page[JobEvent], f"/v1/jobs/{job_id}/events", after=after)

    def stream(self, job_id: UUID, *, after: int = 0) -> Iterator[JobEvent]:
        """Yield a job's events as they happen, after the event with that number, until the job is finished.

        Each event is yielded once, however often the connection is lost or the server restarts. Where streams
        do not get through, as behind some proxies, the server is polled instead.
        """
        stream = EventStream(self._connection, f"/v1/jobs/{job_id}/stream", str(after), self._sleep)
        with self._connection.following():
            for event in stream:
                after = event.seq
                yield event
        if not stream.ended:
            for _ in self.watch(job_id):
                for event in self.events(job_id, after=after):
                    after = event.seq
                    yield event

    def stream_all(self, *, after: str = "") -> Iterator[JobEvent]:
        """Yield the events of all jobs as they happen, endlessly.

        Each event is yielded once, and those of a job in order, however often the connection is lost or the
        server restarts.

        Args:
            after: the id of the event to resume after; `0`: from the first event on; empty: from now on.

        Raises:
            UnexpectedResponse: streams do not get through, as behind some proxies.
        """
        with self._connection.following():
            yield from EventStream(self._connection, "/v1/stream", after, self._sleep)
        raise UnexpectedResponse(
            f"no event stream gets through from {self.url}: does a proxy in between buffer responses?"
        )

    def logs(
        self, job_id: UUID, *, level: LogLevel = LogLevel.DEBUG, text: str = "", follow: bool = False
    ) -> Iterator[schemas.JobLogLine]:
        """Yield the lines that a job's attempts logged, oldest first; with `follow`, until it is finished.

        Only lines of at least this level are yielded, and only those whose message contains `text`.
        """
        with self._connection.following() if follow else nullcontext():
            yield from self._logs(job_id, follow, level=level, q=text)

    def _logs(self, job_id: UUID, follow: bool, **query: Any) -> Iterator[schemas.JobLogLine]:
        path, cursor, finished = f"/v1/jobs/{job_id}/logs", None, not follow
        while True:
            cursor = yield from self._pages(Page[schemas.JobLogLine], path, cursor=cursor, **query)
            if finished:
                return
            finished = self.job(job_id).state in TERMINAL
            self._sleep(_LOG_POLL_S)  # also when it is finished: its last lines arrive within a second

    # Results

    def metrics(
        self,
        job_id: UUID,
        resolution: Resolution = Resolution.EPOCH,
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> schemas.Metrics:
        """Return a job's metrics so far: those with these names, or all; downsampled to `max_points` each.

        `first` and `last` are the range of epochs, or steps over all epochs, by the resolution.
        """
        query = _metrics_query(resolution, names, max_points, first, last)
        return self._get(schemas.Metrics, f"/v1/jobs/{job_id}/metrics", params=query)

    def metrics_of(
        self,
        job_ids: Sequence[UUID],
        resolution: Resolution = Resolution.EPOCH,
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> tuple[schemas.JobMetrics, ...]:
        """Return the metrics of up to 50 jobs, in this order; other arguments are as in `metrics`."""
        selection = _metrics_query(resolution, names, max_points, first, last)
        query = {"jobs": _comma_separated(job_ids), **selection}
        return self._get(schemas.ManyMetrics, "/v1/metrics", params=query).data

    def metrics_file(
        self,
        job_ids: Sequence[UUID],
        file_format: Literal["csv", "ndjson"],
        resolution: Resolution = Resolution.EPOCH,
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> str:
        """Return the metrics of up to 50 jobs as text, one point per line; arguments as in `metrics_of`."""
        selection = _metrics_query(resolution, names, max_points, first, last)
        query = {"jobs": _comma_separated(job_ids), **selection}
        return self._connection.call("GET", "/v1/metrics", params={"format": file_format, **query}).text

    def job_images(self, job_id: UUID, part: Part = Part.TRAINING, *, count: int = 20) -> schemas.JobImages:
        """Return the first images, up to 200, that a job trains, validates or evaluates on."""
        query = {"part": part, "count": count}
        return self._get(schemas.JobImages, f"/v1/jobs/{job_id}/images", params=query)

    def weights(self, job_id: UUID) -> schemas.KeptWeights:
        """Return the epochs whose weights a job has kept (`keep_weights`), and what their bytes are."""
        return self._get(schemas.KeptWeights, f"/v1/jobs/{job_id}/weights")

    def weights_after(self, job_id: UUID, epoch: int) -> bytes:
        """Return the weights after an epoch of a job: float32, little-endian, the arrays of `weights`."""
        return self._connection.call("GET", f"/v1/jobs/{job_id}/weights/{epoch}").content

    def evaluation(self, job_id: UUID) -> schemas.JobEvaluation:
        """Return the evaluation of a succeeded job."""
        return self._get(schemas.JobEvaluation, f"/v1/jobs/{job_id}/evaluation")

    def misclassified(
        self, job_id: UUID, *, label: int | None = None, predicted: int | None = None
    ) -> Iterator[schemas.MisclassifiedImage]:
        """Yield the images that a job's evaluation misclassified: of one class, or predicted as one class."""
        path = f"/v1/jobs/{job_id}/misclassified"
        return self._pages(Page[schemas.MisclassifiedImage], path, label=label, predicted=predicted)

    def predictions(
        self,
        job_id: UUID,
        *,
        label: int | None = None,
        predicted: int | None = None,
        correct: bool | None = None,
    ) -> Iterator[schemas.ImagePrediction]:
        """Yield what a job's evaluation predicted for each image, by index: for all, or those that match."""
        path = f"/v1/jobs/{job_id}/evaluation/predictions"
        query = _without_none(label=label, predicted=predicted, correct=correct)
        return self._pages(Page[schemas.ImagePrediction], path, **query)

    def predictions_file(self, job_id: UUID) -> bytes:
        """Return all predictions of a job's evaluation: n images, by index, in 45 n bytes, little-endian.

        First the probabilities, (n, 10) as float32; then the images' indices, (n,) as uint32; then their
        labels, (n,) as uint8.
        """
        path = f"/v1/jobs/{job_id}/evaluation/predictions"
        return self._connection.call("GET", path, params={"format": "binary"}).content

    def images(
        self, dataset: str, indices: Sequence[int], *, split: schemas.Split = schemas.Split.TEST
    ) -> bytes:
        """Return up to 100 images of a dataset as one PNG file, 28 pixels wide, one below the other."""
        path = f"/v1/datasets/{quote(dataset, safe='')}/images"
        query = {"indices": _comma_separated(indices), "split": split}
        return self._connection.call("GET", path, params=query).content

    def compare(self, job_ids: Sequence[UUID]) -> schemas.Comparison:
        """Compare two to ten jobs: their differing parameters, metrics and evaluations."""
        return self._get(schemas.Comparison, "/v1/compare", params={"jobs": _comma_separated(job_ids)})

    # Models

    def models(self, *, page_size: int = _PAGE_SIZE) -> Iterator[schemas.ModelSummary]:
        """Yield every model, newest first."""
        return self._pages(Page[schemas.ModelSummary], "/v1/models", limit=page_size)

    def model(self, model: ModelReference) -> schemas.ModelDetail:
        """Return a trained model, by its id or alias."""
        return self._get(schemas.ModelDetail, f"/v1/models/{model}")

    def change_model(self, model: ModelReference, changes: schemas.ModelPatch) -> schemas.ModelDetail:
        """Change a model's alias or description; the alias is taken from the model that has it."""
        return self._request(schemas.ModelDetail, "PATCH", f"/v1/models/{model}", json=_json(changes))

    def delete_model(self, model: ModelReference) -> None:
        """Delete a model that has no alias and that no evaluation job refers to."""
        self._connection.call("DELETE", f"/v1/models/{model}")

    def download(
        self, model: ModelReference, file_format: schemas.ModelFormat = schemas.ModelFormat.KERAS
    ) -> bytes:
        """Return a model's file."""
        path = f"/v1/models/{model}/download"
        return self._connection.call("GET", path, params={"format": file_format}).content

    def tfjs_files(self, model: ModelReference) -> dict[str, bytes]:
        """Return a model for TensorFlow.js: its two files by name, to be written into one folder.

        `tf.loadLayersModel` loads a model from the URL of its `model.json`.
        """
        folder = f"/v1/models/{self.model(model).id}/tfjs"
        names = ("model.json", "weights.bin")
        return {name: self._connection.call("GET", f"{folder}/{name}").content for name in names}

    def predict(
        self,
        model: ModelReference,
        images: bytes | Sequence[bytes | Pixels],
        *,
        threshold: float | None = None,
    ) -> schemas.Predictions:
        """Predict the class of one image file, or of up to 64 images.

        Args:
            model: its id or alias.
            images: the bytes of a PNG or JPEG file; or a list of such files, or of 28 rows of 28 values from
                0 (black) to 1 (white), the digit white on black.
            threshold: the least probability of a prediction; None: the threshold of the model's training.
        """
        body: dict[str, Any]
        if isinstance(images, bytes):
            kind = "image/jpeg" if images.startswith(_JPEG_SIGNATURE) else "image/png"
            body = {"content": images, "headers": {"Content-Type": kind}}
        else:
            body = {"json": {"images": [_encoded(image) for image in images]}}
        query = _without_none(threshold=threshold)
        return self._request(schemas.Predictions, "POST", f"/v1/models/{model}/predict", params=query, **body)

    # Sweeps

    def submit_sweep(
        self, sweep: schemas.SweepCreate, *, idempotency_key: str | None = None
    ) -> schemas.SweepDetail:
        """Submit up to 1,000 jobs in one transaction; `idempotency_key` is as in `submit`."""
        return self._create(schemas.SweepDetail, "/v1/sweeps", idempotency_key, sweep)

    def sweep(self, sweep_id: UUID, metric: Objective = Objective.EVALUATION_ACCURACY) -> schemas.SweepDetail:
        """Return a sweep and its jobs, the best by this metric first."""
        return self._get(schemas.SweepDetail, f"/v1/sweeps/{sweep_id}", params={"metric": metric})

    def sweeps(self, metric: Objective = Objective.EVALUATION_ACCURACY) -> Iterator[schemas.Sweep]:
        """Yield every sweep with its best job by this metric, newest first."""
        return self._pages(Page[schemas.Sweep], "/v1/sweeps", metric=metric)

    def cancel_sweep(self, sweep_id: UUID) -> schemas.SweepDetail:
        """Cancel every unfinished job of a sweep."""
        return self._request(schemas.SweepDetail, "POST", f"/v1/sweeps/{sweep_id}/cancel")

    # Workers and queues

    def workers(self) -> tuple[schemas.Worker, ...]:
        """Return the workers, the last seen first."""
        return tuple(self._pages(Page[schemas.Worker], "/v1/workers"))

    def worker_attempts(self, worker_id: str) -> Iterator[schemas.WorkerAttempt]:
        """Yield the attempts of a worker to run jobs, the last started first."""
        path = f"/v1/workers/{quote(worker_id, safe='')}/attempts"
        return self._pages(Page[schemas.WorkerAttempt], path)

    def drain(self, worker_id: str) -> schemas.Worker:
        """Let a worker finish its running jobs and take no more."""
        return self._request(schemas.Worker, "POST", f"/v1/workers/{quote(worker_id, safe='')}/drain")

    def undrain(self, worker_id: str) -> schemas.Worker:
        """Let a drained worker take jobs again."""
        return self._request(schemas.Worker, "POST", f"/v1/workers/{quote(worker_id, safe='')}/undrain")

    def queues(self) -> tuple[schemas.Queue, ...]:
        """Return the queues, by name."""
        return tuple(self._pages(Page[schemas.Queue], "/v1/queues"))

    def shares(self, queue: str) -> tuple[schemas.ShareLoad, ...]:
        """Return up to 100 shares of a queue, those with the most waiting jobs first."""
        return self._get(schemas.QueueShares, f"/v1/queues/{quote(queue, safe='')}/shares").data

    def pause(self, queue: str) -> schemas.Queue:
        """Stop starting jobs of a queue; running jobs continue."""
        return self._request(schemas.Queue, "POST", f"/v1/queues/{quote(queue, safe='')}/pause")

    def resume(self, queue: str) -> schemas.Queue:
        """Start a paused queue's jobs again."""
        return self._request(schemas.Queue, "POST", f"/v1/queues/{quote(queue, safe='')}/resume")

    def limit_queue(self, queue: str, max_running: int | None) -> schemas.Queue:
        """Let at most `max_running` jobs of a queue run at the same time; None: no limit."""
        change = schemas.QueueUpdate(max_running=max_running)
        path = f"/v1/queues/{quote(queue, safe='')}"
        return self._request(schemas.Queue, "PATCH", path, json=_json(change))

    # API keys

    def me(self) -> schemas.Me:
        """Return the identity and scope that the server sees for this client."""
        return self._get(schemas.Me, "/v1/me")

    def create_api_key(self, key: schemas.ApiKeyCreate) -> schemas.CreatedApiKey:
        """Create an API key. Not idempotent: a retry may leave an unused key behind."""
        return self._request(schemas.CreatedApiKey, "POST", "/v1/api-keys", json=_json(key))

    def api_keys(self) -> tuple[schemas.ApiKey, ...]:
        """Return the API keys without their secrets, newest first."""
        return tuple(self._pages(Page[schemas.ApiKey], "/v1/api-keys"))

    def change_api_key(self, key_id: UUID, changes: schemas.ApiKeyUpdate) -> schemas.ApiKey:
        """Change a key's weight, or how many of its jobs run at the same time."""
        path = f"/v1/api-keys/{key_id}"
        return self._request(schemas.ApiKey, "PATCH", path, json=_json(changes))

    def revoke_api_key(self, key_id: UUID) -> None:
        """Revoke an API key, at once and for good."""
        self._connection.call("DELETE", f"/v1/api-keys/{key_id}")

    # Health

    def health(self) -> Health:
        """Return whether the server is ready, and what it lacks. One request, which never raises."""
        response = self._connection.probe("/readyz")
        if response is None:
            return Health(ready=False, lacks=f"{self.url} does not respond")
        try:
            checks = schemas.Readiness.model_validate_json(response.content).checks
        except ValidationError:
            return Health(ready=False, lacks=f"{self.url} is not ready")
        lacks = "; ".join(check.detail for check in checks.values() if not check.ok)
        return Health(ready=response.is_success, lacks=lacks)

    def _get(self, schema: type[M], path: str, **options: Any) -> M:
        return self._request(schema, "GET", path, **options)

    def _pages(self, schema: type[Page[T]], path: str, **query: Any) -> Generator[T, None, str | None]:
        """Yield every item of a list; pages are fetched as needed. Return the last page's `next_cursor`."""
        query = {"limit": _PAGE_SIZE, **_without_none(**query)}
        while True:
            page = self._get(schema, path, params=query)
            yield from page.data
            if not page.has_more:
                return page.next_cursor
            query["cursor"] = page.next_cursor

    def _create(self, schema: type[M], path: str, key: str | None, body: BaseModel | None = None) -> M:
        options = {} if body is None else {"json": _json(body)}
        headers = {"Idempotency-Key": key or str(uuid4())}
        return self._request(schema, "POST", path, headers=headers, **options)

    def _request(self, schema: type[M], method: str, path: str, **options: Any) -> M:
        return self._connection.read(schema, self._connection.call(method, path, **options))

    def _poll(
        self, job_id: UUID, etag: str, wait_s: float, until: Literal["change", "end"]
    ) -> httpx.Response:
        """GET a job after its end or, with an ETag, a change of it; in any case after `wait_s` seconds."""
        headers = {"If-None-Match": etag} if etag else {}
        params = {"wait": wait_s, "until": until} if etag or until == "end" else {}
        return self._connection.call("GET", f"/v1/jobs/{job_id}", headers=headers, params=params)


def local_url(settings: Settings) -> str:
    """Return the URL at which this host reaches the API of these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def local_api_key(settings: Settings) -> str:
    """Return the key for the API of these settings: `API_KEY`, else the first of `API_KEYS`, else empty."""
    keys = (settings.api_key, *settings.api_keys)
    return next((key.get_secret_value() for key in keys if key), "")


def _json(body: BaseModel) -> dict[str, Any]:
    return body.model_dump(mode="json", exclude_unset=True)


def _metrics_query(
    resolution: Resolution,
    names: Sequence[str],
    max_points: int | None,
    first: int | None,
    last: int | None,
) -> dict[str, Any]:
    span = {"from": first, "to": last}
    chosen = _without_none(names=_comma_separated(names) or None, max_points=max_points, **span)
    return {"resolution": resolution, **chosen}


def _comma_separated(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _encoded(image: bytes | Pixels) -> str | Pixels:
    return b64encode(image).decode() if isinstance(image, bytes) else image


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
