"""A Redis that is away, refuses commands, or evicts messages is named."""

import re
from signal import SIGKILL

from shared.settings import Settings
from tests.support.servers import RedisServer
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import redis as redis_check


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"redis_url": url})


def test_a_good_redis_is_good(settings: Settings, found: Found, redis: RedisServer) -> None:
    [(severity, message, _)] = found(redis_check.check, at(settings, redis.url))
    assert severity == "ok"
    assert re.fullmatch(r"it answers within \d+\.\d ms: Valkey 9\.\d+\.\d+", message)


def test_the_embedded_redis_does_not_run(settings: Settings, found: Found) -> None:
    [(severity, message, advice)] = found(redis_check.check, at(settings, ""))
    assert (severity, message) == (
        "error",
        f"the embedded Redis does not run: there is no {settings.redis_socket}",
    )
    assert "trainshed up" in advice


def test_a_redis_that_is_away(settings: Settings, found: Found, redis: RedisServer) -> None:
    redis.stop(SIGKILL)
    [(severity, message, advice)] = found(redis_check.check, at(settings, redis.url))
    assert (severity, message) == ("error", "Redis is unavailable")
    assert advice == "start it, or correct TRAINSHED_REDIS_URL"


def test_a_url_of_no_redis(settings: Settings, found: Found) -> None:
    [(severity, _, advice)] = found(redis_check.check, at(settings, "http://example.org"))
    assert (severity, advice) == ("error", "correct TRAINSHED_REDIS_URL")


def test_a_key_of_another_type(settings: Settings, found: Found, redis: RedisServer) -> None:
    with redis.client() as client:
        client.set("default", "not a list")
    [(severity, message, advice)] = found(redis_check.check, at(settings, redis.url))
    assert (severity, message) == ("error", "a key in Redis is no list")
    assert advice.startswith("delete it")


def test_a_redis_that_evicts_messages(settings: Settings, found: Found, redis: RedisServer) -> None:
    with redis.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        _, (severity, message, advice) = found(redis_check.check, at(settings, redis.url))
        assert (severity, advice) == ("warning", "set `maxmemory-policy noeviction`")
        assert "allkeys-lru" in message
        client.config_set("maxmemory-policy", "noeviction")
        assert [severity for severity, _, _ in found(redis_check.check, at(settings, redis.url))] == ["ok"]
