"""Explanations of failed jobs in plain words, with remedies, for each code of a job's error."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """The explanation of an error code for people.

    Attributes:
        happened: the reason why the job failed.
        remedy: the advice to the job's submitter.
    """

    happened: str
    remedy: str


_UNKNOWN = Failure(
    "The job ended with an error that is not known here.", "The log of its last attempt says more."
)

FAILURES = {
    "data_unavailable": Failure(
        "The dataset could not be downloaded or stored, although it was tried several times.",
        "Check that the worker's host reaches the address in the message, and that its disk has space; then "
        "retry.",
    ),
    "data_corrupt": Failure(
        "The dataset's files are not what they should be: they have another size, form or checksum.",
        "Retrying does not help. Correct the dataset's addresses or checksums in the settings, or delete its "
        "folder in the cache if that is damaged.",
    ),
    "non_finite_loss": Failure(
        "The training diverged: its loss became infinite or not a number.",
        "Retrying with the same settings gives the same. Clone the job with a lower learning rate, such as a "
        "tenth, or with the optimizer adam.",
    ),
    "gpu_oom": Failure(
        "The device had too little memory, also in the attempts that followed.",
        "Clone the job with a smaller batch size, or let fewer jobs share a GPU (SLOTS_PER_GPU).",
    ),
    "timeout": Failure(
        "The job reached its time limit, or made no progress for too long, and was stopped.",
        "Clone it with fewer epochs or with a longer max_runtime_s. If the log stands still, look at the "
        "worker's host.",
    ),
    "worker_lost": Failure(
        "The workers that ran it ended again and again without a word, so it is not tried any more.",
        "Often the memory of the host ran out. The attempts name the workers, and how each ended; the logs "
        "of their hosts say more. Then retry.",
    ),
    "internal": Failure(
        "The training code ended with an error that nobody foresaw.",
        "The log of the attempt has the traceback. If it comes from outside, such as a full disk, retry; "
        "otherwise it is a defect.",
    ),
}
"""The explanations, by error code."""


def explain(code: str) -> Failure:
    """Return the explanation of an error code."""
    return FAILURES.get(code, _UNKNOWN)
