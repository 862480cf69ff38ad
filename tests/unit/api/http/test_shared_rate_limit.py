"""Two limiters, as of two API processes, and a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from redis import Redis
from redis.exceptions import RedisError

from api.http import shared_rate_limit
from api.http.rate_limit import RateLimiter
from api.http.shared_rate_limit import SharedRateLimit
from shared.settings import Settings
from tests.support.servers import RedisServer

RATE = 10.0
BURST = 100
BEYOND = BURST / 2  # it is a second's worth, and what comes until Redis replies: much, on a busy machine
TIMEOUT_S = 60

Share = Callable[[RateLimiter, RateLimiter], Awaitable[None]]


@pytest.fixture
def settings(settings: Settings, redis: RedisServer) -> Settings:
    return settings.model_copy(update={"redis_url": redis.url})


def with_two(settings: Settings, work: Share) -> None:
    """Run a coroutine with two limiters that share one limit."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            limiters = [RateLimiter(RATE) for _ in range(2)]
            for limiter in limiters:
                await stack.enter_async_context(SharedRateLimit(limiter, settings).running())
                await have_connected(limiter)
            await work(*limiters)

    async def have_connected(limiter: RateLimiter) -> None:
        """Wait for a first exchange, if there is a Redis: it takes longer than those that follow."""
        limiter.acquire("first", is_known=False)
        with Redis.from_url(settings.redis_url) as client, suppress(RedisError):
            while client.pttl("trainshed:rate:stranger:first") <= 0:
                await pause()
            client.delete("trainshed:rate:stranger:first")

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


async def pause() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def allowed(limiters: list[RateLimiter], client: str, *, until_refused: int = 50) -> int:
    """Send requests to each in turn until this many have been refused; return how many were not."""
    allowed = refused = 0
    while refused < until_refused:
        for limiter in limiters:
            if limiter.acquire(client, is_known=True):
                refused += 1
            else:
                allowed += 1
        await pause()
    return allowed


async def is_limited(limiter: RateLimiter, client: str) -> bool:
    """Return whether a client has hardly anything left, as it is new here, but has sent much elsewhere."""
    return await allowed([limiter], client, until_refused=1) <= BEYOND


def test_requests_to_one_count_at_the_other(settings: Settings) -> None:
    async def work(first: RateLimiter, second: RateLimiter) -> None:
        assert BURST <= await allowed([first], "a") <= BURST + BEYOND
        assert await is_limited(second, "a")
        assert not second.acquire("b", is_known=True)
        assert not second.acquire("a", is_known=False)

    with_two(settings, work)


def test_two_let_through_hardly_more_than_one(settings: Settings) -> None:
    async def work(first: RateLimiter, second: RateLimiter) -> None:
        assert BURST <= await allowed([first, second], "a") <= BURST + BEYOND

    with_two(settings, work)


def test_without_redis_each_limits_by_itself_and_shares_again_when_it_is_back(
    settings: Settings, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rate_limit, "_RETRY_S", 0.02)
    redis.stop()

    async def work(first: RateLimiter, second: RateLimiter) -> None:
        assert 2 * BURST <= await allowed([first, second], "a") <= 2 * BURST + BEYOND
        await asyncio.to_thread(redis.start)
        await allowed([first], "b")
        assert await is_limited(second, "b")

    with_two(settings, work)


def test_an_emptied_redis_gives_no_client_its_burst_again(settings: Settings, redis: RedisServer) -> None:
    async def work(first: RateLimiter, second: RateLimiter) -> None:
        await allowed([first], "a")
        assert await is_limited(second, "a")
        with redis.client() as client:
            assert client.flushall()
        assert await allowed([first, second], "a", until_refused=20) <= BEYOND

    with_two(settings, work)


def test_many_clients_are_shared_in_parts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_rate_limit, "_MAX_CLIENTS", 1)

    async def work(first: RateLimiter, second: RateLimiter) -> None:
        for client in "abc":
            await allowed([first], client, until_refused=1)
        for client in "abc":
            assert await is_limited(second, client)

    with_two(settings, work)


def test_redis_forgets_a_client_when_what_it_was_let_through_is_worked_off(
    settings: Settings, redis: RedisServer
) -> None:
    async def work(first: RateLimiter, _: RateLimiter) -> None:
        await allowed([first], "a", until_refused=1)
        with redis.client() as client:
            while not (keys := await asyncio.to_thread(client.keys, "trainshed:rate:*")):
                pass
            assert keys == ["trainshed:rate:known:a"]
            assert 0 < client.pttl(keys[0]) <= 1_000 * BURST / RATE

    with_two(settings, work)


def test_without_a_limit_nothing_is_shared(redis: RedisServer) -> None:
    async def run() -> None:
        limiter = RateLimiter(0)
        async with SharedRateLimit(limiter, Settings(redis_url=redis.url)).running():
            limiter.acquire("a", is_known=True)
            await limiter.much_taken(0.05)

    asyncio.run(run())
    with redis.client() as client:
        assert client.info("clients")["connected_clients"] == 1
