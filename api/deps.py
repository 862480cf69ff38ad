"""What routes ask for: the services, and the headers and path parts that several of them read."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request

from api.changes import Changes
from api.services import Services
from shared.schemas import ModelReference


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _changes(request: Request) -> Changes:
    changes: Changes = request.app.state.changes
    return changes


ServicesDep = Annotated[Services, Depends(_services)]
ChangesDep = Annotated[Changes, Depends(_changes)]

JobId = Annotated[UUID, Path(description="The job's id, as POST /v1/jobs answered it.")]
ModelId = Annotated[
    ModelReference,
    Path(description="The model's id, which a finished training job names as `model_id`, or its alias."),
]

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
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="An ETag of the job's: 412 if the job has changed since."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="An ETag that was answered before: 304 if it holds."),
]
