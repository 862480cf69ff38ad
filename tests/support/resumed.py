"""Train in another process: `python -m tests.support.resumed SPEC NEXT_EPOCH < STATE`.

SPEC is a TrainSpec as JSON; NEXT_EPOCH 0 trains from the beginning and reads no state. Prints as JSON the
device, the history, the SHA-256 of each epoch's state, and that of the weights.
"""

import json
import subprocess
import sys
from hashlib import sha256
from typing import Any

from shared.schemas import TrainSpec
from tests.support.paths import ROOT
from tests.support.synthetic import RecordingMonitor, digest, history, make_images
from workers.executor import Checkpoint
from workers.mnist import backend
from workers.mnist.graphs import Shape
from workers.mnist.programs import Programs
from workers.mnist.training import train


def run(spec: TrainSpec, start: Checkpoint | None) -> tuple[dict[str, Any], list[bytes]]:
    """Train in this process; return what `main` prints, and the state after each epoch."""
    programs = Programs(backend.configure(deterministic=True))
    monitor = RecordingMonitor()
    weights = train(spec, make_images(spec), programs.epoch(Shape.of(spec)), start, monitor)
    result = {
        "device": backend.device_name(),
        "history": history(monitor.epochs),
        "states": [sha256(state).hexdigest() for state in monitor.states],
        "weights": digest(weights),
    }
    return result, monitor.states


def run_in_new_process(spec: TrainSpec, start: Checkpoint | None) -> dict[str, Any]:
    """Train in a new process; return what it prints."""
    completed = subprocess.run(
        [sys.executable, "-m", __name__, spec.model_dump_json(), str(start.next_epoch if start else 0)],
        input=start.state if start else b"",
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    )
    result: dict[str, Any] = json.loads(completed.stdout)
    return result


def main() -> None:
    """Run the training that the command line specifies."""
    spec, next_epoch = TrainSpec.model_validate_json(sys.argv[1]), int(sys.argv[2])
    start = Checkpoint(next_epoch, sys.stdin.buffer.read()) if next_epoch else None
    json.dump(run(spec, start)[0], sys.stdout)


if __name__ == "__main__":
    main()
