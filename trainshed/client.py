"""The Python client: Trainshed's REST API as typed methods.

Each method runs its namesake of `AsyncClient` without an event loop; its types and docstring are there too.
"""

import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx
from pydantic import BaseModel

from trainshed.async_client import AsyncClient, server_and_key
from trainshed.connection import BlockingTransport, http_options
from trainshed.items import AsyncItems, Items, run

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=BaseModel)


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate["Client", P], R]:
    @wraps(method)
    def blocking(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return run(method(self._client, *args, **kwargs))

    return blocking


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], AsyncItems[T]],
) -> Callable[Concatenate["Client", P], Items[T]]:
    @wraps(method)
    def iterating(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Items[T]:
        return Items(method(self._client, *args, **kwargs))

    return iterating


class Client(AbstractContextManager["Client"]):
    """A client of a Trainshed server.

    Every request is retried while the server cannot be reached or is busy. Retries are safe: every request
    that creates jobs carries an idempotency key.

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
            url: the server's URL, such as `http://127.0.0.1:8000`; if None, the setting `URL`, or if that is
                empty, the API of these settings on this host.
            patience_s: seconds for which a request is retried: three times as long while a job is followed,
                to outlast a restart of the server, and at most two seconds until the server's first response.
            timeout_s: seconds that each try may wait for a response.
            api_key: the key sent with every request; if None, the setting `API_KEY`, or else, for this host's
                own API only, the first of `API_KEYS`.
            transport, sleep: replaced by tests.
        """
        url, api_key = server_and_key(url, api_key)
        http = httpx.Client(**http_options(url, api_key, timeout_s), transport=transport)
        blocking = BlockingTransport(http, sleep)
        self._client = AsyncClient.over(url, blocking, patience_s=patience_s, timeout_s=timeout_s)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._client.url

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<trainshed.{type(self).__name__} of {self.url}>"

    close = _blocking(AsyncClient.close)

    train = _blocking(AsyncClient.train)
    evaluate = _blocking(AsyncClient.evaluate)
    submit = _blocking(AsyncClient.submit)
    job = _blocking(AsyncClient.job)
    last = _blocking(AsyncClient.last)
    jobs = _iterating(AsyncClient.jobs)
    counts = _blocking(AsyncClient.counts)
    throughput = _blocking(AsyncClient.throughput)
    edit = _blocking(AsyncClient.edit)
    cancel = _blocking(AsyncClient.cancel)
    retry = _blocking(AsyncClient.retry)
    clone = _blocking(AsyncClient.clone)
    delete = _blocking(AsyncClient.delete)
    batch = _blocking(AsyncClient.batch)

    wait = _blocking(AsyncClient.wait)
    wait_sweep = _blocking(AsyncClient.wait_sweep)
    watch = _iterating(AsyncClient.watch)
    events = _iterating(AsyncClient.events)
    stream = _iterating(AsyncClient.stream)
    stream_all = _iterating(AsyncClient.stream_all)
    logs = _iterating(AsyncClient.logs)

    metrics = _blocking(AsyncClient.metrics)
    metrics_of = _blocking(AsyncClient.metrics_of)
    metrics_file = _blocking(AsyncClient.metrics_file)
    compare = _blocking(AsyncClient.compare)
    evaluation = _blocking(AsyncClient.evaluation)
    artifacts = _blocking(AsyncClient.artifacts)
    artifact = _blocking(AsyncClient.artifact)
    misclassified = _iterating(AsyncClient.misclassified)
    predictions = _iterating(AsyncClient.predictions)
    predictions_file = _blocking(AsyncClient.predictions_file)
    job_images = _blocking(AsyncClient.job_images)
    images = _blocking(AsyncClient.images)
    datasets = _blocking(AsyncClient.datasets)
    weights = _blocking(AsyncClient.weights)
    weights_after = _blocking(AsyncClient.weights_after)

    models = _iterating(AsyncClient.models)
    model = _blocking(AsyncClient.model)
    change_model = _blocking(AsyncClient.change_model)
    delete_model = _blocking(AsyncClient.delete_model)
    download = _blocking(AsyncClient.download)
    tfjs_files = _blocking(AsyncClient.tfjs_files)
    predict = _blocking(AsyncClient.predict)

    submit_sweep = _blocking(AsyncClient.submit_sweep)
    sweep = _blocking(AsyncClient.sweep)
    sweeps = _iterating(AsyncClient.sweeps)
    cancel_sweep = _blocking(AsyncClient.cancel_sweep)

    workers = _blocking(AsyncClient.workers)
    worker_attempts = _iterating(AsyncClient.worker_attempts)
    drain = _blocking(AsyncClient.drain)
    undrain = _blocking(AsyncClient.undrain)
    queues = _blocking(AsyncClient.queues)
    tenants = _blocking(AsyncClient.tenants)
    pause = _blocking(AsyncClient.pause)
    resume = _blocking(AsyncClient.resume)
    limit_queue = _blocking(AsyncClient.limit_queue)

    create_webhook = _blocking(AsyncClient.create_webhook)
    webhooks = _blocking(AsyncClient.webhooks)
    change_webhook = _blocking(AsyncClient.change_webhook)
    rotate_webhook_secret = _blocking(AsyncClient.rotate_webhook_secret)
    delete_webhook = _blocking(AsyncClient.delete_webhook)
    test_webhook = _blocking(AsyncClient.test_webhook)
    webhook_deliveries = _iterating(AsyncClient.webhook_deliveries)
    redeliver = _blocking(AsyncClient.redeliver)

    me = _blocking(AsyncClient.me)
    create_api_key = _blocking(AsyncClient.create_api_key)
    api_keys = _blocking(AsyncClient.api_keys)
    change_api_key = _blocking(AsyncClient.change_api_key)
    revoke_api_key = _blocking(AsyncClient.revoke_api_key)
    health = _blocking(AsyncClient.health)
