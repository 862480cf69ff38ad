"""B2: codelab jobs a second on one GPU, in 8 slots compared with one: `python -m bench.gpu_slots`.

The jobs are stored before the worker may start them, and run by real workers on SQLite.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.drain import warm_workers
from bench.rows import JOBS_PER_S, Row, again, compared, interleave, judged, not_measured, run
from shared.schemas import TrainSpec
from workers.gpus import visible_gpus

_SLOTS = 8
_LEAST_RATIO, _LEAST_JOBS_PER_S = 6.0, 100.0
_CODELAB = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, epochs=10, seed=1)


def measure(scale: float) -> Iterator[Row]:
    """Measure rounds of 400 jobs at full scale; needs the dataset `mnist`."""
    if not visible_gpus():
        yield not_measured("B2", f"{_SLOTS} slots / 1 slot", "needs a GPU")
        return
    jobs = max(_SLOTS, round(400 * scale))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        cases = {
            str(slots): stack.enter_context(
                warm_workers(
                    folder / str(slots),
                    f"sqlite:///{folder / str(slots)}.db",
                    jobs,
                    _CODELAB,
                    slots=slots,
                    slots_per_gpu=slots,
                )
            )
            for slots in (1, _SLOTS)
        }
        samples = interleave({**cases, "again": cases["1"]}, max(2, round(5 * scale)))
    one, many = samples["1"], samples[str(_SLOTS)]
    yield compared("B2", f"{_SLOTS} slots / 1 slot", JOBS_PER_S, many, one, _LEAST_RATIO)
    fastest = judged(sorted(many)[len(many) // 2] >= _LEAST_JOBS_PER_S)
    yield Row(
        "B2", f"{_SLOTS} slots", JOBS_PER_S.text(many), target=f">= {_LEAST_JOBS_PER_S:g}", verdict=fastest
    )
    yield again("B2", "1 slot", JOBS_PER_S, one, samples["again"])


if __name__ == "__main__":
    run(measure)
