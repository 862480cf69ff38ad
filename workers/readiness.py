"""What a worker needs to work: a database with its schema, Redis, a GPU if required. Says what is missing."""

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

_TIMEOUT_S = 2.0  # of Redis
_POLL_INTERVAL_S = 1.0
_REPORT_INTERVAL_S = 60.0
_MAX_REASON = 200  # characters of a driver's message


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
        code: what is missing.
        text: the same for people, and what to do.
    """

    code: ExitCode
    text: str


class Dependencies:
    """The database and the Redis that the settings name, for checks."""

    def __init__(self, settings: Settings) -> None:
        """Prepare.

        Raises:
            SQLAlchemyError, ImportError: no database can have this URL.
            ValueError: no Redis can have this URL.
        """
        self._settings = settings
        url = settings.effective_database_url
        self._database = Database(url, patience_s=0, program="trainshed-worker")
        self._redis: Redis = Redis.from_url(
            settings.effective_redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    def obstacles(self) -> list[Obstacle]:
        """Return everything that is missing now, in the order in which it is needed."""
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
    """Return what is missing of the database; None if it can be used."""
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
    """Return that no GPU is visible if one is required."""
    if not settings.require_gpu or visible_gpus():
        return None
    advice = "give it one (docker run --gpus all, nvidia.com/gpu), or unset TRAINSHED_REQUIRE_GPU"
    return Obstacle(ExitCode.GPU, f"this worker needs a GPU, and nvidia-smi lists none: {advice}")


class Reports:
    """Logs what is missing: when that changes, and each minute while it does not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._codes: list[ExitCode] = []
        self._reported_at = 0.0

    def report(self, obstacles: list[Obstacle]) -> None:
        """Log what is missing now, if that has changed or the last line about it is old enough."""
        codes, now = [each.code for each in obstacles], self._clock()
        if codes != self._codes or now - self._reported_at >= _REPORT_INTERVAL_S:
            if obstacles:
                _log.error(f"cannot work: {'; '.join(each.text for each in obstacles)}")
            elif self._codes:
                _log.info("nothing is missing any more")
            self._codes, self._reported_at = codes, now


def check(dependencies: Dependencies) -> ExitCode:
    """Log what is missing now, and return the code of the first of it."""
    obstacles = dependencies.obstacles()
    Reports().report(obstacles)
    if not obstacles:
        _log.info("nothing is missing")
    return obstacles[0].code if obstacles else ExitCode.READY


def wait(dependencies: Dependencies) -> None:
    """Wait until nothing is missing; log what is.

    Raises:
        SystemExit: the worker was stopped meanwhile (SIGTERM, Ctrl-C), or waits in vain, since it is too old
            for the database; the code says what is missing.
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
