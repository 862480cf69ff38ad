"""Start an unmodified program with failpoints, and with Celery settings of the test.

`python -m tests.faults.armed workers` or `python -m tests.faults.armed uvicorn api.app:create_app --factory`.
The pool processes of a worker import this module again, so failpoints are installed in them as well.
"""

import json
import os
import runpy
import sys
from pathlib import Path

from tests.faults import failpoints

failpoints.install(Path(os.environ[failpoints.FOLDER]))

if __name__ == "__main__":
    if failpoints.CELERY in os.environ:
        from workers.app import app

        app.conf.update(json.loads(os.environ[failpoints.CELERY]))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
