"""What operators see: tables that they read and act on, and never edit."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import DateTimeField, DecimalField, Field, Max, Min, Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from nexus.core import figures
from nexus.core.sentences import labelled

ROWS_COUNTED_MAX = 10_000
FILTERED_BY = frozenset({"exact", "gte", "in", "isempty", "isnull", "lt"})  # what the filters beside a table write
BEFORE, AFTER = "before", "after"  # the keys at which the page before this one, or after it, has ended
SIFTED = 100_000  # keys that one page looks through for what no index tells: a tenth of a second
FOUND_MAX = 200  # rows that one index may find: what is looked up is nearly unique


def found_keys(ways: Sequence[QuerySet[Any]]) -> list[Any]:
    """Return what each finds, by its key, in one statement of as many parts."""
    first, *rest = [way.order_by().values_list("pk", flat=True)[:FOUND_MAX] for way in ways]
    return list(first.union(*rest) if rest else first)


def column_of(field: "Field[Any, Any]", write: Callable[[Any], str]) -> Callable[[Model], str]:
    """Return a column that writes a field as all other pages do."""

    @admin.display(description=field.verbose_name, ordering=field.name)
    def column(row: Model) -> str:
        return write(getattr(row, field.name))

    column.__name__ = field.name  # what the table's style sheet knows it by
    return column


def name_in_each_language(model: type[Model], table: "admin.ModelAdmin[Any]") -> None:
    """Let a table's names, of itself, its app, its columns and its search, be said in the language of its reader."""
    opts = model._meta
    opts.verbose_name = labelled(str(opts.verbose_name))
    opts.verbose_name_plural = labelled(str(opts.verbose_name_plural))
    opts.app_config.verbose_name = labelled(str(opts.app_config.verbose_name))
    for field in opts.concrete_fields:
        field.verbose_name = labelled(str(field.verbose_name))
    if table.search_help_text:
        type(table).search_help_text = labelled(str(table.search_help_text))
    for name in {each for each in (*table.list_display, *table.readonly_fields) if isinstance(each, str)} - {"__str__"}:
        own = getattr(type(table), name, None)
        if own is not None:
            own.short_description = labelled(str(getattr(own, "short_description", name.replace("_", " "))))


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Count no further than `ROWS_COUNTED_MAX`: beyond that a person searches, and the database need not count."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, or the cap."""
        rows = self.object_list
        if isinstance(rows, QuerySet):
            return int(rows.order_by()[:ROWS_COUNTED_MAX].count())
        return len(rows)


