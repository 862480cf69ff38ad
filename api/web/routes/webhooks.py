"""Webhooks: create, change, test and delete them; show their dead deliveries, and send these again."""

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
from shared.schemas import CreatedWebhook, DeliveryState, WebhookCreate, WebhookUpdate
from shared.store import activity

router = APIRouter(prefix="/settings/webhooks", include_in_schema=False, dependencies=[ADMIN])

_AN_OPEN_PAGE = 50
_KEEP = "keep"  # the choice for a webhook with two end states, which the form cannot express
_DEAD = 20  # dead deliveries of a webhook that are shown
ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@router.get("")
def show_webhooks(request: Request, services: ServicesDep, query: PageDep) -> Response:
    """Show the webhooks, each with its newest dead deliveries."""
    return _render(request, services, query)


@router.post("")
def create_webhook(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """Create a webhook, and show its secret only this once."""
    try:
        new = WebhookCreate.model_validate(_fields(form))
        created = webhook_routes.create_webhook(services, new, Response())
    except ValidationError as error:
        return _render(request, services, wrong=errors(error), form=form, status=422)
    except InvalidWebhookUrl as error:
        return _render(request, services, wrong={"url": str(error)}, form=form, status=422)
    return _show_secret(request, services, created)


@router.post("/{webhook_id:uuid}/change")
def change_webhook(request: Request, services: ServicesDep, webhook_id: UUID, form: FormDep) -> Response:
    """Change a webhook's URL, and the jobs that it reports."""
    try:
        fields = {"states": ENDS, **_fields(form)}
        if form.get("state") == _KEEP:
            del fields["states"]
        webhook_routes.update_webhook(services, webhook_id, WebhookUpdate.model_validate(fields))
    except ValidationError as error:
        return _render(request, services, wrong=errors(error), form=form, changed=webhook_id, status=422)
    except InvalidWebhookUrl as error:
        wrong = {"url": str(error)}
        return _render(request, services, wrong=wrong, form=form, changed=webhook_id, status=422)
    return see_other("/settings/webhooks")


@router.post("/{webhook_id:uuid}/pause")
def pause(services: ServicesDep, webhook_id: UUID) -> Response:
    """Pause a webhook; its deliveries wait."""
    webhook_routes.update_webhook(services, webhook_id, WebhookUpdate(paused=True))
    return see_other("/settings/webhooks")


@router.post("/{webhook_id:uuid}/resume")
def resume(services: ServicesDep, webhook_id: UUID) -> Response:
    """Resume a webhook, and send the deliveries that have waited."""
    webhook_routes.update_webhook(services, webhook_id, WebhookUpdate(paused=False))
    return see_other("/settings/webhooks")


@router.post("/{webhook_id:uuid}/rotate-secret")
def rotate_secret(request: Request, services: ServicesDep, webhook_id: UUID) -> Response:
    """Replace a webhook's secret, and show the new one only this once."""
    return _show_secret(request, services, webhook_routes.rotate_secret(services, webhook_id, Response()))


@router.post("/{webhook_id:uuid}/test")
def send_test(services: ServicesDep, webhook_id: UUID) -> Response:
    """Send a test delivery."""
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


def _show_secret(request: Request, services: Services, created: CreatedWebhook) -> Response:
    page = _render(request, services, created=created)
    page.headers["Cache-Control"] = "no-store"  # so that no cache keeps the secret
    return page


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
    changed: UUID | None = None,
    wrong: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    """Return the page of webhooks.

    Args:
        created: a webhook whose new secret is shown, only this once.
        changed: the webhook that `form` changes; None if `form` creates one.
        wrong: the errors of the form's fields.
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
        changed=changed,
        errors=wrong or {},
        form=form or {},
        kinds=list(JobKind),
        ends=ENDS,
    )
