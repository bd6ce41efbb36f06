"""The model that all formats render."""

import pytest

from results.report.section import MOST_PROBLEMS, Cell, Column, fit_columns, shorten_problems, text_table


@pytest.mark.parametrize(
    ("widths", "width", "parts"),
    [([3, 3, 3], 15, [[0, 1, 2]]), ([3, 3, 3], 14, [[0, 1], [2]]), ([30, 3], 10, [[0], [1]]), ([], 10, [])],
)
def test_columns_that_do_not_fit_follow_below(widths, width, parts):
    assert fit_columns(widths, width, gap=2) == parts


def test_many_problems_are_counted():
    assert shorten_problems(("a", "b")) == ["a", "b"]
    many = tuple(map(str, range(MOST_PROBLEMS + 2)))
    assert shorten_problems(many) == [*many[:MOST_PROBLEMS], "and 2 more, which table.md lists"]


def test_a_table_of_texts_names_its_rows_by_the_first():
    table = text_table("a", ("method", "data", "views"), [("byol", "cifar10", "2 M")], words=(1,), caption="C")
    assert (table.names, table.rows[0].header, table.caption) == (("method",), ("byol",), "C")
    assert [column.is_number for column in table.columns] == [False, True]
    assert [cell.text for cell in table.rows[0].cells] == ["cifar10", "2 M"]


def test_texts_leave_no_gaps():
    assert Cell("61.03", "(3)", "≈").text == "61.03 (3) ≈"
    assert Cell("61.03", marks="≈").text == "61.03 ≈"
    assert Column("linear", group="shapes").lines == ("shapes", "linear")
