"""Results go to stdout, words about them to stderr."""

import json

import pytest

from tests.support.fake_api import make_worker
from trainshed.cli.output import say, show, write_json


def test_results_and_words_go_different_ways(capsys: pytest.CaptureFixture[str]) -> None:
    show("a result", "another")
    say("a word")
    out, err = capsys.readouterr()
    assert (out, err) == ("a result\nanother\n", "a word\n")


def test_a_sentence_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "word " * 50
    say(sentence)
    assert capsys.readouterr().err == f"{sentence}\n"


def test_what_looks_like_markup_is_written_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    say("[red]not red[/red]")
    assert capsys.readouterr().err == "[red]not red[/red]\n"


def test_a_model_a_list_and_a_mapping_are_each_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    worker = make_worker()
    for document, expected in (
        (worker, worker.model_dump(mode="json")),
        ([worker], [worker.model_dump(mode="json")]),
        ({"a": 1}, {"a": 1}),
    ):
        write_json(document)
        assert json.loads(capsys.readouterr().out) == expected
