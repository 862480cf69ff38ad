"""Webhooks: addresses that are told about jobs that have ended, and what was sent to them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, Strict

from shared.lifecycle import JobKind, JobState
from shared.schemas.base import PARTIAL_UPDATE, Request, Response
from shared.schemas.refusals import HTTP_URL, QUEUE_PATTERN
from shared.texts import PRINTABLE

EndState = Literal[JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]
"""A state in which a job ends."""

_ALL_ENDS: tuple[EndState, ...] = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class DeliveryState(StrEnum):
    """Whether a delivery is still to be sent, has been accepted, or was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


_Url = Annotated[
    str,
    Field(
        max_length=2_000,
        pattern=HTTP_URL,
        description="Where deliveries are sent, by POST: http or https.",
    ),
]


class _WebhookFields(Request):
    description: str | None = Field(
        default=None, min_length=1, max_length=200, pattern=PRINTABLE, description="What it is for."
    )
    queue: Annotated[str, Field(pattern=QUEUE_PATTERN)] | None = Field(
        default=None, description="Only jobs of this queue; null: of all queues."
    )
    kind: JobKind | None = Field(default=None, description="Only jobs of this kind; null: of both kinds.")
    states: tuple[EndState, ...] = Field(
        default=_ALL_ENDS,
        min_length=1,
        max_length=3,
        description="Only jobs that end in one of these states.",
    )


class WebhookCreate(_WebhookFields):
    """A request to create a webhook."""

    url: _Url


class WebhookUpdate(_WebhookFields):
    """Changes of a webhook. Omitted fields stay unchanged; null removes the value."""

    model_config = PARTIAL_UPDATE

    url: _Url = ""
    paused: Annotated[bool, Strict()] = Field(
        default=False, description="Whether nothing is sent: what is pending waits."
    )


class Webhook(Response):
    """A webhook, without its secret.

    Attributes:
        disabled_at: when its receiver answered 410 Gone; nothing is sent for jobs that end later, until a
            test or a repeated delivery is accepted, or it gets another URL.
        paused_at: since when nothing but tests is sent; what is pending waits.
        previous_secret_until: until when the secret before the last one signs too.
        last_delivered_at: when its receiver last accepted a delivery.
        pending: deliveries that are still to be sent.
        dead: deliveries that were given up.
    """

    id: UUID
    url: str
    description: str | None
    queue: str | None
    kind: JobKind | None
    states: tuple[EndState, ...]
    created_at: datetime
    disabled_at: datetime | None
    paused_at: datetime | None = None
    previous_secret_until: datetime | None = None
    last_delivered_at: datetime | None = None
    pending: int = 0
    dead: int = 0


class CreatedWebhook(Webhook):
    """A webhook with its new secret.

    Attributes:
        secret: verifies the signatures of its deliveries; no later response contains it.
    """

    secret: str = Field(repr=False)


class WebhookDelivery(Response):
    """The end of a job, as it is or was told to a webhook.

    Attributes:
        id: the header `webhook-id`, the same in each attempt.
        type: `job.succeeded`, `job.failed`, `job.cancelled` or `webhook.test`.
        job_id: null for a test.
        attempts: how often it was sent.
        next_at: when it is sent next; null if it is not.
        last_error: why the last attempt failed.
    """

    id: UUID
    webhook_id: UUID
    type: str
    job_id: UUID | None
    state: DeliveryState
    created_at: datetime
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    dead_at: datetime | None
    last_error: str | None
