"""The demo: the local stack, the codelab's job on real digits, and what came of it, checked."""

from collections.abc import Callable, Iterator

from shared.lifecycle import JobState
from shared.schemas import JobDetail, JobEvaluation, Metrics, TrainJobCreate, TrainRequest, TrainSpec
from shared.settings import Settings
from trainshed.cli import tables
from trainshed.cli.exit_codes import OF_STATE, ExitCode
from trainshed.cli.follow import conclude, detailed, follow
from trainshed.cli.output import say, show, stdout, write_json
from trainshed.client import Client, own_key
from trainshed.errors import StackRunning
from trainshed.local import ports
from trainshed.local.stack import LocalStack

_MNIST = TrainRequest(dataset="mnist")
_DIGITS = TrainRequest(dataset="digits", batch_size=32)  # few images: small batches make steps enough

_TRAINED = {"loss", "accuracy"}
_CURVES = {"epoch": _TRAINED | {"val_loss", "val_accuracy"}, "step": _TRAINED}


def run_demo(settings: Settings, *, progress: Callable[[str], None], as_json: bool) -> ExitCode:
    """Run the codelab's job on a stack of its own, or on the one that runs on the same data.

    Returns:
        DONE if the job succeeded, and its results agree with each other.
    """
    if not ports.is_free(settings.host, settings.port):
        settings = settings.model_copy(update={"port": ports.find_free(settings.host)})
    try:
        with LocalStack(settings, say=progress) as stack:
            code = _run_on(stack.url, settings, as_json)
    except StackRunning as running:
        progress(f"a stack runs on {settings.data_dir} already: using it, at {running.url}")
        return _run_on(running.url, settings, as_json)
    say("`trainshed up` serves these results again, and takes more jobs.")
    return code


def _run_on(url: str, settings: Settings, as_json: bool) -> ExitCode:
    with Client(url, api_key=own_key(settings)) as server:
        job = _train(server, _MNIST, as_json)
        if job.error and job.error.code == "data_unavailable":
            say(f"MNIST cannot be fetched: {job.error.message}", "yellow")
            say("Going on with `digits`, real handwritten digits that need no network.", "yellow")
            job = _train(server, _DIGITS, as_json)
        if job.state is not JobState.SUCCEEDED:
            conclude(job, None)
            return OF_STATE[job.state]
        return _conclude(server, job, as_json)


def _train(server: Client, spec: TrainRequest, as_json: bool) -> JobDetail:
    # one attempt: another would only have people wait before they hear what is wrong
    job = server.submit(TrainJobCreate(spec=spec, name="demo", max_attempts=1))
    say(f"Training on {spec.dataset}; a new worker loads TensorFlow first.")
    try:
        return server.wait(job.id) if as_json else follow(server, job.id, stdout())
    except KeyboardInterrupt:
        server.cancel(job.id)
        raise


def _conclude(server: Client, job: JobDetail, as_json: bool) -> ExitCode:
    evaluation = server.evaluation(job.id)
    epochs, steps = server.metrics(job.id, "epoch"), server.metrics(job.id, "step")
    if as_json:
        write_json(detailed(job, evaluation))
    else:
        show("", tables.evaluation_tables(evaluation), "")
    wrong = list(disagreements(job, evaluation, epochs, steps))
    for what in wrong:
        say(f"The results do not agree: {what}", "bold red")
    if wrong:
        return ExitCode.FAILED
    say(_totals(evaluation, epochs, steps), "bold")
    return ExitCode.DONE


def _totals(evaluation: JobEvaluation, epochs: Metrics, steps: Metrics) -> str:
    curves = {one.name: one.y for one in epochs.series}
    return (
        f"{len(curves['loss'])} epochs, {len(steps.series[0].y)} batches, validation accuracy "
        f"{curves['val_accuracy'][-1]:.4f}, evaluation accuracy {evaluation.accuracy:.4f} on "
        f"{evaluation.size:,} images: taken from the API, and checked against each other."
    )


def disagreements(
    job: JobDetail, evaluation: JobEvaluation, epochs: Metrics, steps: Metrics
) -> Iterator[str]:
    """What in a training job's results contradicts its specification or itself."""
    assert isinstance(job.spec, TrainSpec)
    points = {"epoch": job.spec.epochs, "step": job.spec.epochs * job.spec.steps_per_epoch}
    for resolution, metrics in (("epoch", epochs), ("step", steps)):
        curves = {one.name: one.y for one in metrics.series}
        for name in sorted(_CURVES[resolution]):
            found = len(curves.get(name, ()))
            if found != points[resolution]:
                yield f"{name} has {found} points by {resolution}, and not {points[resolution]}"
    counted = sum(result.count for result in evaluation.per_class)
    if not counted == evaluation.size == job.spec.evaluation_size:
        asked = job.spec.evaluation_size
        yield f"the classes have {counted} images, the evaluation {evaluation.size}, not {asked} as asked"
    for result, row in zip(evaluation.per_class, evaluation.confusion_matrix, strict=True):
        if sum(row) != result.count - result.rejected or row[result.label] != result.correct:
            yield f"the table and the matrix differ on {result.name}"
    if round(evaluation.accuracy * counted) != sum(result.correct for result in evaluation.per_class):
        yield "the accuracy is not that of the classes"
