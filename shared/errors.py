"""Every error of Trainshed's own, in one tree.

TrainshedError
├── RequestError                what a client asked for cannot be done
│   ├── NotFound
│   │   ├── JobNotFound
│   │   ├── ModelNotFound
│   │   ├── DatasetNotFound
│   │   ├── ApiKeyNotFound
│   │   ├── SweepNotFound
│   │   └── WorkerNotFound
│   ├── InvalidSpec
│   ├── ModelInUse
│   ├── UnreadablePicture
│   ├── PictureTooLarge
│   ├── UnsupportedPicture
│   ├── InvalidCursor
│   ├── VersionMismatch
│   ├── WorkerStopped
│   ├── NotReady
│   ├── JobNotTerminal
│   ├── JobAlreadyFinished
│   ├── NoAdministrator
│   └── IdempotencyKeyReused
├── AttemptError                why an attempt failed; has a code, and may be worth another try
│   ├── DataUnavailable
│   ├── DataCorrupt
│   ├── NonFiniteLoss
│   ├── DeviceOutOfMemory
│   └── MaxRuntimeExceeded
└── AttemptInterrupted          the attempt must end without a result of its own
    ├── CancelRequested
    ├── StopRequested
    ├── LeaseLost
    └── StaleAttempt
"""

from typing import ClassVar


class TrainshedError(Exception):
    """Base of every error that Trainshed raises on purpose."""


class RequestError(TrainshedError):
    """What a client asked for cannot be done; the message says what to do instead."""


class NotFound(RequestError):
    """Nothing has that name."""


class JobNotFound(NotFound):
    """No job has that id."""


class ModelNotFound(NotFound):
    """No model has that id."""


class DatasetNotFound(NotFound):
    """No dataset of that name is configured."""


class ApiKeyNotFound(NotFound):
    """No API key has that id."""


class SweepNotFound(NotFound):
    """No sweep has that id."""


class WorkerNotFound(NotFound):
    """No worker has that id."""


class InvalidSpec(RequestError):
    """The job's specification asks for something that its dataset or model cannot give.

    Attributes:
        field: the specification's field that is wrong.
        part: the part of the request that holds the field.
    """

    def __init__(self, field: str, message: str, part: str = "spec") -> None:
        super().__init__(message)
        self.field = field
        self.part = part


class ModelInUse(RequestError):
    """The model has an alias, or an evaluation job measures or has measured it."""


class UnreadablePicture(RequestError):
    """The picture is no PNG or JPEG file, or a damaged one."""


class PictureTooLarge(RequestError):
    """The picture has more pixels than are looked at."""


class UnsupportedPicture(RequestError):
    """What was sent has another media type than pictures of digits have."""


class InvalidCursor(RequestError):
    """The cursor is none, or belongs to a list in another order."""


class VersionMismatch(RequestError):
    """The job has changed since the client saw it."""


class WorkerStopped(RequestError):
    """The worker has ended: nothing can be asked of it."""


class NotReady(RequestError):
    """The job has not come so far yet that what was asked for exists."""


class JobNotTerminal(RequestError):
    """The job is still queued or running, and the operation is for finished jobs."""


class JobAlreadyFinished(RequestError):
    """The job has succeeded or failed, and cannot be cancelled any more."""


class NoAdministrator(RequestError):
    """With this key as the only one, nobody could make another."""


class IdempotencyKeyReused(RequestError):
    """The idempotency key was used before with a different request."""


class AttemptError(TrainshedError):
    """An attempt failed.

    Attributes:
        code: stands in the job's `error_code`.
        retryable: whether another attempt may go better, so that retrying is worth its cost.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False


class DataUnavailable(AttemptError):
    """The dataset's files could not be fetched."""

    code = "data_unavailable"
    retryable = True


class DataCorrupt(AttemptError):
    """The dataset's files were fetched, and are not what they should be."""

    code = "data_corrupt"


class NonFiniteLoss(AttemptError):
    """The loss became infinite or not a number."""

    code = "non_finite_loss"


class DeviceOutOfMemory(AttemptError):
    """The device had not enough memory."""

    code = "gpu_oom"
    retryable = True


class MaxRuntimeExceeded(AttemptError):
    """The job ran longer than its time limit, or made no progress for too long."""

    code = "timeout"


class AttemptInterrupted(TrainshedError):
    """The attempt must end without a result of its own."""


class CancelRequested(AttemptInterrupted):
    """A user asked for the job to be cancelled."""


class StopRequested(AttemptInterrupted):
    """The worker is being stopped, and gives the job back."""


class LeaseLost(AttemptInterrupted):
    """The lease could not be renewed in time, so another worker may soon run the job."""


class StaleAttempt(AttemptInterrupted):
    """The job is no longer running under this attempt: whatever it wanted to write was not written."""
