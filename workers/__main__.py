"""Run a worker in the foreground, until SIGTERM or Ctrl-C: `python -m workers`.

With `--check` it runs no worker: it checks the worker's dependencies, and its exit code names the first one
that is missing.
"""

import gc
import sys

_USUAL_THRESHOLDS = gc.get_threshold()
# collecting garbage during the imports takes a sixth of the start-up time, in pool processes too
gc.set_threshold(100_000)


def main() -> None:
    """Wait for the worker's dependencies, then run the worker."""
    # imported here, because a pool process imports this module too and does not need these modules
    from pydantic import ValidationError
    from pydantic_settings import SettingsError
    from sqlalchemy.exc import SQLAlchemyError

    from shared import log
    from shared.settings import get_settings, invalid_settings
    from workers import readiness

    try:
        settings = get_settings()
    except (ValidationError, SettingsError) as error:
        sys.exit(_refused(*invalid_settings(error)))
    log.configure(settings.log_level, secrets=settings.secrets)
    try:
        dependencies = readiness.Dependencies(settings)
    except (SQLAlchemyError, ImportError) as error:
        sys.exit(_refused(f"TRAINSHED_DATABASE_URL: {error}"))
    except ValueError as error:
        sys.exit(_refused(f"TRAINSHED_REDIS_URL: {error}"))
    if "--check" in sys.argv:
        sys.exit(readiness.check(dependencies))
    readiness.wait(dependencies)
    dependencies.close()

    from workers.app import app

    # not by Celery's command line, which imports a prompt with completion
    worker = app.Worker(quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True)
    gc.freeze()  # imported objects do not become garbage later
    gc.set_threshold(*_USUAL_THRESHOLDS)
    worker.start()
    sys.exit(worker.exitcode)


def _refused(*lines: str) -> int:
    """Print why the settings are invalid, as every command does, and return the exit code 2."""
    for line in lines:
        sys.stderr.write(f"Error: {line}\n")
    return 2


if __name__ == "__main__":
    main()
