"""The addresses that problems name as their types."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from api.problems import TYPES, ProblemType, documented, respond

router = APIRouter(prefix="/problems", tags=["problems"])


@router.get(
    "/{slug}",
    response_model=ProblemType,
    responses={**documented(), 404: {"description": "There is no such problem type"}},
)
def get_problem_type(request: Request, slug: str) -> ProblemType | Response:
    """What a kind of problem means, and what to do about it."""
    known = ", ".join(TYPES)
    missing = f"there is no problem type {slug!r}; the known ones are: {known}"
    return TYPES.get(slug) or respond(request, HTTPStatus.NOT_FOUND, missing)
