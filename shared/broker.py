"""The broker: sends a job's id to the workers, as a hint that there is something to claim.

What it holds may be lost or doubled at any time; the jobs table is the truth.
"""

from collections.abc import Iterable
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

# A submit must be answered within 3 s also while Redis hangs, and kombu may wait for three of these in a row.
_PATIENCE_S = 0.5


@dataclass(frozen=True)
class Hint:
    """Says that a job may be claimed."""

    job_id: UUID
    queue: str
    priority: str


class BrokerUnavailable(Exception):
    """Redis cannot be reached; the reconciler will dispatch later."""


def celery_app(settings: Settings) -> Celery:
    """The Celery application, as the sender and the workers configure it."""
    url = settings.effective_redis_url.replace("unix://", "redis+socket://", 1)
    app = Celery("trainshed", broker=url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        broker_pool_acquire_timeout=3,
        broker_transport_options={
            # kombu keeps the lists in a set; their sorted names are the order of priority
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
    """The Redis list that holds a queue's messages of one priority; sorts before those of lower ones."""
    return f"{list(Priority).index(Priority(priority))}-{priority}.{queue}"


def list_names(queue: str) -> list[str]:
    """A queue's lists, from the first that workers look into to the last."""
    return [list_name(queue, priority) for priority in Priority]


class Broker:
    """Sends hints, and tells whether those sent may have been lost."""

    def __init__(self, settings: Settings) -> None:
        self._celery = celery_app(settings)
        self._celery.conf.update(  # a worker may wait for Redis as long as it takes; a sender may not
            broker_connection_timeout=_PATIENCE_S,
            broker_pool_acquire_timeout=_PATIENCE_S,
            broker_transport_options={
                **self._celery.conf.broker_transport_options,
                "socket_timeout": _PATIENCE_S,
                "socket_connect_timeout": _PATIENCE_S,
                "max_retries": 0,
            },
        )
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
            decode_responses=True,
        )

    def send(self, hint: Hint) -> None:
        """Hand a job's id to the workers.

        Raises:
            BrokerUnavailable: it was not sent, or it is not known whether it was.
        """
        try:
            self._celery.send_task(
                RUN_JOB, args=[str(hint.job_id)], queue=list_name(hint.queue, hint.priority)
            )
        except (BrokerError, RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    def waiting(self, queues: Iterable[str]) -> int:
        """How many messages wait in the given queues.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        names = [name for queue in queues for name in list_names(queue)]
        try:
            return sum(int(str(self._redis.llen(name))) for name in names)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    def ping(self) -> None:
        """Raises BrokerUnavailable unless Redis answers."""
        try:
            self._redis.ping()
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(str(error)) from error

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
        self._celery.close()
