"""Which GPUs this host has, and which one a slot takes."""

import os
import subprocess


def visible_gpus() -> list[str]:
    """The GPUs that this worker may use, as CUDA names them; empty where there is none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")  # noqa: TID251 (CUDA's setting, not ours)
    if chosen is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(index) for index, line in enumerate(listing.stdout.splitlines()) if line.startswith("GPU ")]


def slot_count(gpus: list[str], *, slots: int, slots_per_gpu: int) -> int:
    """How many jobs a worker runs at once."""
    return len(gpus) * slots_per_gpu if gpus else slots


def take_gpu(gpus: list[str], slot: int) -> None:
    """Make one GPU the only one that this process sees; must be called before CUDA is loaded.

    Args:
        gpus: of the worker.
        slot: this process's number in the worker, from 0; neighbours get different GPUs.
    """
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]  # noqa: TID251 (CUDA reads nothing else)
