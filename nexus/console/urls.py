"""Every page of the console beside the tables, and the ways to them that stand on each page."""

from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.urls import URLPattern, path

from accounts.rules import Action
from nexus.console import home, releases, stops
from nexus.console.pages import Page


class Way(NamedTuple):
    """A way that stands on every page. `key` is its keyboard shortcut, after `g`."""

    name: str
    words: str
    key: str
    action: Action


WAYS = (
    Way("admin:index", "Home", "h", Action.STATUS_READ),
    Way("admin:console_stops", "Stops", "s", Action.STATUS_READ),
    Way("admin:console_tables", "All tables", "t", Action.STATUS_READ),
)

PAGES: tuple[tuple[str, type[Page], str], ...] = (
    ("live/", home.LivePart, "console_live"),
    ("stop/", stops.StopPage, "console_stop"),
    ("stops/", stops.StopsPage, "console_stops"),
    ("stops/<int:control_id>/", stops.OneStopPage, "console_one_stop"),
    ("stops/<int:control_id>/propose/", releases.ProposePage, "console_propose_release"),
    ("releases/<int:release_id>/approve/", releases.ApprovePage, "console_approve_release"),
    ("releases/<int:release_id>/refuse/", releases.RefusePage, "console_refuse_release"),
)


def of(site: AdminSite) -> list[URLPattern]:
    """Return the routes of a site, each behind its login."""
    return [path(route, site.admin_view(page.as_view(site=site)), name=name) for route, page, name in PAGES]


def views() -> list[Any]:
    """Return every page's class, for those who walk them."""
    return [page for _, page, _ in PAGES]
