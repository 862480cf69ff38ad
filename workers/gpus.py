"""The host's GPUs: detection, the number of slots, and the GPU of each slot."""

import os
import re
import subprocess

_MIG_UUID = re.compile(r"MIG-[0-9A-Za-z/-]+(?=\))")


def visible_gpus() -> list[str]:
    """Return the GPUs that this worker may use, as CUDA names them; empty if there are none."""
    configured = os.environ.get("CUDA_VISIBLE_DEVICES")  # noqa: TID251 (CUDA's setting, not ours)
    # "all" is meant for NVIDIA's container toolkit: CUDA would recognize no GPU
    if configured is not None and configured != "all":
        return [name for name in configured.split(",") if name and name != "-1"]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return _listed(listing.stdout)


def _listed(listing: str) -> list[str]:
    """Return the GPUs that `nvidia-smi -L` lists: indexes, or for a GPU in MIG mode its instances' UUIDs."""
    gpus: dict[int, list[str]] = {}
    for line in listing.splitlines():
        if line.startswith("GPU "):
            gpus[len(gpus)] = []
        elif part := _MIG_UUID.search(line):
            gpus[len(gpus) - 1].append(part[0])
    return [name for index, parts in gpus.items() for name in parts or [str(index)]]


def slot_count(gpus: list[str], *, slots: int, slots_per_gpu: int) -> int:
    """Return how many jobs a worker runs at once: `slots` without GPUs, else `slots_per_gpu` for each GPU."""
    return len(gpus) * slots_per_gpu if gpus else slots


def select_gpu(gpus: list[str], slot: int) -> None:
    """Limit this process to the GPU of its slot, counted from 0; must be called before CUDA is loaded.

    Consecutive slots get different GPUs. Without GPUs nothing is changed.
    """
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]  # noqa: TID251 (CUDA reads nothing else)
