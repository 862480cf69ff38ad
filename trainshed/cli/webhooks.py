"""The commands about webhooks: `trainshed webhooks`."""

import time
from collections.abc import Iterable
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

import typer

from shared.lifecycle import JobKind, JobState
from shared.schemas import CreatedWebhook, DeliveryState, Webhook, WebhookDelivery
from trainshed.cli import completion, options
from trainshed.cli.fitting import FittedTable, Row, number, prose
from trainshed.cli.formatting import NOTHING, minute
from trainshed.cli.output import confirm, say, write_json, write_result
from trainshed.client import Client

_TEST_S, _POLL_S = 15.0, 0.25  # a delivery takes at most 10 s


class End(StrEnum):
    """A state in which a job ends."""

    SUCCEEDED = JobState.SUCCEEDED
    FAILED = JobState.FAILED
    CANCELLED = JobState.CANCELLED


app = typer.Typer(invoke_without_command=True)

WebhookId = Annotated[UUID, typer.Argument(metavar="ID", help="The webhook's id, as listed by `webhooks`.")]
DeliveryId = Annotated[
    UUID, typer.Argument(metavar="DELIVERY", help="The delivery's id, as listed by `webhooks deliveries`.")
]


@app.callback()
def webhooks(ctx: typer.Context, server: options.Server, as_json: options.Json = False) -> None:
    """List webhooks, or create, change, test and delete them, and look at their deliveries."""
    if ctx.invoked_subcommand is None:
        write_result(server.webhooks(), _webhook_table, as_json=as_json, if_empty="No webhooks.")


