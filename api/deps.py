"""What routes ask for: the services, and the headers and path parts that several of them read."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request

from api.services import Services


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]

JobId = Annotated[UUID, Path(description="The job's id, as POST /v1/jobs answered it.")]
ModelId = Annotated[UUID, Path(description="The model's id: a finished training job names it as `model_id`.")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text that no other request has, such as a UUID. Sent again with the same request, "
        "it answers the first one's job instead of making another.",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="An ETag that was answered before: 304 if it holds."),
]