class KeysetChangeList(ChangeList):
    """A table in the descending order of its keys, turned by them: the thousandth page costs what the first does.

    Nothing is counted, and no column sorts: both would read the whole table. So would a filter that few rows pass:
    a page looks through so many keys, says so, and the next one goes on from there.
    """

    newer_url = older_url = ""
    is_cut = False

    def get_filters_params(self, params: Any = None) -> Any:
        """Take what turns the pages out of what filters."""
        found = super().get_filters_params(params)
        for name in (BEFORE, AFTER):
            found.pop(name, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        """Read one page, and one row more to know whether there is another."""
        before, after = (self._key(request, name) for name in (BEFORE, AFTER))
        is_up, start = after is not None, before if after is None else after
        rows, edge = self.queryset.order_by("pk" if is_up else "-pk"), self._edge(start, is_up=is_up)
        if start is not None:
            rows = rows.filter(**{"pk__gt" if is_up else "pk__lt": start})
        if edge is not None:
            rows = rows.filter(**{"pk__lte" if is_up else "pk__gte": edge})
        found = list(rows[: self.list_per_page + 1])
        page, has_more = found[: self.list_per_page], len(found) > self.list_per_page
        self.is_cut = edge is not None and not has_more
        further = page[-1].pk if has_more else edge
        back = None if start is None else page[0].pk if page else start + (1 if is_up else -1)
        older, newer = (back, further) if is_up else (further, back)
        self.older_url = "" if older is None else self._url(BEFORE, older)
        self.newer_url = "" if newer is None else self._url(AFTER, newer)
        page = page[::-1] if is_up else page
        self.result_list = page
        self.result_count, self.full_result_count = len(page), None
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all, self.multi_page = False, False
        self.paginator = self.model_admin.get_paginator(request, rows.none(), self.list_per_page)

    def _edge(self, start: int | None, *, is_up: bool) -> int | None:
        """Return the key up to which this page looks, None for all there are."""
        if not (self.has_active_filters or (self.query and not getattr(self.model_admin, "is_looked_up", False))):
            return None
        ends = self.root_queryset.order_by().aggregate(low=Min("pk"), high=Max("pk"))
        if ends["low"] is None:
            return None
        if is_up:
            edge = int(start or 0) + SIFTED
            return edge if edge < ends["high"] else None
        edge = (ends["high"] + 1 if start is None else start) - SIFTED
        return edge if edge > ends["low"] else None

    def _key(self, request: HttpRequest, name: str) -> int | None:
        text = request.GET.get(name)
        if text is None:
            return None
        if not text.isdecimal() or len(text) > 18:
            raise IncorrectLookupParameters
        return int(text)

    def _url(self, name: str, key: object) -> str:
        return self.get_query_string({name: key}, remove=[BEFORE, AFTER])


class RecordAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A read-only table. Repairs go through the owner's services, never through a form."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they count every row, once a filter
    list_per_page = 50
    paginator = CappedPaginator
    actions: Any = ()
    change_list_template = "console/records.html"
    is_looked_up = False  # the search asks indexes alone, however many rows there are

    @cached_property
    def columns(self) -> dict[str, Callable[[Model], str]]:
        """Return the columns of figures and times: exact, with no noughts at their ends, and to the second."""
        kinds = ((DecimalField, figures.exact), (DateTimeField, figures.moment))
        return {
            field.name: column_of(field, write)
            for field in self.opts.concrete_fields
            for kind, write in kinds
            if isinstance(field, kind)
        }

    def get_list_display(self, request: HttpRequest) -> Any:
        """Write figures and times as other pages do; Django's own way rounds times to the minute."""
        return [self.columns.get(each, each) if isinstance(each, str) else each for each in self.list_display]

    @property
    def is_keyset(self) -> bool:
        """Tell whether the table is read in the descending order of its keys, as all are that grow without end."""
        key = self.opts.pk.name if self.opts.pk else "id"
        return tuple(self.ordering or ()) in {("-pk",), (f"-{key}",)} and "Integer" in self._key_type()

    def _key_type(self) -> str:
        key = self.opts.pk
        kind = "" if key is None else key.get_internal_type()
        return "Integer" if kind in {"AutoField", "BigAutoField"} else kind

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Turn large tables by their keys."""
        return KeysetChangeList if self.is_keyset else super().get_changelist(request, **kwargs)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """Sort no large table by a column."""
        return () if self.is_keyset else super().get_sortable_by(request)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Call the table what it is: Django's own words ask to select something."""
        title = str(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title[:1].upper() + title[1:], **(extra_context or {})})

    def lookups(self, words: str) -> Sequence[QuerySet[Any]]:
        """Return what finds these words by an index each; nothing where the search looks at row after row."""
        return ()

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by the indexes where they tell. Joined by OR, they would lead the database to read every row."""
        words = search_term.strip()
        if not (words and self.is_looked_up):
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(pk__in=found_keys(self.lookups(words))), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: records are made by services."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records are not edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: records are not deleted."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Let an address filter by what stands beside the table, and by nothing else.

        Django lets it filter by any column of the table: `password__startswith` reads a hash, one letter a request.
        """
        field, _, how = lookup.partition("__")
        named = {each[0] if isinstance(each, list | tuple) else each for each in self.list_filter}
        return field in named and how in FILTERED_BY | {""}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Name every field that is shown."""
        shown = self.fields or [field.name for field in self.opts.concrete_fields]
        return (*shown, *(name for name in self.readonly_fields if name not in shown))

    def get_actions(self, request: HttpRequest) -> Any:
        """Offer what the class lists, and never the site's `delete_selected`."""
        return {name: action for name, action in super().get_actions(request).items() if name != "delete_selected"}
