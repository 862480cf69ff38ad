"""Many jobs are watched: a table in a terminal, a line for each change elsewhere."""

import json
from datetime import timedelta

import pytest

from shared.lifecycle import JobState, Phase
from shared.schemas import WaitingFor
from tests.support.command_line import CommandLine, Interrupting, rendered_lines
from tests.support.fake_api import T0, FakeApi, make_failure, make_job, make_progress, make_states
from trainshed.cli.formatting import short_id
from trainshed.cli.watching import Round, rounds_of_unfinished, watch_many, watch_table


def test_jobs_are_watched_until_all_are_finished(cli: CommandLine) -> None:
    first, second = cli.api.add(*make_states(make_job())), cli.api.add(*make_states(make_job()))
    pauses: list[float] = []
    end = watch_many(cli.api.connect(), [first, second], as_json=False, sleep=pauses.append)
    assert (end.exit_code, len(pauses)) == (0, 4)


def test_each_change_of_several_jobs_is_a_line(cli: CommandLine) -> None:
    ended = make_failure(make_job())
    done = make_states(make_job(name="baseline"))[-1]
    cli.api.add(ended)
    cli.api.add(done)
    result = cli.run("watch", ended.id, done.id)
    assert result.stdout.splitlines() == [
        f"{short_id(ended.id)}  failed  data_unavailable: no route",
        f"{short_id(done.id)}  succeeded  baseline  accuracy 0.9800  0:02 elapsed",
    ]
    assert result.exit_code == 1


def test_each_change_of_several_jobs_is_a_json_document_on_a_line(cli: CommandLine) -> None:
    ids = [cli.api.add(make_states(make_job())[-1]) for _ in range(2)]
    result = cli.run("watch", *ids, "--json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == list(map(str, ids))
    assert (result.stderr, result.exit_code) == ("", 0)


def test_without_a_job_all_that_run_and_wait_are_watched_until_ctrl_c(cli: CommandLine) -> None:
    waits = cli.api.add(make_job(waiting_for=WaitingFor.PAUSED))
    runs = cli.api.add(make_job(state=JobState.RUNNING, phase=Phase.TRAINING))
    cli.api.add(make_failure(make_job()))
    end = watch_many(cli.api.connect(), [], as_json=False, sleep=Interrupting().append)
    assert end.exit_code == 130
    seen = next(rounds_of_unfinished(cli.api.connect(), 10, Interrupting().append))
    assert [job.id for job in seen.jobs] == [runs, waits]
    assert seen.head == "1 running, 1 queued"


def test_a_job_that_ends_while_all_are_watched_is_reported(cli: CommandLine) -> None:
    states = make_states(make_job())
    job_id = cli.api.add(states[0], states[0], states[-1])
    rounds = rounds_of_unfinished(cli.api.connect(), 10, cli.api.pauses.append)
    assert [job.id for job in next(rounds).jobs] == [job_id]
    assert [job.state for seen in (next(rounds), next(rounds)) for job in seen.ended] == [JobState.SUCCEEDED]


def test_jobs_that_do_not_fit_are_counted(cli: CommandLine) -> None:
    for _ in range(3):
        cli.api.add(make_job())
    seen = next(rounds_of_unfinished(cli.api.connect(), 2, cli.api.pauses.append))
    assert (len(seen.jobs), seen.head) == (2, "0 running, 3 queued; 1 more not shown")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_ids_and_reasons_are_whole_at_every_width(width: int) -> None:
    waits = make_job(name="a-name-of-some-length", waiting_for=WaitingFor.NO_WORKER_ONLINE)
    runs = make_job(state=JobState.RUNNING, phase=Phase.BUILDING_MODEL)
    shown = rendered_lines(watch_table([waits, runs]), width)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert short_id(waits.id) in text
    assert "building" in text
    assert "…" not in text


def test_a_view_of_jobs_has_their_bars_and_times_below_a_head() -> None:
    progress = make_progress(1).model_copy(update={"eta_s": 100.0})
    job = make_job(state=JobState.RUNNING, phase=Phase.TRAINING, progress=progress, started_at=T0)
    head, _, *_, row = rendered_lines(Round([job], head="1 running, 0 queued"))
    assert head == "1 running, 0 queued"
    assert "1:40" in row.split()
    assert row.count("━") == 4  # a third of 12


def test_an_interrupted_watch_in_json_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi()
    api.add(make_job(created_at=T0 + timedelta(seconds=1)))
    watch_many(api.connect(), [], as_json=True, sleep=Interrupting().append)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == ""
