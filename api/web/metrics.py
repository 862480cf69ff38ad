"""Metrics on pages: their order, and their grouping into charts."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from shared.schemas import Resolution, main_metric

VALIDATION = "val_"
"""The prefix of the names of validation metrics; the rest is the name of the training metric."""
DEFAULTS = ("loss", "accuracy", "val_loss", "val_accuracy")
"""The metrics of the codelab, shown where a job has not recorded any yet."""
COLUMNS = ("val_accuracy", "evaluation_accuracy")
"""The metrics that a list of jobs shows besides the one by which it is sorted."""

_MAX_CHARTS = 48  # charts on a page


@dataclass(frozen=True)
class Group:
    """The metrics of one chart: one of training and one of validation, or one alone.

    Attributes:
        id: the id of the chart's HTML element.
        title: the name that the metrics share.
    """

    id: str
    title: str
    resolution: Resolution
    names: tuple[str, ...]


def headline(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the most important last values of a job: those of the default columns, or else one."""
    names: Iterable[str | None] = [name for name in COLUMNS if name in values] or [main_metric(values)]
    return {name: values[name] for name in names if name is not None}


def groups(of_steps: Collection[str], of_epochs: Collection[str]) -> tuple[Group, ...]:
    """Return the charts of a job's metrics, those of its steps first, up to a maximum number of charts."""
    if not of_steps and not of_epochs:
        of_steps, of_epochs = DEFAULTS[:2], DEFAULTS
    charts = chain(_of(Resolution.STEP, "batch", of_steps), _of(Resolution.EPOCH, "epoch", of_epochs))
    return tuple(charts)[:_MAX_CHARTS]


def _of(resolution: Resolution, unit: str, names: Collection[str]) -> Iterable[Group]:
    bases: dict[str, list[str]] = {}
    for name in names:
        bases.setdefault(name.removeprefix(VALIDATION), []).append(name)
    for base, of_base in bases.items():
        slug = "".join(char if char.isalnum() else "-" for char in base)
        title = f"{unit.capitalize()} {base.replace('_', ' ')}"
        yield Group(f"{unit}-{slug}", title, resolution, tuple(sorted(of_base, key=len)))
