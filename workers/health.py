"""A file that shows whether a worker can train, for health checks that must be cheap."""

from pathlib import Path

from shared import log

_log = log.get_logger(__name__)


class HealthFile:
    """The file of the setting `HEALTH_FILE`: touched regularly while the worker can train, else absent."""

    def __init__(self, path: str) -> None:
        """Delete the file of an earlier worker; an empty path means that there is no file."""
        self._path = Path(path) if path else None
        self.report(can_train=False)

    def report(self, *, can_train: bool) -> None:
        """Touch the file, or delete it."""
        if self._path is None:
            return
        try:
            if can_train:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the health file cannot be written: correct TRAINSHED_HEALTH_FILE", error=str(error))
