"""What schemathesis cannot know of this API; loaded by the name of this module, as its configuration says."""

from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies
from PIL import Image
from schemathesis import Case, HookContext
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from tests.support.drawings import make_drawing

# Valid by every schema, and refused all the same for what the database or the rest of the request holds.
# Whatever else is refused of valid data is a failure.
REASONS_BEYOND_SCHEMAS = frozenset(
    {
        "/problems/idempotency-key-reused",
        "/problems/invalid-cursor",  # of another list
        "/problems/invalid-webhook-url",  # of an internal address, or none
        "/problems/invalid-spec",  # more images than the dataset has, a grid of too many jobs
        "/problems/unknown-metric",  # which no job has recorded
        "/problems/unreadable-image",  # a text that is no base64, or bytes that are no image
        "/problems/version-mismatch",
    }
)

_JOBS = Path("job_id.txt")


def _drawing(media_type: str) -> bytes:
    file = BytesIO()
    Image.fromarray(make_drawing(28)).save(file, media_type.removeprefix("image/"))
    return file.getvalue()


# those of `api.http.bodies`, which takes a second of each process to import
for media_type in ("image/png", "image/jpeg"):
    schemathesis.openapi.media_type(media_type, strategies.just(_drawing(media_type)))


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Have no request wait, no valid one repeat another's key, and valid ones find the jobs they compare."""
    if "wait" in case.query:
        case.query["wait"] = _short(case.query["wait"])
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid4())
    if case.operation.path in ("/v1/compare", "/v1/metrics"):
        known = [line.strip('"') for line in _JOBS.read_text().splitlines()]
        case.query["jobs"] = known[: max(2, len(case.query.get("jobs", ())))]


@schemathesis.hook
def filter_failure(_context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Whether it is one: valid data may be refused for a reason that no schema tells."""
    if isinstance(failure, UseAfterFree) and case.operation.path == "/v1/api-keys/{key_id}":
        return False  # a revoked key stays, with its jobs, whose team and limit can be changed
    if not isinstance(failure, RejectedPositiveData):
        return True
    if "None" in map(str, case.path_parameters.values()):
        return False  # schemathesis followed a field that is null where there is nothing to follow
    problem = response.json()
    return problem["type"] not in REASONS_BEYOND_SCHEMAS and not _belongs_to_the_other_kind(case, problem)


def _belongs_to_the_other_kind(case: Case[Any], problem: dict[str, Any]) -> bool:
    """Whether a clone is to have what only jobs of the other kind have: no body tells which kind it is."""
    return case.operation.path == "/v1/jobs/{job_id}/clone" and all(
        error["pointer"].startswith("/spec/") and error["detail"].startswith("unknown field: ")
        for error in problem.get("errors", [{"pointer": "", "detail": ""}])
    )


def _short(wait: Any) -> Any:
    try:
        seconds = float(wait)
    except (TypeError, ValueError):
        return wait
    return 0.01 if 0 < seconds <= 30 else wait
