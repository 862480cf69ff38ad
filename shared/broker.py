"""The broker: Celery messages over Redis that wake workers up, each a hint that a job can be claimed.

Hints may be lost or duplicated at any time: the jobs table, not the broker, says which jobs there are.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError as BrokerError
from redis import Redis
from redis.exceptions import RedisError

from shared.schemas import Priority
from shared.settings import Settings

RUN_JOB = "workers.tasks.run_job"

# A submit must be answered within 3 s even if Redis hangs, and kombu may wait for three of these in a row.
_SEND_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class Hint:
    """A message to the workers of a queue that a job can be claimed."""

    job_id: UUID
    queue: str
    priority: str


class BrokerUnavailable(Exception):
    """Redis cannot be reached; the reconciler sends the hints later."""


def celery_app(settings: Settings) -> Celery:
    """Create the Celery application with the configuration that sender and workers share."""
    url = settings.effective_redis_url.replace("unix://", "redis+socket://", 1)
    app = Celery("trainshed", broker=url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # no limit
        broker_pool_acquire_timeout=3,
        broker_transport_options={
            # kombu reads the lists in the order of their names, which is that of the priorities
            "queue_order_strategy": "sorted",
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": not settings.effective_redis_url.startswith("unix://"),
            "health_check_interval": 4,
        },
        task_acks_late=False,
        task_ignore_result=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
        task_serializer="json",
        accept_content=["json"],
        task_queues=[
            Queue(name, Exchange(name, type="direct"), routing_key=name)
            for queue in settings.queues
            for name in list_names(queue)
        ],
        task_default_queue=list_name(settings.queues[0], Priority.NORMAL),
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=120,
    )
    return app


def list_name(queue: str, priority: str) -> str:
    """Return the name of the Redis list of a queue's hints of one priority; a higher one sorts first."""
    return f"{list(Priority).index(Priority(priority))}-{priority}.{queue}"


def list_names(queue: str) -> list[str]:
    """Return the names of a queue's Redis lists, from the highest priority to the lowest."""
    return [list_name(queue, priority) for priority in Priority]


class Broker:
    """A connection to Redis that sends hints, and counts those that no worker has taken yet."""

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
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url,
            socket_timeout=_SEND_TIMEOUT_S,
            socket_connect_timeout=_SEND_TIMEOUT_S,
            decode_responses=True,
        )

    def send(self, hint: Hint) -> None:
        """Send a hint to the workers.

        Raises:
            BrokerUnavailable: it was not sent, or it is unknown whether it was.
        """
        name = list_name(hint.queue, hint.priority)
        with _unavailability_raised():
            self._celery.send_task(RUN_JOB, args=[str(hint.job_id)], queue=name)

    def count_hints(self, queues: Iterable[str]) -> int:
        """Return how many hints of these queues no worker has taken yet.

        Raises:
            BrokerUnavailable: Redis does not respond.
        """
        names = [name for queue in queues for name in list_names(queue)]
        with _unavailability_raised():
            return sum(int(str(self._redis.llen(name))) for name in names)

    def ping(self) -> None:
        """Check that Redis responds; raises BrokerUnavailable if it does not."""
        with _unavailability_raised():
            self._redis.ping()

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
    except (BrokerError, RedisError, OSError) as error:
        raise BrokerUnavailable(str(error)) from error
