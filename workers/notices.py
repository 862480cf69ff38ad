"""Log lines in place of the messages that Celery prints when it is asked to stop."""

import json
import os
from datetime import UTC, datetime

from celery.apps import worker as celery_worker

_STDERR = 2
_IN_OUR_WORDS = {
    # omitted: it says that running jobs would be ended; ours return to their queues (`workers.parent`)
    "worker: Hitting Ctrl+C again": "",
    "worker: Warm shutdown": "stopping: jobs that run return to their queues; Ctrl-C again ends them at once",
    "worker: Cold shutdown": "stopping at once: jobs that still run resume when their leases have expired",
}


def install() -> None:
    """Replace the function by which Celery prints in signal handlers."""
    vars(celery_worker)["safe_say"] = say  # Celery's type hints lack it


def say(message: str, _stream: object = None) -> None:
    """Write a message as a line of the log, in our words if it is about the end of jobs.

    This runs in signal handlers, which may interrupt a write to a buffered stream, so it writes to the file
    descriptor directly.
    """
    words = next((ours for theirs, ours in _IN_OUR_WORDS.items() if message.startswith(theirs)), message)
    if words:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")  # noqa: TID251 (as in every log line)
        line = {"event": words, "level": "info", "logger": __name__, "timestamp": now}
        os.write(_STDERR, f"{json.dumps(line)}\n".encode())
