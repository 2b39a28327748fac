"""The tables are called what their reader calls them, and write figures and times as every other page does."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.utils import translation

from nexus.core import sentences
from nexus.core.operator import RecordAdmin
from trading.models import TradeLedger

TABLES = [(model, table) for model, table in admin.site._registry.items() if isinstance(table, RecordAdmin)]


def names_of(model, table):
    """Return all that a table is called: itself, its app, its columns, its search."""
    yield from (model._meta.verbose_name, model._meta.verbose_name_plural, model._meta.app_config.verbose_name)
    yield from (field.verbose_name for field in model._meta.concrete_fields)
    if table.search_help_text:
        yield table.search_help_text
    for name in (*table.list_display, *table.readonly_fields):
        own = getattr(type(table), name, None) if name != "__str__" else None
        if own is not None:
            yield own.short_description


@pytest.mark.parametrize(("model", "table"), TABLES, ids=[model._meta.label_lower for model, _ in TABLES])
def test_every_name_of_a_table_is_known_in_french(model, table):
    with translation.override("en"):
        english = [str(name) for name in names_of(model, table)]
    with translation.override("fr"):
        said = [str(name) for name in names_of(model, table)]

    assert [name for name in english if name not in sentences.labels("fr")] == []
    assert said == [sentences.labels("fr")[name] for name in english]


def test_no_label_is_known_that_no_table_has():
    with translation.override("en"):
        names = {str(name) for model, table in TABLES for name in names_of(model, table)}

    assert set(sentences.labels("fr")) - names == set()


def test_a_table_writes_exact_figures_without_noughts_and_times_to_the_second(rf):
    columns: dict[str, Any] = {
        getattr(column, "__name__", str(column)): column
        for column in admin.site._registry[TradeLedger].get_list_display(rf.get("/"))
    }
    order = TradeLedger(quantity=Decimal("0.02000000"), created_at=datetime(2026, 11, 21, 19, 52, 34, tzinfo=UTC))

    assert columns["quantity"](order) == "0.02"
    assert columns["average_price"](order) == "–"
    assert "19:52:34" in columns["created_at"](order)
