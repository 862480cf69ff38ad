"""Errors of requests and of attempts, in one tree.

A `RequestError` says why a request cannot be carried out. An `AttemptError` says why an attempt failed: it
has a code, and may be worth a retry. An `AttemptInterrupted` ends an attempt without a result.
"""

from typing import ClassVar
from uuid import UUID


class TrainshedError(Exception):
    """Base of every error that Trainshed raises on purpose."""


class RequestError(TrainshedError):
    """A request cannot be carried out; the message says why, and what to do instead."""


class NotFound(RequestError):
    """The requested resource does not exist."""


class JobNotFound(NotFound):
    """No job has the requested id."""


class ModelNotFound(NotFound):
    """No model has the requested id."""


class DatasetNotFound(NotFound):
    """No dataset of the requested name is configured."""


class ApiKeyNotFound(NotFound):
    """No API key has the requested id."""


class SweepNotFound(NotFound):
    """No sweep has the requested id."""


class WeightsNotFound(NotFound):
    """The job has kept no weights after the requested epoch."""


class EvaluationNotFound(NotFound):
    """The job has succeeded without an evaluation."""


class PredictionsNotStored(NotFound):
    """The evaluation has no prediction of each image: it is not a classification, or did not keep them."""


class ArtifactNotFound(NotFound):
    """The job, or its model, has no file of the requested name."""


class ImageNotFound(NotFound):
    """The dataset has no image with a requested index."""


class WorkerNotFound(NotFound):
    """No worker has the requested id."""


class WebhookNotFound(NotFound):
    """No webhook has the requested id."""


class DeliveryNotFound(NotFound):
    """The webhook has no delivery of the requested id."""


class AmbiguousId(RequestError):
    """The given part of an id occurs in several ids."""


class UnknownMetric(RequestError):
    """No metric of the requested name was recorded; the message has the nearest name, or all names."""


class InvalidSpec(RequestError):
    """The job's spec does not fit its dataset or model, such as more images than the dataset has.

    Attributes:
        field: the name of the invalid field.
        part: the name of the request's object that contains the field.
    """

    def __init__(self, field: str, message: str, part: str = "spec") -> None:
        super().__init__(message)
        self.field = field
        self.part = part


class NotPermitted(RequestError):
    """The sender's API key does not permit this: a change of another's job, sweep or model, or a priority."""


class ModelInUse(RequestError):
    """The model cannot be deleted, because it has an alias or an evaluation job refers to it."""


class ModelNotRunnable(RequestError):
    """The API cannot run the model, because it does not know the model's network."""


class UnreadableImage(RequestError):
    """The image is not a PNG or JPEG file, or it is damaged."""


class ImageTooLarge(RequestError):
    """The image has more pixels than the API decodes."""


class UnsupportedImage(RequestError):
    """The body's media type is neither that of an image nor JSON."""


class DecoderBusy(RequestError):
    """The request's images have waited too long to be decoded."""


class InvalidCursor(RequestError):
    """The page cursor is malformed, or belongs to a list with another order."""


class VersionMismatch(RequestError):
    """The job has changed since the client read the version that it sent in `If-Match`."""


class WorkerStopped(RequestError):
    """The worker has ended, so it can be neither drained nor resumed."""


class NotReady(RequestError):
    """The requested result does not exist yet, because the job has not progressed far enough."""


class JobNotTerminal(RequestError):
    """The job is queued or running, and the operation is for finished jobs only."""


class JobNotQueued(RequestError):
    """The job has started, and the operation is for queued jobs only."""


class PredecessorFailed(RequestError):
    """A job was to run after one that has failed or was cancelled."""


class TooManyWait(RequestError):
    """A job was to run after one that has too many dependents, or at the end of too long a chain."""


class JobAlreadyFinished(RequestError):
    """The job has succeeded or failed, so it can no longer be cancelled."""


class NoAdministrator(RequestError):
    """The first API key must be an administrator's, or nobody could create or revoke keys."""


class InvalidWebhookUrl(RequestError):
    """Deliveries cannot or may not be sent to this URL; its address may be an internal one."""


class IdempotencyKeyReused(RequestError):
    """The idempotency key was used before with a different request."""


class SubmissionDeleted(RequestError):
    """The job or sweep submitted with the idempotency key was deleted, so the request is not repeated."""


class AttemptError(TrainshedError):
    """An attempt failed.

    Attributes:
        code: the job's `error_code` if it fails with this error.
        retryable: whether another attempt may succeed.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False


class DataUnavailable(AttemptError):
    """The dataset's files could not be downloaded or stored."""

    code = "data_unavailable"
    retryable = True


class DataCorrupt(AttemptError):
    """The dataset's files are damaged, or do not have the expected content."""

    code = "data_corrupt"


class NonFiniteLoss(AttemptError):
    """The training loss became infinite or not a number."""

    code = "non_finite_loss"


class DeviceOutOfMemory(AttemptError):
    """The device ran out of memory."""

    code = "gpu_oom"
    retryable = True


class MaxRuntimeExceeded(AttemptError):
    """The job ran for longer than its time limit, or made no progress for too long."""

    code = "timeout"


_KINDS: tuple[type[AttemptError], ...] = (AttemptError, *AttemptError.__subclasses__())
ERROR_CODES = tuple(sorted({"model_not_found", "worker_lost", *(kind.code for kind in _KINDS)}))
"""Every `error_code` that a job may fail with."""


class AttemptInterrupted(TrainshedError):
    """The attempt must end without a result."""


class CancelRequested(AttemptInterrupted):
    """A user requested that the job be cancelled."""


class StopRequested(AttemptInterrupted):
    """The worker is being stopped, so it releases the job."""


class PreemptionRequested(AttemptInterrupted):
    """An urgent job preempts this one, which gives up its slot.

    Attributes:
        urgent_id: the urgent job.
    """

    def __init__(self, urgent_id: UUID) -> None:
        super().__init__(f"the urgent job {urgent_id} preempts the job")
        self.urgent_id = urgent_id


class LeaseLost(AttemptInterrupted):
    """The lease could not be renewed in time, so another worker may soon claim the job."""


class StaleAttempt(AttemptInterrupted):
    """The job is no longer running under this attempt; what the attempt tried to write was not written."""
