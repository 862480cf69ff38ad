"""Tables fit the width where they are shown, and no value is cut."""

import pytest
from rich.text import Text

from tests.support.command_line import rendered_lines
from trainshed.cli.fitting import FittedTable, number, prose, text

ID = "01a22026-22ca-76e2-9948-aaa363391291"
NAME = "a name of more than forty characters, as people give"


def _table(*, with_note: bool = True) -> FittedTable:
    table = FittedTable(text("Id"), text("Kind", 2), prose("Name"), number("Epochs", 1), with_note=with_note)
    table.add_row(ID, "evaluate", Text(NAME), "10/10")
    return table


def test_a_table_with_room_has_a_line_for_each_row() -> None:
    head, rule, row = rendered_lines(_table(), 120)
    assert head.split() == ["Id", "Kind", "Name", "Epochs"]
    assert set(rule) == {"─"}
    assert row == f"{ID}  evaluate  {NAME}   10/10"


def test_prose_is_folded_before_a_column_is_left_out() -> None:
    head, _, *rows = rendered_lines(_table(), 80)
    assert head.split() == ["Id", "Kind", "Name", "Epochs"]
    assert rows[0].startswith(f"{ID}  evaluate  a name of more")
    assert len(rows) > 1


def test_columns_are_left_out_in_their_order_and_named() -> None:
    *_, note = rendered_lines(_table(), 66)
    assert note == "Left out to fit: Kind (see --json)."
    *_, note = rendered_lines(_table(), 56)
    assert note == "Left out to fit: Kind, Epochs (see --json)."


def test_a_narrow_column_has_room_where_a_wider_one_of_more_importance_has_not() -> None:
    table = FittedTable(text("Id"), text("Wide", 1), text("#", 2))
    table.add_row("1234", "w" * 20, "7")
    assert rendered_lines(table, 16)[:3] == ["Id    #", "───────", "1234  7"]


def test_a_note_may_be_unwanted() -> None:
    assert "Left out" not in "\n".join(rendered_lines(_table(with_note=False), 56))


@pytest.mark.parametrize("width", [10, 40, 60, 80, 200])
def test_no_value_of_a_column_that_stays_is_cut(width: int) -> None:
    lines = rendered_lines(_table(), width)
    assert max(map(len, lines)) <= width
    letters = "".join("".join(line.split()) for line in lines)
    assert "…" not in letters
    if width >= 60:
        assert ID in letters


def test_columns_that_do_not_fit_are_continued_below() -> None:
    table = FittedTable(text(""), *(number(f"job-{index}") for index in range(5)), continued=True)
    table.add_row("accuracy", *(f"0.{index}" for index in range(5)))
    lines = rendered_lines(table, 30)
    assert [line.split() for line in lines if not set(line) <= {"─", " "}] == [
        ["job-0", "job-1", "job-2"],
        ["accuracy", "0.0", "0.1", "0.2"],
        ["job-3", "job-4"],
        ["accuracy", "0.3", "0.4"],
    ]


def test_a_title_stands_above() -> None:
    table = FittedTable(text("Id"), title="Tenants")
    table.add_row("1234567")
    assert next(line.strip() for line in rendered_lines(table)) == "Tenants"


def test_heads_are_broken_between_words_only_and_columns_leave_before_that() -> None:
    table = FittedTable(text("Job"), text("evaluation accuracy"), number("Accuracy", 1))
    table.add_row("12345678", "0.9", "0.9")
    whole = {"Job", "evaluation", "accuracy", "Accuracy"}
    for width in range(8, 45):
        head = " ".join(rendered_lines(table, width)).partition("─")[0].split()
        assert set(head) <= whole, width
        assert ("evaluation" in head) == (width >= 20)
