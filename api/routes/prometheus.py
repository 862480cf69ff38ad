"""What Prometheus scrapes."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.deps import ServicesDep
from api.problems import documented
from api.prometheus import RequestTimes, jobs_exposition

router = APIRouter(tags=["health"])

_TEXT = {"text/plain": {"schema": {"type": "string"}}}


@router.get(
    "/metrics",
    response_class=Response,
    responses={**documented(), 200: {"description": "Prometheus's text format", "content": _TEXT}},
)
def scrape(request: Request, services: ServicesDep) -> Response:
    """Jobs, workers and requests in numbers, for Prometheus."""
    times: RequestTimes = request.app.state.request_times
    body = jobs_exposition(services.database, services.tally) + times.exposition()
    return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)
