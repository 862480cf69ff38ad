"""Problems (RFC 9457): every kind of error that the API answers, its status and what to do about it.

A problem's `type` is an address of this API, `/problems/{slug}`, that explains it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from shared import errors
from shared.schemas import Problem


@dataclass(frozen=True)
class ProblemType:
    """One kind of error.

    Attributes:
        slug: names it in its address.
        status: HTTP's.
        title: what it is, the same each time.
        advice: what a client can do.
    """

    slug: str
    status: int
    title: str
    advice: str

    @property
    def uri(self) -> str:
        """Its address."""
        return f"/problems/{self.slug}"


MALFORMED_JSON = ProblemType("malformed-json", 400, "The body is not JSON", "Send one JSON object in UTF-8.")
TOO_LARGE = ProblemType(
    "body-too-large",
    413,
    "The body is too large",
    "A job needs less than a kilobyte, and pictures have 5 MiB together.",
)
NOT_JSON = ProblemType(
    "unsupported-media-type", 415, "The body has another media type", "Send `Content-Type: application/json`."
)
UNAUTHENTICATED = ProblemType(
    "unauthenticated",
    401,
    "An API key is needed",
    "Send `Authorization: Bearer KEY` with a key that an administrator made: `trainshed keys create`.",
)
FORBIDDEN = ProblemType(
    "forbidden", 403, "The API key may not do this", "Take a key with the scope that `detail` names."
)
CROSS_SITE = ProblemType(
    "cross-site",
    403,
    "Pages of other web sites are refused",
    "Name the site in the setting CORS_ORIGINS if its pages may use this API.",
)
WRONG_HOST = ProblemType(
    "wrong-host",
    421,
    "The API has another name",
    "Ask it by a name that `detail` lists, or add this one to the setting ALLOWED_HOSTS.",
)
TOO_MANY_REQUESTS = ProblemType(
    "too-many-requests", 429, "Too many requests", "Wait for as many seconds as `Retry-After` says."
)
INVALID_REQUEST = ProblemType(
    "invalid-request",
    422,
    "The request does not have the right form",
    "`errors` names each field, as a JSON pointer into the body, or parameter, and what is wrong with it.",
)
PROBLEM_NOT_FOUND = ProblemType(
    "problem-not-found", 404, "There is no such kind of problem", "`detail` names the kinds there are."
)
INTERNAL = ProblemType(
    "internal",
    500,
    "The server failed",
    "This is a fault of the server's: its log says more under the same `request_id`.",
)
DATABASE_UNAVAILABLE = ProblemType(
    "database-unavailable",
    503,
    "The database does not answer",
    "Try again after a moment, with the same Idempotency-Key if there was one; `/readyz` tells when.",
)

# The one table of Trainshed's own errors; an error that is not here is the server's fault.
OF_ERROR: Mapping[type[errors.TrainshedError], ProblemType] = {
    errors.JobNotFound: ProblemType(
        "job-not-found", 404, "There is no such job", "`GET /v1/jobs` lists the jobs."
    ),
    errors.ModelNotFound: ProblemType(
        "model-not-found", 404, "There is no such model", "A job that succeeded names its model: `model_id`."
    ),
    errors.DatasetNotFound: ProblemType(
        "dataset-not-found", 404, "There is no such dataset", "`detail` names the datasets there are."
    ),
    errors.SweepNotFound: ProblemType(
        "sweep-not-found", 404, "There is no such sweep", "`GET /v1/sweeps` lists the sweeps."
    ),
    errors.ModelInUse: ProblemType(
        "model-in-use",
        409,
        "The model is used",
        "Give its alias to another model, and delete the evaluation jobs that `detail` names.",
    ),
    errors.PictureTooLarge: ProblemType(
        "picture-too-large", 413, "The picture has too many pixels", "Send smaller pictures, or fewer."
    ),
    errors.UnsupportedPicture: ProblemType(
        "unsupported-picture",
        415,
        "The body is no picture",
        "Send a picture with `Content-Type: image/png` or `image/jpeg`, or several in JSON with "
        "`application/json`.",
    ),
    errors.UnreadablePicture: ProblemType(
        "unreadable-picture", 422, "The picture cannot be read", "Send a whole PNG or JPEG file."
    ),
    errors.WorkerNotFound: ProblemType(
        "worker-not-found", 404, "There is no such worker", "`GET /v1/workers` lists the workers."
    ),
    errors.WorkerStopped: ProblemType(
        "worker-stopped", 409, "The worker has stopped", "Nothing can be asked of it: start another."
    ),
    errors.VersionMismatch: ProblemType(
        "version-mismatch", 412, "The job has changed", "Look at the job again, and send its new ETag."
    ),
    errors.InvalidCursor: ProblemType(
        "invalid-cursor",
        422,
        "The cursor is not one of this list's",
        "Send `next_cursor` of the page before with the same `sort`, or none for the first page.",
    ),
    errors.NotReady: ProblemType(
        "not-ready",
        409,
        "The job has not come so far",
        "Ask again when the job has succeeded; if it has failed or was cancelled, retry it.",
    ),
    errors.JobNotTerminal: ProblemType(
        "job-not-finished", 409, "The job is not finished", "Wait for its end, or cancel it first."
    ),
    errors.JobAlreadyFinished: ProblemType(
        "job-already-finished", 409, "The job is finished already", "A finished job never changes."
    ),
    errors.ApiKeyNotFound: ProblemType(
        "api-key-not-found", 404, "There is no such API key", "`GET /v1/api-keys` lists the keys."
    ),
    errors.NoAdministrator: ProblemType(
        "no-administrator", 409, "The first key must be an administrator's", "Give it the scope `admin`."
    ),
    errors.InvalidSpec: ProblemType(
        "invalid-spec", 422, "The job cannot be run as specified", "`errors` names the field and its limit."
    ),
    errors.IdempotencyKeyReused: ProblemType(
        "idempotency-key-reused",
        422,
        "The idempotency key belongs to another request",
        "Take a new key for a new request.",
    ),
    errors.DataCorrupt: ProblemType(
        "data-corrupt", 502, "The dataset's files are damaged", "`detail` names the address to be mended."
    ),
    errors.DataUnavailable: ProblemType(
        "data-unavailable",
        503,
        "The dataset cannot be fetched",
        "Check the address that `detail` names, or use the dataset `digits`, which needs no network.",
    ),
}

_ANYWHERE = (INVALID_REQUEST, INTERNAL, DATABASE_UNAVAILABLE)
_REFUSALS = (UNAUTHENTICATED, FORBIDDEN, CROSS_SITE, WRONG_HOST, TOO_MANY_REQUESTS)

TYPES: Mapping[str, ProblemType] = {
    kind.slug: kind
    for kind in (
        MALFORMED_JSON,
        TOO_LARGE,
        NOT_JSON,
        PROBLEM_NOT_FOUND,
        *_REFUSALS,
        *_ANYWHERE,
        *OF_ERROR.values(),
    )
}


class _ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        # in ASCII: what a client sent and is told again may hold characters that have no UTF-8 form
        return json.dumps(content, allow_nan=False).encode("ascii")


def respond(
    request: Request,
    kind: ProblemType | HTTPStatus,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to a request that met a problem.

    Args:
        kind: of this API, or a plain HTTP status that says all there is to say.
        detail: what happened this time, and what to do.
        errors: the parts of the request that are wrong.
        headers: of the answer, beyond its own.
    """
    if isinstance(kind, HTTPStatus):
        uri, title, status = "about:blank", kind.phrase, kind.value
    else:
        uri, title, status = kind.uri, kind.title, kind.status
    problem = Problem(
        type=uri,
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=request.state.request_id,
        errors=[dict(error) for error in errors] if errors else None,
    )
    return _ProblemResponse(problem.model_dump(exclude_none=True), status, headers)


def documented(*kinds: ProblemType | type[errors.TrainshedError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for an operation that may meet these problems, and those that any may meet."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in (*(OF_ERROR[kind] if isinstance(kind, type) else kind for kind in kinds), *_ANYWHERE):
        example = Problem(type=kind.uri, title=kind.title, status=kind.status, detail=kind.advice)
        response = responses.setdefault(kind.status, _empty_response(kind))
        response["content"]["application/problem+json"]["examples"][kind.slug] = {
            "summary": kind.title,
            "value": example.model_dump(exclude_none=True),
        }
    return responses


def _empty_response(kind: ProblemType) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": HTTPStatus(kind.status).phrase,
        "content": {"application/problem+json": {"schema": schema, "examples": {}}},
    }
