"""The demo: trains the codelab's model on real digits on the local stack, and cross-checks the results."""

from collections.abc import Callable, Iterator, Mapping

from shared.errors import DataUnavailable
from shared.lifecycle import JobState
from shared.schemas import (
    JobDetail,
    JobEvaluation,
    Metrics,
    Resolution,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)
from shared.settings import Settings
from trainshed.async_client import local_api_key, local_url
from trainshed.cli.evaluation_tables import evaluation_tables
from trainshed.cli.exit_codes import EXIT_CODES, ExitCode
from trainshed.cli.follow import follow, show_outcome, with_evaluation
from trainshed.cli.formatting import decimal, program
from trainshed.cli.output import say, show, stdout, write_json
from trainshed.client import Client
from trainshed.errors import StackRunning
from trainshed.local import ports
from trainshed.local.stack import LocalStack

_MNIST = TrainRequest(dataset="mnist")
_DIGITS = TrainRequest(dataset="digits", batch_size=32)  # few images: small batches make enough steps

_STEPS = ("loss", "accuracy")
_EXPECTED_METRICS = {Resolution.EPOCH: (*_STEPS, "val_loss", "val_accuracy"), Resolution.STEP: _STEPS}


def run_demo(settings: Settings, *, report: Callable[[str], None], as_json: bool) -> ExitCode:
    """Run the codelab's job on a new local stack, or on a running stack with the same data.

    Returns:
        DONE if the job succeeded and its results are consistent.
    """
    served_at = local_url(settings)
    if not ports.is_free(settings.host, settings.port):
        settings = settings.model_copy(update={"port": ports.find_free(settings.host)})
    try:
        with LocalStack(settings, report=report) as stack:
            code, page = _run_on(stack.url, settings, as_json)
    except StackRunning as running:
        report(f"a stack runs on {settings.data_dir} already: using it, at {running.url}")
        code, page = _run_on(running.url, settings, as_json)
        say(f"Its page: {running.url}{page}", "bold")
        return code
    what = "these results" if code is ExitCode.DONE else "this job"
    say(f"`{program()} up` serves {what} again, and runs more jobs. Then this job's page is")
    say(f"{served_at}{page}", "bold")
    return code


def _run_on(url: str, settings: Settings, as_json: bool) -> tuple[ExitCode, str]:
    """Run the demo's job, and return its exit code and the path of its page."""
    with Client(url, api_key=local_api_key(settings)) as server:
        job = _train(server, _MNIST, as_json)
        if job.error and job.error.code == DataUnavailable.code:
            say(f"MNIST cannot be fetched: {job.error.message}", "yellow")
            say("Continuing with `digits`, real handwritten digits that need no network.", "yellow")
            job = _train(server, _DIGITS, as_json)
        if job.state is not JobState.SUCCEEDED:
            show_outcome(job, None)
            return EXIT_CODES[job.state], f"/jobs/{job.id}"
        return _show_results(server, job, as_json), f"/jobs/{job.id}"


def _train(server: Client, spec: TrainRequest, as_json: bool) -> JobDetail:
    # with more attempts, an error would be shown later
    job = server.submit(TrainJobCreate(spec=spec, name="demo", max_attempts=1))
    say(f"Training on {spec.dataset}; a new worker loads TensorFlow first.")
    try:
        return server.wait(job.id) if as_json else follow(server, job.id, stdout())
    except KeyboardInterrupt:
        server.cancel(job.id)
        raise


def _show_results(server: Client, job: JobDetail, as_json: bool) -> ExitCode:
    evaluation = server.evaluation(job.id)
    metrics = {resolution: server.metrics(job.id, resolution) for resolution in Resolution}
    if as_json:
        write_json(with_evaluation(job, evaluation))
    else:
        show("", evaluation_tables(evaluation), "")
    errors = list(inconsistencies(job, evaluation, metrics))
    for error in errors:
        say(f"The results are inconsistent: {error}", "bold red")
    if errors:
        return ExitCode.FAILED
    say(_summary(evaluation, metrics), "bold")
    return ExitCode.DONE


def _summary(evaluation: JobEvaluation, metrics: Mapping[Resolution, Metrics]) -> str:
    epochs = {metric.name: metric.y for metric in metrics[Resolution.EPOCH].series}
    batches = len(metrics[Resolution.STEP].series[0].y)
    return (
        f"{len(epochs['loss'])} epochs, {batches} batches, validation accuracy "
        f"{decimal(epochs['val_accuracy'][-1])}, evaluation accuracy {evaluation.accuracy:.4f} on "
        f"{evaluation.size:,} images: read from the API, and consistent with each other."
    )


def inconsistencies(
    job: JobDetail, evaluation: JobEvaluation, metrics: Mapping[Resolution, Metrics]
) -> Iterator[str]:
    """Yield the contradictions between a training job's results and its specification or each other."""
    assert isinstance(job.spec, TrainSpec)
    points = {Resolution.EPOCH: job.spec.epochs, Resolution.STEP: job.spec.epochs * job.spec.steps_per_epoch}
    for resolution, names in _EXPECTED_METRICS.items():
        lengths = {metric.name: len(metric.y) for metric in metrics[resolution].series}
        for name in names:
            if lengths.get(name, 0) != points[resolution]:
                yield f"{name} has {lengths.get(name, 0)} points by {resolution}, not {points[resolution]}"
    counted = sum(result.count for result in evaluation.per_class)
    requested = job.spec.evaluation_size
    if not counted == evaluation.size == requested:
        yield f"the classes have {counted} images, the evaluation {evaluation.size}, the request {requested}"
    for result, row in zip(evaluation.per_class, evaluation.confusion_matrix or (), strict=True):
        if sum(row) != result.count - result.rejected or row[result.label] != result.correct:
            yield f"the table and the matrix differ on {result.title}"
    if round((evaluation.accuracy or 0.0) * counted) != sum(
        result.correct for result in evaluation.per_class
    ):
        yield "the accuracy is not that of the classes"
