"""Our own SQL for what every order runs: prepared on the server, without the ORM's building of queries.

Measured: of an order's time through the ORM, four fifths went into building statements and planning them anew. The
server plans each of these once a connection, because settings let it (`prepare_threshold`, `plan_cache_mode`). They run
in Django's own connection and transaction, and fail with Django's own exceptions. Everything rare stays with the ORM.
Docs: docs/adr/0007.
"""

import itertools
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple, TypeVar

import orjson
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections, models
from django.db.backends.signals import connection_created
from django.db.models.base import ModelState
from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int8Dumper

from nexus.core import prepared

Row = tuple[Any, ...]
M = TypeVar("M", bound=models.Model)
N = TypeVar("N", bound=models.Model)

# What the ORM hands to the driver as it is, whatever the field; a subclass, as the words of an enumeration, is not it.
PLAIN = frozenset({type(None), str, int, bool, Decimal, datetime, uuid.UUID})


class Part(NamedTuple):
    """An owner's read that always gives one row of `width` columns: asked alone, or beside others in one statement.

    Parts of one statement share its snapshot and the names of its arguments.
    """

    query: LiteralString
    width: int


def fetch(query: LiteralString, given: Mapping[str, Any] | Sequence[Any] = (), *, is_last: bool = False) -> list[Row]:
    """Run a statement and return its rows; none for a statement that returns nothing.

    A statement whose index has a condition writes the condition's values out: a plan for any value cannot use it.
    Takes: `is_last` for the last statement of the outermost transaction, which is committed in the same round trip
    unless the statement fails; nothing else may be run in it afterwards.
    """
    ours = connections[DEFAULT_DB_ALIAS]
    ours.close_if_health_check_failed()  # once a request, as Django's own cursors do
    ours.ensure_connection()
    ours.validate_no_broken_transaction()
    text, names = _numbered(query)
    values = given if isinstance(given, Sequence) else [given[name] for name in names]
    commits = is_last and len(ours.atomic_blocks) == 1
    with ours.wrap_database_errors:
        if ours.queries_logged:  # tests count statements there
            ours.queries_log.append({"sql": query, "time": ""})
        return prepared.run(ours.connection, text, values, commits=commits)


