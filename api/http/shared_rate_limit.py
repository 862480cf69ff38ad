"""One rate limit for all API processes: a few times a second, each adds its counts of requests to Redis.

No request waits for Redis. Between two exchanges a process decides by the counts that it knows; requests that
were too many count afterwards, so that the average rate is that of a single limit. Without Redis, each
process limits by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript

from api.background import running_tasks
from api.http.rate_limit import RateLimiter, Taken
from shared import log
from shared.redis_check import explain
from shared.settings import Settings

_PREFIX = "trainshed:rate:"
_EXCHANGE_S = 0.25  # seconds until the next exchange, or less if a client sends many requests
_PAUSE_S = 0.01  # the least seconds until the next exchange
_TIMEOUT_S = 0.5
_RETRY_S = 1.0  # seconds until the next exchange after one that failed
_MAX_CLIENTS = 200  # clients in a call of Redis, which keeps it busy for less than a millisecond

# GCRA by Redis's clock; a key has the theoretical arrival time of a client's next request, and expires then
_ADD = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local most = tonumber(ARGV[#KEYS + 1])
local debts = {}
for i, key in ipairs(KEYS) do
    local debt = math.max(0, (redis.call('GET', key) or now) - now)
    debt = math.min(most, debt + ARGV[i])
    redis.call('SET', key, string.format('%.6f', now + debt), 'PX', math.ceil(debt * 1000))
    debts[i] = string.format('%.6f', debt)
end
return debts
"""

_log = log.get_logger(__name__)


class SharedRateLimit:
    """The exchange of a limiter's counts with other processes, through Redis. For one event loop."""

    def __init__(self, limiter: RateLimiter, settings: Settings) -> None:
        """Prepare the exchange without connecting; Redis need not be up."""
        self._limiter = limiter
        self._url = settings.effective_redis_url
        self._is_shared = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Share the limit until the end of the block."""
        async with running_tasks(*([self._run()] if self._limiter.per_second else [])):
            yield

    async def _run(self) -> None:
        client = redis.Redis.from_url(
            self._url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # a retry could add the same counts twice
            decode_responses=True,
        )
        add, task = client.register_script(_ADD), asyncio.current_task()
        async with client:
            with suppress(Exception):  # the client may raise any error
                await add([], [0])  # connects, so that the first exchange is as quick as later ones
            # an error that the client raises as it closes a connection may replace the task's cancellation
            while task is not None and not task.cancelling():
                await self._limiter.much_taken(_EXCHANGE_S)
                await asyncio.sleep(await self._exchange(add))

    async def _exchange(self, add: AsyncScript) -> float:
        """Exchange the counts since the last exchange; return the seconds to wait before the next one."""
        taken = self._limiter.take()
        try:
            for start in range(0, len(taken), _MAX_CLIENTS):
                part = taken[start : start + _MAX_CLIENTS]
                keys = [_key(each) for each in part]
                debts = await add(keys, [*(each.seconds for each in part), 2 * self._limiter.burst_s])
                for each, debt in zip(part, debts, strict=True):
                    self._limiter.share(each, float(debt))
        except Exception as error:
            # the client may raise any error, and none may end the task. The counts are dropped: added after
            # an outage, all at once, they would make clients wait that were never over the limit
            if self._is_shared:
                _log.warning(
                    "Redis is unavailable: each API process limits the rate of requests by itself",
                    error=explain(error),
                )
            self._is_shared = False
            return _RETRY_S
        if taken:
            self._is_shared = True
        return _PAUSE_S


def _key(taken: Taken) -> str:
    return f"{_PREFIX}{'known' if taken.is_known else 'stranger'}:{taken.client}"
