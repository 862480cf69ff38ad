"""A load balancer without any affinity: each request goes to another server than the one before."""

from collections.abc import Sequence
from itertools import cycle

import httpx

from tests.support.servers import NO_TLS


class RoundRobin(httpx.BaseTransport):
    """Sends the requests of a client to several servers in turn.

    Attributes:
        sent: how many requests each server was sent.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.sent = [0] * len(urls)
        self._urls = [httpx.URL(url) for url in urls]
        self._turns = cycle(range(len(urls)))
        self._transport = httpx.HTTPTransport(verify=NO_TLS)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        number = next(self._turns)
        self.sent[number] += 1
        url = self._urls[number]
        request.url = request.url.copy_with(host=url.host, port=url.port)
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()
