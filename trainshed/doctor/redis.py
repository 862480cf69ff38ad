"""Checks of Redis: whether it is reachable and usable, and never evicts messages."""

import time
from collections.abc import Iterator

from redis import Redis
from redis.exceptions import RedisError

from shared import redis_check
from shared.settings import Settings
from trainshed.doctor.findings import TIMEOUT_S, Finding, error, ok, warning

_SUBJECT = "redis"
_OLDEST = (6, 2)
_SLOW_S = 0.05


def check(settings: Settings) -> Iterator[Finding]:
    """Check the Redis that the settings name. Without it jobs are accepted, but start late."""
    if not settings.redis_url and not settings.redis_socket.exists():
        message = f"the embedded Redis does not run: there is no {settings.redis_socket}"
        yield error(_SUBJECT, message, "run `trainshed up`, or set TRAINSHED_REDIS_URL")
        return
    try:
        client: Redis = Redis.from_url(
            settings.effective_redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
    except ValueError as invalid:
        yield error(_SUBJECT, f"no Redis can have this URL: {invalid}", "correct TRAINSHED_REDIS_URL")
        return
    try:
        yield from _check(client, settings)
    except (RedisError, OSError, *redis_check.PARSER_ERRORS) as refused:
        message, _, advice = redis_check.explain(refused).partition(": ")
        yield error(_SUBJECT, message, advice)
    finally:
        client.close()


def _check(client: Redis, settings: Settings) -> Iterator[Finding]:
    redis_check.check_sending(client, settings.queues)
    started_at = time.perf_counter()
    client.ping()
    took_s = time.perf_counter() - started_at
    facts = client.info()
    version = str(facts["redis_version"])  # for Valkey, the version of the compatible Redis
    name = f"Valkey {facts['valkey_version']}" if "valkey_version" in facts else f"Redis {version}"
    yield ok(_SUBJECT, f"it answers within {1_000 * took_s:.1f} ms: {name}")
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        yield warning(_SUBJECT, f"version {version} is old, and not tested", "upgrade it to 6.2 or later")
    if took_s > _SLOW_S:
        message = f"a round trip takes {1_000 * took_s:.0f} ms, which delays the start of each job"
        yield warning(_SUBJECT, message, "run it near the API and the workers")
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory") and policy != "noeviction":
        message = f"`maxmemory-policy` is {policy}: it may evict messages, and then jobs start late"
        yield warning(_SUBJECT, message, "set `maxmemory-policy noeviction`")
