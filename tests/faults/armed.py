"""Start an unmodified program with failpoints.

`python -m tests.faults.armed workers` or `python -m tests.faults.armed uvicorn api.app:create_app --factory`.
The pool processes of a worker import this module again, so failpoints are installed in them as well.
"""

import gc
import os
import runpy
import sys
from pathlib import Path

from shared.store import group_commit
from tests.faults import failpoints

gc.set_threshold(100_000)  # as the programs do that it stands in for
failpoints.install(Path(os.environ[failpoints.FOLDER]))
group_commit.WAIT_S = float(os.environ.get(failpoints.SUBMIT_WAIT_S, group_commit.WAIT_S))

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
