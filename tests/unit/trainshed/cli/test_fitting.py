"""Tables fit the width where they are shown, and no value is cut."""

import pytest

from tests.support.command_line import rendered_lines
from trainshed.cli.fitting import FittedTable, number, prose

ID = "01a22026-22ca-76e2-9948-aaa363391291"
NAME = "a name of more than forty characters, as people give"
TABLE = FittedTable(
    [{"Id": ID, "Kind": "evaluate", "Name": prose(NAME), "Epochs": number("10/10")}], ("Kind", "Epochs")
)


def test_a_table_with_room_has_a_line_for_each_row() -> None:
    head, rule, row = rendered_lines(TABLE, 120)
    assert head.split() == ["Id", "Kind", "Name", "Epochs"]
    assert set(rule) == {"─"}
    assert row == f"{ID}  evaluate  {NAME}   10/10"


@pytest.mark.parametrize(("width", "left_out"), [(80, ()), (66, ("Kind",)), (56, ("Kind", "Epochs"))])
def test_prose_is_folded_before_columns_are_left_out_in_their_order(
    width: int, left_out: tuple[str, ...]
) -> None:
    head, _, row, *rest = rendered_lines(TABLE, width)
    assert set(head.split()) == {"Id", "Kind", "Name", "Epochs"} - set(left_out)
    assert row.startswith(ID)
    assert len(rest) > 1
    note = f"Left out to fit: {', '.join(left_out)} (see --json)."
    assert (rest[-1] == note) if left_out else "Left out" not in rest[-1]


@pytest.mark.parametrize("width", [10, 40, 60, 80, 200])
def test_no_value_of_a_column_that_stays_is_cut(width: int) -> None:
    lines = rendered_lines(TABLE, width)
    assert max(map(len, lines)) <= width
    letters = "".join("".join(line.split()) for line in lines)
    assert "…" not in letters
    if width >= 60:
        assert ID in letters


def test_columns_that_do_not_fit_are_continued_below() -> None:
    table = FittedTable([{"": "accuracy", **{f"job-{index}": number(f"0.{index}") for index in range(5)}}])
    lines = rendered_lines(table, 30)
    assert [line.split() for line in lines if not set(line) <= {"─", " "}] == [
        ["job-0", "job-1", "job-2"],
        ["accuracy", "0.0", "0.1", "0.2"],
        ["job-3", "job-4"],
        ["accuracy", "0.3", "0.4"],
    ]


def test_a_title_stands_above() -> None:
    table = FittedTable([{"Id": "1234567"}], title="Tenants")
    assert next(line.strip() for line in rendered_lines(table)) == "Tenants"
