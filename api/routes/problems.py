"""Explanations of problem types, at the paths that problems name as their `type`."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api.http.auth import OPEN
from api.http.problem_type import ProblemType
from api.http.problems import PROBLEM_NOT_FOUND, TYPES, documented, respond

router = APIRouter(prefix="/problems", tags=["problems"], dependencies=[OPEN])


@router.get("/{slug}", response_model=ProblemType, responses=documented(PROBLEM_NOT_FOUND))
async def get_problem_type(
    request: Request,
    slug: Annotated[str, Path(description="The end of a problem's `type`.", examples=["job-not-found"])],
) -> ProblemType | Response:
    """Get the explanation of a problem type, and its remedy."""
    detail = f"there is no problem type {slug!r}; there are: {', '.join(TYPES)}"
    return TYPES.get(slug) or respond(request, PROBLEM_NOT_FOUND, detail)
