"""What a chart is before it is drawn: steps of time, gaps, texts, a table; never more than 360 points."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import translation

from nexus.core import charts
from nexus.core.charts import Chart, Series, window

AT = datetime(2026, 11, 21, 9, 58, 12, tzinfo=UTC)


def chart(*series, over="6h", **changes):
    usual = {"name": "x", "title": "X", "unit": "USD", "empty": "-", "window": window(over, at=AT)}
    return Chart(**{**usual, **changes}, series=series)


def values(**at_step):
    """Return one value a step of six hours, by the step's number."""
    found: list[Decimal | None] = [None] * 360
    for name, value in at_step.items():
        found[int(name[1:])] = Decimal(value)
    return found


@pytest.mark.parametrize("key", charts.LENGTHS)
def test_a_window_is_bounded_holds_now_and_begins_at_a_round_time(key):
    found = window(key, at=AT)

    assert len(found.steps) <= 360
    assert found.steps[-1] <= AT < found.until
    assert (found.since - charts.EPOCH) % found.step == timedelta(0)


def test_a_word_that_nobody_knows_is_a_day():
    assert window("1000y", at=AT) == window("24h", at=AT) == window("", at=AT)


def test_now_at_the_very_edge_of_a_step_is_inside_the_window():
    edge = datetime(2026, 11, 21, 10, tzinfo=UTC)

    assert window("7d", at=edge).steps[-1] == edge


def test_figures_leave_as_text_and_times_as_seconds():
    found = chart(Series("A", values(s0="1.10", s359="12345678901234.12345678")), Series("L", values(), is_limit=True))

    told = json.loads(json.dumps(found.payload))

    assert (told["series"][0]["values"][0], told["series"][0]["values"][359]) == ("1.1", "12345678901234.12345678")
    assert told["times"][0] == int(window("6h", at=AT).since.timestamp())
    assert (told["times"][-1] + 60, told["zone"]) == (told["until"], "UTC")
    assert told["series"][1]["limit"] is True
    assert told["series"][0]["dash"] != told["series"][1]["dash"]


def test_the_table_shows_the_newest_first_and_a_gap_as_one_line():
    rows = list(chart(Series("A", values(s0="1", s1="1234.565", s9="-3"))).rows)

    assert [row.cells for row in rows] == [(), ("−3.00",), (), ("1,234.56",), ("1.00",)]
    gap, over = rows[2], window("6h", at=AT)
    assert (gap.begins, gap.until) == (over.since + 2 * over.step, over.since + 9 * over.step)
    assert rows[0].until == over.until


def test_limits_alone_are_no_data():
    assert not chart(Series("A", values()), Series("L", values(s0="5"), is_limit=True)).has_data
    assert chart(Series("A", values(s4="0"))).has_data


def test_a_gap_is_one_also_where_a_limit_stands():
    rows = list(chart(Series("A", values(s0="1")), Series("L", [Decimal(5)] * 360, is_limit=True)).rows)

    assert [row.cells for row in rows] == [(), ("1.00", "5.00")]


def test_the_legend_says_the_newest_lowest_and_highest_with_the_readers_signs():
    found = chart(Series("A", values(s0="1000", s1="-2", s5="7.5")), Series("L", values(s3="9"), is_limit=True))

    line, limit = found.keys
    assert (line.newest, line.lowest, line.highest) == ("7.50", "−2.00", "1,000.00")
    assert (limit.newest, limit.highest) == ("9.00", "")
    with translation.override("fr"):
        assert found.keys[0].newest == "7,50"


def test_bars_stand_in_the_table_by_their_places():
    found = chart(Series("A", [Decimal(3), None]), window=None, places=["EURUSD", "XAUUSD"], digits=0)

    assert [(row.place, row.cells) for row in found.rows] == [("EURUSD", ("3",)), ("XAUUSD", ("–",))]
