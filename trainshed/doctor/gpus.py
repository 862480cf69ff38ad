"""Checks of the GPUs: whether the driver and TensorFlow see them, and whether they have free memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from shared.settings import Settings
from trainshed.doctor.findings import TIMEOUT_S, Finding, error, ok, warning

_SUBJECT = "gpu"
_IMPORT_S = 20.0  # an idle host takes three to five
_MIN_FREE_MIB = 2_000  # the need of a slot
_QUERY = ["nvidia-smi", "--query-gpu=index,name,driver_version,memory.free", "--format=csv,noheader,nounits"]
# run in a process of its own, whose end frees the GPU memory that TensorFlow takes
_TENSORFLOW = """
import json, tensorflow
gpus = tensorflow.config.list_physical_devices("GPU")
cuda = tensorflow.sysconfig.get_build_info().get("cuda_version", "")
print(json.dumps({"version": tensorflow.__version__, "cuda": cuda, "gpus": len(gpus)}))
"""


def check(settings: Settings) -> Iterator[Finding]:  # noqa: ARG001 (all checks have one signature)
    """Check the GPUs and TensorFlow as a worker on this host would see them."""
    if find_spec("tensorflow") is None:
        yield ok(_SUBJECT, "TensorFlow is not installed, so no worker runs here")
        return
    gpus = _gpus()
    try:
        tensorflow = _tensorflow()
    except subprocess.TimeoutExpired:
        message = f"TensorFlow has not started within {_IMPORT_S:.0f} s"
        yield warning(
            _SUBJECT, message, "the host may be busy: repeat this when it is not; workers wait longer"
        )
        return
    if tensorflow is None:
        message = "TensorFlow cannot be imported"
        yield error(_SUBJECT, message, "run `python -c 'import tensorflow'` to see why")
        return
    seen = f"TensorFlow {tensorflow['version']} sees {tensorflow['gpus']}"
    if not gpus:
        yield ok(_SUBJECT, f"nvidia-smi finds no GPU on this host, and {seen}: jobs run on the CPU")
    elif tensorflow["gpus"] < len(gpus):
        cuda = (
            f"it is built for CUDA {tensorflow['cuda']}" if tensorflow["cuda"] else "it is built without CUDA"
        )
        message = f"nvidia-smi finds {len(gpus)} GPUs (driver {gpus[0][2]}), and {seen}; {cuda}"
        advice = "install `trainshed[gpu]`, and a driver that its CUDA supports; see CUDA_VISIBLE_DEVICES too"
        yield error(_SUBJECT, message, advice)
    else:
        names = ", ".join(sorted({name for _, name, _, _ in gpus}))
        yield ok(_SUBJECT, f"{len(gpus)} GPUs ({names}, driver {gpus[0][2]}), and {seen}")
    for index, name, _, free in gpus:
        if free.isdigit() and int(free) < _MIN_FREE_MIB:
            message = f"GPU {index} ({name}) has {int(free):,} MiB of memory free"
            yield warning(_SUBJECT, message, "end what else runs on it, or decrease SLOTS_PER_GPU")


def _gpus() -> list[list[str]]:
    """Return index, name, driver version and free memory in MiB of each GPU of this host."""
    try:
        listing = subprocess.run(_QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[field.strip() for field in line.split(",")] for line in listing.stdout.splitlines() if line]


def _tensorflow() -> dict[str, Any] | None:
    """Return TensorFlow's version, CUDA version and GPU count, from a new process; None if the import fails.

    Raises:
        TimeoutExpired: the process takes longer than `_IMPORT_S`.
    """
    command = [sys.executable, "-c", _TENSORFLOW]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_S, check=True)
        facts: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    except (OSError, subprocess.CalledProcessError, IndexError, ValueError):
        return None
    return facts
