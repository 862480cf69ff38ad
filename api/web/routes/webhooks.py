"""Webhooks: create, test, delete; the deliveries that were given up."""

from collections.abc import Mapping
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.deps import ServicesDep
from api.http.auth import ADMIN
from api.http.paging import PageDep, PageQuery
from api.routes import webhooks as webhook_routes
from api.services import Services
from api.web.forms import FormDep, errors, see_other
from api.web.pages import render
from shared.errors import InvalidWebhookUrl
from shared.lifecycle import JobKind, JobState
from shared.schemas import CreatedWebhook, DeliveryState, WebhookCreate
from shared.store import activity

router = APIRouter(prefix="/settings/webhooks", include_in_schema=False, dependencies=[ADMIN])

_AN_OPEN_PAGE = 50
_DEAD = 20  # deliveries of a webhook that are shown
ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@router.get("")
def show_webhooks(request: Request, services: ServicesDep, query: PageDep) -> Response:
    """Show the webhooks, and of each the newest deliveries that were given up."""
    return _render(request, services, query)


@router.post("")
def create_webhook(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """Create a webhook, and show its secret this once."""
    answer = Response()
    try:
        created = webhook_routes.create_webhook(services, WebhookCreate.model_validate(_fields(form)), answer)
    except ValidationError as error:
        return _render(request, services, wrong=errors(error), form=form, status=422)
    except InvalidWebhookUrl as error:
        return _render(request, services, wrong={"url": str(error)}, form=form, status=422)
    page = _render(request, services, created=created)
    page.headers["Cache-Control"] = answer.headers["Cache-Control"]  # no copy of the secret is kept
    return page


@router.post("/{webhook_id:uuid}/test")
def send_test(services: ServicesDep, webhook_id: UUID) -> Response:
    """Send a test."""
    webhook_routes.test_webhook(services, webhook_id)
    return see_other("/settings/webhooks")


@router.post("/{webhook_id:uuid}/delete")
def delete_webhook(services: ServicesDep, webhook_id: UUID) -> Response:
    """Delete a webhook and its deliveries."""
    webhook_routes.delete_webhook(services, webhook_id)
    return see_other("/settings/webhooks")


@router.post("/{webhook_id:uuid}/deliveries/{delivery_id:uuid}/redeliver")
def redeliver(services: ServicesDep, webhook_id: UUID, delivery_id: UUID) -> Response:
    """Send a delivery again."""
    webhook_routes.redeliver(services, webhook_id, delivery_id)
    return see_other("/settings/webhooks")


def _fields(form: Mapping[str, str]) -> dict[str, object]:
    texts = {name: form.get(name, "").strip() or None for name in ("description", "queue", "kind")}
    state = form.get("state")
    return {"url": form.get("url", "").strip(), **texts, **({"states": [state]} if state else {})}


def _render(
    request: Request,
    services: Services,
    query: PageQuery | None = None,
    *,
    created: CreatedWebhook | None = None,
    wrong: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Return the page.

    Args:
        created: a new webhook, whose secret is to be shown this once.
        wrong: what is wrong with each of the form's fields.
    """
    page = webhook_routes.list_webhooks(services, query or PageQuery(_AN_OPEN_PAGE, None))
    newest = PageQuery(_DEAD, None)
    return render(
        request,
        "webhooks.html",
        status=status,
        now=services.database.read(activity.read_now),
        webhooks=page.data,
        next_page=f"/settings/webhooks?cursor={page.next_cursor}" if page.has_more else None,
        dead={
            hook.id: webhook_routes.list_deliveries(services, newest, hook.id, DeliveryState.DEAD).data
            for hook in page.data
            if hook.dead
        },
        created=created,
        errors=wrong or {},
        form=form or {},
        kinds=list(JobKind),
        ends=ENDS,
    )
