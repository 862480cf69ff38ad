"""The check of Redis, with a real one, and what it says to do."""

from collections.abc import Callable, Iterator
from time import monotonic

import pytest
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from shared.redis_check import check_sending, check_taking, explain
from tests.support.servers import RedisServer

_LISTS = ("one", "two")


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Redis]:
    with redis.client() as client:
        yield client


@pytest.mark.parametrize("check", [check_sending, check_taking])
def test_the_check_changes_nothing(client: Redis, check: Callable[[Redis, tuple[str, ...]], None]) -> None:
    check(client, _LISTS)
    client.lpush("one", "message")
    check(client, _LISTS)
    assert (list(client.scan_iter()), client.llen("one")) == (["one"], 1)


@pytest.mark.parametrize("check", [check_sending, check_taking])
def test_a_key_of_another_type_fails_it(
    client: Redis, check: Callable[[Redis, tuple[str, ...]], None]
) -> None:
    client.set("two", "text")
    with pytest.raises(ResponseError) as caught:
        check(client, _LISTS)
    assert explain(caught.value).startswith("a key in Redis is no list: delete it")
    assert "LLEN two" in explain(caught.value)


@pytest.mark.parametrize("check", [check_sending, check_taking])
def test_a_replica_fails_it(client: Redis, check: Callable[[Redis, tuple[str, ...]], None]) -> None:
    client.replicaof("127.0.0.1", "1")
    with pytest.raises(ReadOnlyError) as caught:
        check(client, _LISTS)
    assert "read-only replica" in explain(caught.value)


def test_a_full_memory_fails_sending_but_not_taking(client: Redis) -> None:
    client.config_set("maxmemory", "1")
    check_taking(client, _LISTS)
    with pytest.raises(OutOfMemoryError) as caught:
        check_sending(client, _LISTS)
    assert "`maxmemory`" in explain(caught.value)


def test_a_password_that_is_missing_or_wrong_fails_it(client: Redis, redis: RedisServer) -> None:
    client.config_set("requirepass", "hunter2")
    for url in (redis.url, redis.url.replace("unix://", "unix://:wrong@")):
        with Redis.from_url(url) as other, pytest.raises(RedisError) as caught:
            check_taking(other, _LISTS)
        assert "user or password" in explain(caught.value)


def test_a_redis_that_hangs_fails_it_within_its_timeout(redis: RedisServer) -> None:
    with Redis.from_url(redis.url, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
        redis.hang()
        started = monotonic()
        with pytest.raises(TimeoutError) as caught:
            check_sending(client, _LISTS)
        assert monotonic() - started < 2
        redis.wake()
    assert explain(caught.value).startswith("Redis is unavailable")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ValueError("invalid literal for int()"), "no Redis: correct TRAINSHED_REDIS_URL"),
        (ConnectionError("Error 111 connecting to host"), "Redis is unavailable: start it"),
        (OSError("no such file"), "Redis is unavailable: start it"),
        (AuthenticationError("invalid"), "user or password"),
        (ResponseError("NOAUTH Authentication required."), "user or password"),
        (NoPermissionError("this user has no permissions"), "user or password"),
        (ResponseError("MISCONF Redis is configured to save"), "refuses a command: MISCONF Redis is"),
    ],
)
def test_each_error_is_explained(error: Exception, advice: str) -> None:
    assert advice in explain(error)


def test_a_long_reply_is_quoted_in_part() -> None:
    assert len(explain(ResponseError("x" * 10_000))) < 300