@lru_cache(maxsize=256)
def _numbered(query: LiteralString) -> tuple[LiteralString, tuple[str, ...]]:
    """Return a query with the server's own places, $1 and on, and their names; the driver would do it each time."""
    names: list[str] = []

    def place(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name = found[1] or f"#{len(names)}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACE.sub(place, query), tuple(names)


def _count_in_one_size(connection: Any, **_: Any) -> None:
    """Give every whole number one type: the driver picks the smallest, and each size would be one more plan to keep."""
    connection.connection.adapters.register_dumper(int, Int8Dumper)


connection_created.connect(_count_in_one_size)

_PLACE = re.compile(r"%%|%s|%\((\w+)\)s")


def fetch_one(query: LiteralString, given: Mapping[str, Any] | Sequence[Any] = ()) -> Row | None:
    """Run a statement that returns one row or none."""
    rows = fetch(query, given)
    assert len(rows) <= 1
    return rows[0] if rows else None


def fetch_only(query: LiteralString, given: Mapping[str, Any] | Sequence[Any] = ()) -> Row:
    """Run a statement that returns exactly one row."""
    (row,) = fetch(query, given)
    return row


@contextmanager
def alone(space: int, number: int) -> Iterator[bool]:
    """Hold an advisory lock, which lives with the connection and no transaction. False: somebody else has it."""
    given = [space, number]
    is_alone: bool = fetch_only("SELECT pg_try_advisory_lock(%s::integer, %s::integer)", given)[0]
    try:
        yield is_alone
    finally:
        if is_alone:
            # A connection that was lost has lost its locks with it.
            with suppress(OperationalError, InterfaceError):
                fetch("SELECT pg_advisory_unlock(%s::integer, %s::integer)", given)


def fetch_parts(parts: tuple[Part, ...], given: Mapping[str, Any]) -> list[Row]:
    """Run several reads as one statement and return the row of each."""
    row = fetch_only(_beside(parts), given)
    ends = list(itertools.accumulate(part.width for part in parts))
    return [row[end - part.width : end] for part, end in zip(parts, ends, strict=True)]


@lru_cache(maxsize=16)
def _beside(parts: tuple[Part, ...]) -> LiteralString:
    return "SELECT * FROM " + ", ".join(  # noqa: S608  # nosec B608  # literal texts of the code
        f"({part.query}) part{number}" for number, part in enumerate(parts)
    )


def objects(
    model: type[M],
    query: LiteralString,
    given: Mapping[str, Any] | Sequence[Any] = (),
    *,
    without: frozenset[str] = frozenset(),
) -> list[M]:
    """Run a statement that selects rows of a model's table, and return them as its objects.

    Takes: a query with `{columns}` where the row's columns belong, which are named by their table; in `without` the
    fields that are read only when somebody asks for them.
    """
    text, names, documents = _selecting(model, query, without)
    return [made(model, names, _loaded(documents, row)) for row in fetch(text, given)]


def made(model: type[M], names: Sequence[str], values: Iterable[Any]) -> M:
    """Return a row of the table as its object: the model's own way is made for everything, and takes longer."""
    row = model.__new__(model)
    state = row._state = ModelState()
    state.adding, state.db = False, DEFAULT_DB_ALIAS
    row.__dict__.update(zip(names, values, strict=True))
    return row


def inserted(model: type[M], row: M) -> Mapping[str, Any]:
    """Return the columns of a new row and what the ORM would write into each; the key is left to the table."""
    values = row.__dict__
    return {
        column: Jsonb(values[name], dumps=orjson.dumps) if field is None else _written(field, values[name])
        for column, name, field in _columns(model)
    }


@lru_cache(maxsize=64)
def _columns(model: type[models.Model]) -> list[tuple[str, str, Any]]:
    """Return each column of a new row, the name of its value, and its field; none of one that holds JSON."""
    return [
        (str(field.column), field.attname, None if isinstance(field, models.JSONField) else field)
        for field in model._meta.concrete_fields
        if not field.primary_key
    ]


def _written(field: Any, value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, str):  # a word of an enumeration
        return str(value)
    written = field.get_db_prep_save(value, connections[DEFAULT_DB_ALIAS])
    return str(written) if isinstance(written, Enum) else written


def drafted(model: type[M], **values: Any) -> M:
    """Return a new row as an object, its other columns by default; as `made`. Takes: values by column, none by object.

    Nothing is stored. Raises: TypeError for a name that is no column.
    """
    usual, made_anew = _defaults(model)
    given = usual | {name: make() for name, make in made_anew.items()}
    if unknown := values.keys() - given.keys():
        raise TypeError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    row = model.__new__(model)
    row._state = ModelState()
    row.__dict__.update(given, **values)
    return row


@lru_cache(maxsize=64)
def _defaults(model: type[models.Model]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the defaults that are values, and what makes those that each row has to itself."""
    fields = model._meta.concrete_fields
    made_anew = {field.attname: field.default for field in fields if field.has_default() and callable(field.default)}
    return {field.attname: field.get_default() for field in fields if field.attname not in made_anew}, made_anew


def pairs(
    first: type[M],
    second: type[N],
    query: LiteralString,
    given: Mapping[str, Any] | Sequence[Any] = (),
    *,
    without: frozenset[str] = frozenset(),
) -> list[tuple[M, N | None, Row]]:
    """Run a statement over a table and another one joined to it, and return both objects and what else it selects.

    Takes: a query with `{columns}` where the rows' columns belong, before all others; in `without` the fields of the
    first that are read only when somebody asks for them.
    """
    text, names, ours = _selecting(first, query.replace("{columns}", "{columns}, {joined}"), without)
    text, joined, theirs = _selecting(second, text.replace("{joined}", "{columns}"), frozenset())
    middle, end = len(names), len(names) + len(joined)
    return [
        (
            made(first, names, _loaded(ours, row[:middle])),
            None if row[middle] is None else made(second, joined, _loaded(theirs, row[middle:end])),
            row[end:],
        )
        for row in fetch(text, given)
    ]


@lru_cache(maxsize=64)
def _selecting(
    model: type[models.Model], query: LiteralString, without: frozenset[str]
) -> tuple[LiteralString, list[str], tuple[int, ...]]:
    """Return the statement, the names of the model's columns in it, and the places of those that hold JSON."""
    fields = [field for field in model._meta.concrete_fields if field.attname not in without]
    columns = ", ".join(f'"{model._meta.db_table}"."{field.column}"' for field in fields)
    documents = tuple(place for place, field in enumerate(fields) if isinstance(field, models.JSONField))
    return query.replace("{columns}", columns), [field.attname for field in fields], documents


def _loaded(documents: tuple[int, ...], row: Row) -> Sequence[Any]:
    if not documents:
        return row
    values = list(row)
    for place in documents:
        held = values[place]
        values[place] = json.loads(held) if isinstance(held, str) else held
    return values