@app.command()
def create(
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where deliveries are sent, by POST.")],
    description: Annotated[str | None, typer.Option("--description", help="Its purpose.")] = None,
    queue: Annotated[
        str | None,
        typer.Option("--queue", help="Only jobs of this queue.", autocompletion=completion.queues),
    ] = None,
    kind: Annotated[JobKind | None, typer.Option("--kind", help="Only jobs of this kind.")] = None,
    states: Annotated[
        list[End] | None,
        typer.Option("--state", help="Only jobs that end in this state; may be repeated."),
    ] = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Create a webhook and print its secret; it cannot be displayed again."""
    created = server.create_webhook(
        url,
        description=description,
        queue=queue,
        kind=kind,
        states=states or None,  # type: ignore[arg-type]  # the same values
    )
    _show_secret(created, as_json=as_json)


@app.command()
def change(
    *,
    webhook: WebhookId,
    url: Annotated[str | None, typer.Option("--url", help="Where deliveries are sent, by POST.")] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="Its purpose; empty: none.")
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue", help="Only jobs of this queue; empty: of all.", autocompletion=completion.queues
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only jobs of this kind; empty: of both kinds.")
    ] = None,
    states: Annotated[
        list[End] | None,
        typer.Option("--state", help="Only jobs that end in this state; may be repeated."),
    ] = None,
    paused: Annotated[
        bool | None, typer.Option("--pause/--resume", help="Send nothing, and keep it; or go on.")
    ] = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Change a webhook's URL or filters, or pause or resume it."""
    given = {"description": description, "queue": queue, "kind": kind}
    changes: dict[str, Any] = {name: value or None for name, value in given.items() if value is not None}
    others = {"url": url, "states": states or None, "paused": paused}
    changes |= {name: value for name, value in others.items() if value is not None}
    if not changes:
        raise typer.BadParameter(
            "name at least one change: --url, --queue, --kind, --state, --pause or --resume"
        )
    changed = server.change_webhook(webhook, **changes)
    confirm(changed, f"Webhook {webhook} is changed, and {_state(changed)}.", as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(webhook: WebhookId, server: options.Server, as_json: options.Json = False) -> None:
    """Replace a webhook's secret and print the new one; the old one also signs for a day."""
    _show_secret(server.rotate_webhook_secret(webhook), as_json=as_json)


@app.command()
def delete(webhook: WebhookId, server: options.Server, as_json: options.Json = False) -> None:
    """Delete a webhook and its deliveries."""
    server.delete_webhook(webhook)
    confirm({"deleted": str(webhook)}, f"Webhook {webhook} is deleted.", as_json=as_json)


@app.command()
def deliveries(
    webhook: WebhookId,
    server: options.Server,
    state: Annotated[
        DeliveryState | None, typer.Option("--state", help="Only deliveries in this state.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many to list.")] = 20,
    as_json: options.Json = False,
) -> None:
    """List a webhook's deliveries, newest first."""
    found = list(islice(server.webhook_deliveries(webhook, state), limit))
    write_result(found, _delivery_table, as_json=as_json, if_empty="No deliveries.")


@app.command("test")
def send_test(webhook: WebhookId, server: options.Server, as_json: options.Json = False) -> None:
    """Send a test, and say whether the receiver has accepted it."""
    sent = _wait_for(server, server.test_webhook(webhook))
    if sent.state is DeliveryState.DELIVERED:
        confirm(sent, f"Delivery {sent.id} is accepted.", as_json=as_json)
        return
    reason = sent.last_error or f"it was not sent within {_TEST_S:g} s"
    confirm(sent, f"Delivery {sent.id} is not accepted: {reason}.", as_json=as_json)
    raise typer.Exit(1)


@app.command()
def redeliver(
    webhook: WebhookId, delivery: DeliveryId, server: options.Server, as_json: options.Json = False
) -> None:
    """Send a delivery again, with the same id."""
    again = server.redeliver(webhook, delivery)
    confirm(again, f"Delivery {delivery} is sent again.", as_json=as_json)


def _show_secret(webhook: CreatedWebhook, *, as_json: bool) -> None:
    if as_json:
        write_json(webhook)
        return
    typer.echo(webhook.secret)
    say(f"The receiver verifies signatures with this secret: it is not shown again. Its id is {webhook.id}.")


def _state(webhook: Webhook) -> str:
    return "disabled" if webhook.disabled_at else "paused" if webhook.paused_at else "enabled"


def _wait_for(server: Client, delivery: WebhookDelivery) -> WebhookDelivery:
    """Wait until a delivery's first attempt has ended, `_TEST_S` seconds at most, and return the delivery."""
    deadline = time.monotonic() + _TEST_S
    while delivery.state is DeliveryState.PENDING and not delivery.last_error:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
        found = server.webhook_deliveries(delivery.webhook_id)
        delivery = next((each for each in found if each.id == delivery.id), delivery)
    return delivery


def _webhook_table(webhooks: Iterable[Webhook]) -> FittedTable:
    """Return webhooks, one per row, by their whole ids, which the commands require."""
    rows: Iterable[Row] = (
        {
            "Webhook": str(webhook.id),
            "URL": prose(webhook.url),
            "Jobs": prose(_jobs(webhook)),
            "State": _state(webhook),
            "Last accepted": number(
                minute(webhook.last_delivered_at) if webhook.last_delivered_at else NOTHING
            ),
            "Pending": number(f"{webhook.pending:,}"),
            "Dead": number(f"{webhook.dead:,}"),
        }
        for webhook in webhooks
    )
    return FittedTable(rows, optional=("Last accepted", "State", "Jobs"))


def _jobs(webhook: Webhook) -> str:
    ends = webhook.states if len(webhook.states) < len(End) else ()
    return " ".join(filter(None, (webhook.queue, webhook.kind, *ends))) or "all"


def _delivery_table(deliveries: Iterable[WebhookDelivery]) -> FittedTable:
    """Return deliveries, one per row."""
    rows: Iterable[Row] = (
        {
            "Delivery": str(delivery.id),
            "Event": delivery.type,
            "Job": str(delivery.job_id or NOTHING),
            "State": delivery.state,
            "Attempts": number(f"{delivery.attempts:,}"),
            "Next": number(minute(delivery.next_at) if delivery.next_at else NOTHING),
            "Last error": prose(delivery.last_error),
        }
        for delivery in deliveries
    )
    return FittedTable(rows, optional=("Job", "Next", "Attempts", "Event"))
