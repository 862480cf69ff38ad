"""Start an unmodified program with failpoints.

`python -m tests.faults.armed workers` or `python -m tests.faults.armed uvicorn api.app:create_app --factory`.
The pool processes of a worker import this module again, so failpoints are installed in them as well.
"""

import os
import runpy
import sys
from pathlib import Path

from tests.faults import failpoints

failpoints.install(Path(os.environ[failpoints.FOLDER]))

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
