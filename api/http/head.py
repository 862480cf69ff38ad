"""HEAD requests, which are answered like a GET of the same URL, without the body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """ASGI middleware that answers HEAD with the route for GET (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        get, is_answered = {**scope, "method": "GET"}, False

        async def send_head(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                scope["route"] = get.get("route")  # the request metrics name it
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                is_answered = True

        async def receive_until_answered() -> Message:
            # a stream of events would otherwise continue until its client disconnects
            return {"type": "http.disconnect"} if is_answered else await receive()

        await self._app(get, receive_until_answered, send_head)
