"""Problem types (RFC 9457): every error response of the API, with its status and its remedy.

A problem's `type` is a path of this API, `/problems/{slug}`, that explains it.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from operator import attrgetter
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from api.http.database_problems import DATABASE_UNAVAILABLE, OF_OUTAGE, SCHEMA_OUTDATED, VERSION_OUTDATED
from api.http.problem_type import ProblemType
from shared import errors


def unexplained(status: int) -> ProblemType:
    """Return the problem type of an HTTP status that needs no explanation."""
    return ProblemType("", status, HTTPStatus(status).phrase, "")


def _not_found(noun: str, advice: str = "") -> ProblemType:
    slug = noun.lower().replace(" ", "-")
    listed = f"`GET /v1/{slug}s` lists the {noun}s."
    return ProblemType(f"{slug}-not-found", 404, f"No such {noun}", advice or listed)


MALFORMED_JSON = ProblemType(
    "malformed-json", 400, "The body is not valid JSON", "Send one JSON object, encoded in UTF-8."
)
TOO_LARGE = ProblemType(
    "body-too-large",
    413,
    "The body is too large",
    "A body may have 1 MiB, or 5 MiB where it holds images: send fewer or smaller images.",
)
NOT_JSON = ProblemType(
    "unsupported-media-type",
    415,
    "The body's media type is not supported",
    "Send JSON, with `Content-Type: application/json`.",
)
ENCODED = ProblemType(
    "unsupported-encoding",
    415,
    "Compressed bodies are not supported",
    "Send the body as it is, without the header `Content-Encoding`.",
)
UNAUTHENTICATED = ProblemType(
    "unauthenticated",
    401,
    "A valid API key is required",
    "Send `Authorization: Bearer KEY`. An administrator creates keys with `trainshed keys create`.",
)
FORBIDDEN = ProblemType(
    "forbidden", 403, "The API key may not do this", "Use a key that may: `detail` says which."
)
CROSS_SITE = ProblemType(
    "cross-site",
    403,
    "Requests from other web sites are refused",
    "To let a site's pages use this API, add its origin to the setting `CORS_ORIGINS`.",
)
WRONG_HOST = ProblemType(
    "wrong-host",
    421,
    "The host name is not one of this API",
    "Use a name that `detail` lists, or add this one to the setting `ALLOWED_HOSTS`.",
)
TOO_MANY_REQUESTS = ProblemType(
    "too-many-requests",
    429,
    "The rate limit is exceeded",
    "Wait for the number of seconds in the header `Retry-After`.",
)
INVALID_REQUEST = ProblemType(
    "invalid-request",
    422,
    "The request is invalid",
    "`errors` names each invalid parameter, and each invalid field as a JSON pointer into the body.",
)
PROBLEM_NOT_FOUND = ProblemType("problem-not-found", 404, "No such problem type", "`detail` lists them.")
INTERNAL = ProblemType(
    "internal",
    500,
    "Internal server error",
    "Report it with the `request_id`: the server's log has the details under that id.",
)
# the problem type of each of Trainshed's own errors; an error that is missing here causes a 500
OF_ERROR: Mapping[type[errors.TrainshedError], ProblemType] = {
    errors.JobNotFound: _not_found("job"),
    errors.ModelNotFound: _not_found("model"),
    errors.DatasetNotFound: _not_found("dataset", "`detail` lists the configured datasets."),
    errors.SweepNotFound: _not_found("sweep"),
    errors.NotPermitted: FORBIDDEN,
    errors.WeightsNotFound: _not_found(
        "weights", "`GET /v1/jobs/{id}/weights` lists the epochs whose weights a job has kept."
    ),
    errors.EvaluationNotFound: _not_found("evaluation", "The job has no evaluation; it has other results."),
    errors.PredictionsNotStored: ProblemType(
        "predictions-not-stored",
        404,
        "The prediction of each image is not stored",
        "The evaluation is not a classification, an early version made it, or it was too large to keep. "
        "In the latter cases, evaluate the model again, by a job of the kind `evaluate`.",
    ),
    errors.ArtifactNotFound: _not_found("artifact", "`detail` lists the files that there are."),
    errors.ModelNotRunnable: ProblemType(
        "model-not-runnable",
        409,
        "The API cannot run the model",
        "It runs the networks of this server only. Download the model's files, and run it yourself.",
    ),
    errors.ImageNotFound: _not_found("image", "`detail` says how many images the dataset has."),
    errors.AmbiguousId: ProblemType("ambiguous-id", 409, "Several ids match", "Give more digits of the id."),
    errors.ModelInUse: ProblemType(
        "model-in-use",
        409,
        "The model is in use",
        "Move its alias to another model, and delete the evaluation jobs that `detail` names.",
    ),
    errors.ImageTooLarge: ProblemType(
        "image-too-large",
        413,
        "The images have too many pixels",
        "Send fewer or smaller images: the images of one request may have 16,777,216 pixels together.",
    ),
    errors.UnsupportedImage: ProblemType(
        "unsupported-image",
        415,
        "The body is not an image",
        "Send one image with `Content-Type: image/png` or `image/jpeg`, or up to 64 in JSON with "
        "`Content-Type: application/json`.",
    ),
    errors.UnreadableImage: ProblemType(
        "unreadable-image", 422, "The image cannot be decoded", "Send a complete PNG or JPEG file."
    ),
    errors.DecoderBusy: ProblemType(
        "decoder-busy",
        503,
        "Too many images are being decoded",
        "Retry after the number of seconds in the header `Retry-After`, or send smaller images.",
    ),
    errors.WorkerNotFound: _not_found("worker"),
    errors.WorkerStopped: ProblemType(
        "worker-stopped", 409, "The worker has stopped", "Start another worker: a stopped one never returns."
    ),
    errors.VersionMismatch: ProblemType(
        "version-mismatch",
        412,
        "The job has changed",
        "Fetch the job again, and repeat the request with its new ETag.",
    ),
    errors.InvalidCursor: ProblemType(
        "invalid-cursor",
        422,
        "The cursor does not belong to this list",
        "Send `next_cursor` of the previous page with the same `sort`, or no cursor for the first page.",
    ),
    errors.NotReady: ProblemType(
        "not-ready",
        409,
        "The result does not exist yet",
        "Wait until the job has succeeded. If it failed or was cancelled, retry it.",
    ),
    errors.JobNotTerminal: ProblemType(
        "job-not-finished", 409, "The job is not finished", "Wait until it has finished, or cancel it first."
    ),
    errors.PredecessorFailed: ProblemType(
        "predecessor-failed", 409, "A job that it is to run after has not succeeded", "Retry that job first."
    ),
    errors.TooManyWait: ProblemType(
        "too-many-wait", 409, "Too many jobs wait", "Submit it when the first of them have succeeded."
    ),
    errors.JobNotQueued: ProblemType(
        "job-not-queued", 409, "The job is not queued", "Clone it to run it again with another priority."
    ),
    errors.JobAlreadyFinished: ProblemType(
        "job-already-finished", 409, "The job has already finished", "It can be deleted, but not cancelled."
    ),
    errors.ApiKeyNotFound: _not_found("API key"),
    errors.NoAdministrator: ProblemType(
        "no-administrator",
        409,
        "The first API key must be an administrator's",
        "Create a key with the scope `admin` first.",
    ),
    errors.WebhookNotFound: _not_found("webhook"),
    errors.DeliveryNotFound: _not_found("delivery", "`GET /v1/webhooks/{id}/deliveries` lists them."),
    errors.InvalidWebhookUrl: ProblemType(
        "invalid-webhook-url",
        422,
        "Deliveries cannot be sent to this URL",
        "Use a public address. To let webhooks reach internal ones, set `WEBHOOKS_ALLOW_PRIVATE`.",
    ),
    errors.InvalidSpec: ProblemType(
        "invalid-spec", 422, "The job cannot run as specified", "`errors` names the field and its limit."
    ),
    errors.UnknownMetric: ProblemType(
        "unknown-metric",
        422,
        "No job has recorded such a metric",
        "`detail` has the nearest name that was recorded, or all of them.",
    ),
    errors.IdempotencyKeyReused: ProblemType(
        "idempotency-key-reused", 422, "The key was used for a different request", "Use a new key for each."
    ),
    errors.SubmissionDeleted: ProblemType(
        "submission-deleted", 410, "What the key has submitted was deleted", "Submit it with a new key."
    ),
    errors.DataUnavailable: ProblemType(
        "data-unavailable",
        503,
        "The dataset has not been downloaded yet",
        "`detail` says which worker downloads it, and when: retry after that, or use the dataset `digits`.",
    ),
}

BODY = (MALFORMED_JSON, TOO_LARGE, NOT_JSON, ENCODED)
"""The problems of operations whose request has a JSON body."""

_BY_ID = {errors.JobNotFound, errors.ModelNotFound, errors.SweepNotFound, errors.ApiKeyNotFound}
_COMMON = (INVALID_REQUEST, INTERNAL, DATABASE_UNAVAILABLE, SCHEMA_OUTDATED, VERSION_OUTDATED)
_REFUSALS = (UNAUTHENTICATED, FORBIDDEN, CROSS_SITE, WRONG_HOST, TOO_MANY_REQUESTS)

TYPES: Mapping[str, ProblemType] = {
    kind.slug: kind
    for kind in (*BODY, PROBLEM_NOT_FOUND, *_REFUSALS, *_COMMON, *OF_OUTAGE.values(), *OF_ERROR.values())
}


class _ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        # in ASCII, since a detail may quote characters from the request that UTF-8 cannot encode
        return json.dumps(content, allow_nan=False).encode("ascii")


def respond(
    request: Request,
    kind: ProblemType,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response with a problem of this kind; `detail` explains this occurrence.

    Args:
        errors: the invalid parts of the request.
        headers: additional headers of the response.
    """
    members = {"instance": request.url.path, "request_id": request.state.request_id, "errors": errors}
    problem = kind.problem(detail, **members)
    return _ProblemResponse(problem.model_dump(exclude_none=True), kind.status, headers)


def documented(*kinds: ProblemType | type[errors.TrainshedError]) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` of an operation: the given problems, and those of all operations."""
    responses: dict[int | str, dict[str, Any]] = {}
    short = () if _BY_ID.isdisjoint(kinds) else (errors.AmbiguousId,)  # ids may be abbreviated
    types = (OF_ERROR[kind] if isinstance(kind, type) else kind for kind in (*kinds, *short))
    media_type = _ProblemResponse.media_type
    for kind in sorted((*types, *_COMMON), key=attrgetter("status")):
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        empty = {"description": HTTPStatus(kind.status).phrase, "content": {media_type: content}}
        examples = responses.setdefault(kind.status, empty)["content"][media_type]["examples"]
        value = kind.problem(kind.advice).model_dump(exclude_none=True)
        examples[kind.slug] = {"summary": kind.title, "value": value}
    return responses
