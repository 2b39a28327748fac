"""What every page of the console is: it says what it does, and the matrix of roles decides who may see it.

A page answers a GET and changes nothing by it. What changes something is an `Act`, next door.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, cast

import structlog
from django.contrib.admin import AdminSite
from django.db import InterfaceError, OperationalError
from django.forms import Form
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.functional import Promise
from django.utils.timezone import now
from django.views.generic import View

from accounts.rules import Action, may
from accounts.services import permissions
from accounts.types import Principal
from nexus.console.words import refusal
from nexus.core.errors import Invalid, NexusError
from nexus.core.http import as_error

KEY_DIGITS_MAX = 18
log = structlog.get_logger(__name__)


class Page(View):
    """One page. `action` is what the matrix must let the person do; `template` is what is shown."""

    action: ClassVar[Action]
    template: ClassVar[str]
    title: ClassVar[str | Promise] = ""
    is_act: ClassVar[bool] = True  # of a person; what a page reads by itself keeps no session awake
    http_method_names = ["get", "head"]  # noqa: RUF012 - as the parent declares it
    site: AdminSite | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer whom the matrix lets, and say any refusal as a page."""
        try:
            permissions.require(self.person, self.action)
            return super().dispatch(request, *args, **kwargs)
        except (NexusError, OperationalError, InterfaceError) as exc:
            return self.refused(exc)

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        """Show the page."""
        return self.show(**self.context(**kwargs))

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read what the page shows."""
        return {}

    @property
    def person(self) -> Principal:
        """Return who looks."""
        return cast("Principal", self.request.user)

    def may(self, action: Action) -> bool:
        """Tell whether whoever looks may do something else, to offer it or not."""
        return may(self.person.role, action)

    def show(self, template: str = "", *, status: int = 200, **context: Any) -> TemplateResponse:
        """Render a template inside the console's frame."""
        assert self.site is not None
        shown = {
            **self.site.each_context(self.request),
            "title": self.title,
            "is_nav_sidebar_enabled": False,
            **context,
        }
        return TemplateResponse(self.request, template or self.template, shown, status=status)

    def refused(self, exc: Exception) -> TemplateResponse:
        """Say why nothing was done, with the status of the refusal."""
        error = as_error(exc)
        assert error is not None
        return self.show("console/refused.html", status=error.status, title=refusal(error), error=error)


class SearchPage(Page, ABC):
    """A list that is searched by a form, a page at a time."""

    form_class: ClassVar[type[Form]]

    @abstractmethod
    def search(self, asked: Mapping[str, Any], *, before: int | None, at: datetime) -> tuple[Any, object | None]:
        """Return a page of what is asked for, and the key at which the next one begins, None for none."""

    def context(self, **kwargs: Any) -> dict[str, Any]:
        """Read one page."""
        at, form = now(), self.form_class(self.request.GET)
        rows: Any = []
        following: object | None = None
        if form.is_valid():
            rows, following = self.search(form.cleaned_data, before=keyset(self.request), at=at)
        return {
            "title": self.title,
            "form": form,
            "rows": rows,
            "older": older(self.request, following),
            "is_first": "before" not in self.request.GET,
            "at": at,
        }


def keyset(request: HttpRequest, name: str = "before") -> int | None:
    """Return the key before which a page begins, None for the first one. Raises: Invalid."""
    text = request.GET.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= KEY_DIGITS_MAX):
        raise Invalid("This is no page of the list. Begin at its first one.")
    return int(text)


def older(request: HttpRequest, before: object | None) -> str:
    """Return the way to the next page of the same search, "" on the last one."""
    if before is None:
        return ""
    query = request.GET.copy()
    query["before"] = str(before)
    return f"?{query.urlencode()}"


def as_uuid(text: str) -> uuid.UUID | None:
    """Read an id that a person may have typed."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
