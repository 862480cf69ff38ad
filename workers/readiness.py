"""Checks a worker's dependencies: a database with its schema, Redis, and a GPU if one is required."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from shared import log, redis_check
from shared.db.engine import Database
from shared.settings import Settings
from workers.gpus import visible_gpus

_log = log.get_logger(__name__)

_TIMEOUT_S = 2.0  # for connecting to Redis, and for each of its replies
_POLL_INTERVAL_S = 1.0
_REPORT_INTERVAL_S = 60.0
_MAX_REASON = 200  # characters that are shown of a driver's message


class ExitCode(IntEnum):
    """The exit codes of a worker that cannot work, besides Celery's; `docs/operations.md` lists all."""

    READY = 0
    DATABASE = 10
    SCHEMA = 11
    REDIS = 12
    GPU = 13
    VERSION = 14


@dataclass(frozen=True)
class Obstacle:
    """Why a worker cannot work.

    Attributes:
        code: the missing dependency, as an exit code.
        text: the reason in words, and its remedy.
    """

    code: ExitCode
    text: str


class Dependencies:
    """The database and the Redis that the settings name, for checks."""

    def __init__(self, settings: Settings) -> None:
        """Prepare.

        Raises:
            SQLAlchemyError, ImportError: the database's URL is invalid, or its driver is missing.
            ValueError: the URL of Redis is invalid.
        """
        self._settings = settings
        url = settings.effective_database_url
        self._database = Database(url, patience_s=0, program="trainshed-worker")
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    def obstacles(self) -> list[Obstacle]:
        """Return the obstacles that exist now, in the order in which a worker needs its dependencies."""
        database = database_obstacle(self._database, self._settings)
        obstacles = (database, self._redis_obstacle(), gpu_obstacle(self._settings))
        return [each for each in obstacles if each is not None]

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()
        self._database.dispose()

    def _redis_obstacle(self) -> Obstacle | None:
        try:
            redis_check.check_taking(self._redis, self._settings.queues)
        except (RedisError, OSError, *redis_check.PARSER_ERRORS) as error:
            return Obstacle(ExitCode.REDIS, redis_check.explain(error))
        return None


def database_obstacle(database: Database, settings: Settings) -> Obstacle | None:
    """Return why the database cannot be used, or None if it can."""
    url = make_url(settings.effective_database_url)
    # not the whole URL: a password may be anywhere in it
    place = "/".join(part for part in (url.host, url.database) if part)
    try:
        refusal, step = database.version_refusal(), database.missing_step()
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0][:_MAX_REASON]
        advice = f"start it, or correct TRAINSHED_DATABASE_URL ({reason})"
        return Obstacle(ExitCode.DATABASE, f"the database {place} does not answer: {advice}")
    if refusal:
        return Obstacle(ExitCode.VERSION, refusal)
    if step:
        text = f"the database {place} has no schema, or that of an older version: {step}"
        return Obstacle(ExitCode.SCHEMA, text)
    return None


def gpu_obstacle(settings: Settings) -> Obstacle | None:
    """Return an obstacle if a GPU is required and none is visible, else None."""
    if not settings.require_gpu or visible_gpus():
        return None
    advice = "give it one (docker run --gpus all, nvidia.com/gpu), or unset TRAINSHED_REQUIRE_GPU"
    return Obstacle(ExitCode.GPU, f"this worker needs a GPU, and nvidia-smi lists none: {advice}")


class Reports:
    """Logs the obstacles: when they change, and every minute while they do not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._codes: list[ExitCode] = []
        self._reported_at = 0.0

    def report(self, obstacles: list[Obstacle]) -> None:
        """Log the present obstacles, if they have changed or the last line about them is old enough."""
        codes, now = [each.code for each in obstacles], self._clock()
        if codes != self._codes or now - self._reported_at >= _REPORT_INTERVAL_S:
            if obstacles:
                _log.error(f"cannot work: {'; '.join(each.text for each in obstacles)}")
            elif self._codes:
                _log.info("nothing is missing any more")
            self._codes, self._reported_at = codes, now


def check(dependencies: Dependencies) -> ExitCode:
    """Log the present obstacles; return the exit code of the first one, or `READY` if there are none."""
    obstacles = dependencies.obstacles()
    Reports().report(obstacles)
    if not obstacles:
        _log.info("nothing is missing")
    return obstacles[0].code if obstacles else ExitCode.READY


def wait(dependencies: Dependencies) -> None:
    """Wait until there are no obstacles, and log those that there are.

    Raises:
        SystemExit: the worker was stopped meanwhile (SIGTERM, Ctrl-C), or would wait in vain because it is
            too old for the database. The exit code is that of the first obstacle.
    """
    reports, pause = Reports(), threading.Event()
    missing: list[Obstacle] = []
    with _stop_exits_with(lambda: missing[0].code if missing else ExitCode.READY):
        while missing := dependencies.obstacles():
            reports.report(missing)
            if missing[0].code is ExitCode.VERSION:
                sys.exit(ExitCode.VERSION)
            pause.wait(_POLL_INTERVAL_S)
    reports.report([])


@contextmanager
def _stop_exits_with(code: Callable[[], ExitCode]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda *_: sys.exit(code()))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
