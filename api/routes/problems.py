"""The addresses that problems name as their types."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.http.problems import PROBLEM_NOT_FOUND, TYPES, ProblemType, documented, respond

router = APIRouter(prefix="/problems", tags=["problems"])


@router.get("/{slug}", response_model=ProblemType, responses=documented(PROBLEM_NOT_FOUND))
def get_problem_type(
    request: Request,
    slug: Annotated[str, Path(description="The end of a problem's `type`.", examples=["job-not-found"])],
) -> ProblemType | Response:
    """What a kind of problem means, and what to do about it."""
    known = ", ".join(TYPES)
    missing = f"there is no problem type {slug!r}; the known ones are: {known}"
    return TYPES.get(slug) or respond(request, PROBLEM_NOT_FOUND, missing)
