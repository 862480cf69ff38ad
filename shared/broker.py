"""The broker: Celery messages over Redis that wake workers up to claim the next job of a queue.

Messages may be lost or duplicated at any time: the jobs table, not the broker, says which jobs there are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from celery import Celery
from kombu import Exchange, Queue
from redis import Redis
from tenacity import Retrying, stop_after_attempt

from shared import redis_check
from shared.settings import Settings

RUN_JOBS = "workers.tasks.run_jobs"

# A submit must be answered within 3 s even if Redis hangs, and kombu may wait three times as long as this.
_SEND_TIMEOUT_S = 0.5
# more messages than this in a queue's list would wake nobody: a process that is awake runs all waiting jobs
_MAX_WAITING = 100


class BrokerUnavailable(Exception):
    """Redis cannot be reached, or refuses a command; the text says what to do."""


def celery_app(settings: Settings) -> Celery:
    """Create the Celery application with the configuration that sender and workers share."""
    url = settings.effective_redis_url.replace("unix://", "redis+socket://", 1)
    app = Celery("trainshed", broker=url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # no limit
        broker_pool_acquire_timeout=3,
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": not settings.effective_redis_url.startswith("unix://"),
            "health_check_interval": 4,
            "lists": settings.queues,  # read by `workers.transport`
        },
        task_acks_late=False,
        task_ignore_result=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
        task_serializer="json",
        accept_content=["json"],
        # each queue has a Redis list of the same name
        task_queues=[
            Queue(name, Exchange(name, type="direct"), routing_key=name) for name in settings.queues
        ],
        task_default_queue=settings.queues[0],
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=120,
    )
    return app


class Broker:
    """A connection to Redis that wakes workers up."""

    def __init__(self, settings: Settings) -> None:
        self._celery = celery_app(settings)
        self._celery.conf.update(  # unlike a worker, a sender does not wait until Redis is back
            broker_connection_timeout=_SEND_TIMEOUT_S,
            broker_pool_acquire_timeout=_SEND_TIMEOUT_S,
            broker_transport_options={
                **self._celery.conf.broker_transport_options,
                "socket_timeout": _SEND_TIMEOUT_S,
                "socket_connect_timeout": _SEND_TIMEOUT_S,
                "max_retries": 0,
            },
        )
        self._queues = settings.queues
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url,
            socket_timeout=_SEND_TIMEOUT_S,
            socket_connect_timeout=_SEND_TIMEOUT_S,
            decode_responses=True,
        )

    def wake(self, jobs: Mapping[str, int]) -> None:
        """Wake workers up for this many jobs of each queue, by at most two round trips.

        Raises:
            BrokerUnavailable: Redis cannot be used.
        """
        with _unavailability_raised():
            waiting = self._count_waiting(list(jobs))
        counts = {queue: min(count, _MAX_WAITING - waiting[queue]) for queue, count in jobs.items()}
        messages = [queue for queue, count in counts.items() for _ in range(count)]
        if not messages:
            return
        with _unavailability_raised():
            # one retry at once, as the connection may have been lost unnoticed
            Retrying(stop=stop_after_attempt(2), reraise=True)(self._send, messages)

    def _send(self, queues: list[str]) -> None:
        """Send a message to each of these queues."""
        with self._celery.producer_or_acquire() as producer, producer.batch():
            for queue in queues:
                self._celery.send_task(RUN_JOBS, args=[queue], queue=queue, producer=producer)

    def _count_waiting(self, queues: list[str]) -> dict[str, int]:
        """Return how many messages of each queue no worker has received yet."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.llen(queue)
            lengths: list[int] = pipeline.execute()
        return dict(zip(queues, lengths, strict=True))

    def check(self) -> None:
        """Check within half a second that messages could be sent and taken, without sending one.

        Raises:
            BrokerUnavailable: messages could not be sent or taken; the text says what to do.
        """
        with _unavailability_raised():
            redis_check.check_sending(self._redis, self._queues)

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
        # `Celery.close` leaves the connections of its pool open
        self._celery.pool.force_close_all()  # type: ignore[attr-defined]
        self._celery.close()


@contextmanager
def _unavailability_raised() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # any error of the client, also of its parser if another server replies; kombu's errors wrap these
        raise BrokerUnavailable(redis_check.explain(error.__cause__ or error)) from error
