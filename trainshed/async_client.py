"""The Python client for programs with an event loop: Trainshed's REST API as typed coroutines."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

import httpx

from trainshed.connection import AsyncTransport, Connection, Transport, http_options
from trainshed.operations.following import Following
from trainshed.operations.models import Models
from trainshed.operations.results import Results
from trainshed.operations.webhooks import Webhooks
from trainshed.operations.workers import Administration, Workers

if TYPE_CHECKING:
    from shared.settings import Settings

_MAX_LONG_POLL_S = 30.0  # the longest `wait` that the server accepts


class AsyncClient(Following, Results, Models, Workers, Webhooks, Administration):
    """A client of a Trainshed server, for programs with an event loop.

    Its methods are those of `Client`, to be awaited, or iterated over by `async for`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        patience_s: float = 30.0,
        timeout_s: float = 15.0,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        """Prepare to connect; the arguments are those of `Client`."""
        url, api_key = server_and_key(url, api_key)
        http = httpx.AsyncClient(**http_options(url, api_key, timeout_s), transport=transport)
        self._connect(url, AsyncTransport(http, sleep), patience_s, timeout_s)

    @classmethod
    def over(cls, url: str, transport: Transport, *, patience_s: float, timeout_s: float) -> Self:
        """Return a client that sends its requests by this transport."""
        client = cls.__new__(cls)
        client._connect(url, transport, patience_s, timeout_s)
        return client

    def _connect(self, url: str, transport: Transport, patience_s: float, timeout_s: float) -> None:
        self._connection = Connection(url, transport, patience_s=patience_s)
        self._long_poll_s = min(_MAX_LONG_POLL_S, timeout_s * 2 / 3)

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._connection.url

    async def close(self) -> None:
        """Close every connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<trainshed.{type(self).__name__} of {self.url}>"


def server_and_key(url: str | None, api_key: str | None) -> tuple[str, str]:
    """Return a client's URL and API key, from its arguments or the settings; the key is empty for none."""
    # imported here, since `import trainshed` should be quick
    from shared.settings import get_settings

    settings = get_settings()
    url = url or settings.url
    if api_key is None:
        # an administrator's key of API_KEYS must reach no server but this host's own
        api_key = settings.api_key.get_secret_value() if url else local_api_key(settings)
    return url or local_url(settings), api_key


def local_url(settings: "Settings") -> str:
    """Return the URL at which this host reaches the API of these settings."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def local_api_key(settings: "Settings") -> str:
    """Return the key for the API of these settings: `API_KEY`, else the first of `API_KEYS`, else empty."""
    keys = (settings.api_key, *settings.api_keys)
    return next((key.get_secret_value() for key in keys if key), "")
