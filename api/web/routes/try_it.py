"""The page where a visitor draws a digit, and a model in the browser recognizes it (`try.js`)."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.deps import ModelId, ServicesDep
from api.http.auth import READ
from api.services import Services
from api.web.pages import render
from shared.schemas import ModelReference, ModelSummary
from shared.store import models

router = APIRouter(include_in_schema=False, dependencies=[READ])

_CHAMPION = "champion"  # the alias that the documents propose for the model in use
_NEWEST = 100  # newest models that are offered besides those with an alias


@router.get("/try")
def try_models(
    request: Request,
    services: ServicesDep,
    model: ModelReference | None = None,
    compared: Annotated[ModelReference | None, Query(alias="with")] = None,
) -> Response:
    """Show the drawing pad and one or two models; without a choice the champion, else the best one."""
    return _show(request, services, model, compared)


@router.get("/models/{model_id}/try")
def try_model(request: Request, services: ServicesDep, model_id: ModelId) -> Response:
    """Show the drawing pad and a model."""
    return _show(request, services, model_id, None)


def _show(
    request: Request,
    services: Services,
    reference: ModelReference | None,
    compared: ModelReference | None,
) -> Response:
    with_alias, best, newest, chosen = services.database.read(
        lambda session: (
            models.named(session),
            models.best(session),
            [model for _, model in models.page(session, runnable=True, limit=_NEWEST)],
            [_chosen(session, each) for each in (reference, compared)],
        )
    )
    first, second = chosen
    known = [model for model in (*with_alias, *newest, best, first, second) if model and model.kind]
    offered: dict[object, ModelSummary] = {model.id: model for model in known}
    champion = next((model for model in known if model.alias == _CHAMPION), best)
    return render(
        request,
        "try.html",
        models=list(offered.values()),
        chosen=first.id if first else champion and champion.id,
        compared=second.id if second else None,
    )


def _chosen(session: Session, reference: ModelReference | None) -> ModelSummary | None:
    """Return the model that the address names, or None; raise the same errors as `models.runnable`."""
    if reference is None:
        return None
    return models.detail(session, models.runnable(session, reference)[0].id)
