"""The frame of the console: its front page, its pages beside the tables, and what stands on top of all of them."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils import translation
from django.utils.timezone import now
from django.utils.translation import gettext

from accounts.rules import Action, may
from accounts.services import browsing, pages
from nexus.console import urls
from nexus.console.home import HomePage
from nexus.core.operator import RecordAdmin, name_in_each_language
from trading.services import overview

View = Callable[..., Any]


def spoken(view: View) -> View:
    """Answer in the language of whoever looks; written at once, for a page that waits forgets its language."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with translation.override(pages.language_of(request)):
            response = view(request, *args, **kwargs)
            if isinstance(response, SimpleTemplateResponse):
                response.render()
        return cast("HttpResponseBase", pages.sealed(request, response))

    return answer


def attended(view: View, *, is_act: bool) -> View:
    """Ask who it is once nobody was there for a while. Takes: `is_act`, False for what a page reads by itself."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        at = now()
        if request.user.is_authenticated:
            if browsing.is_idle(request, at=at):
                client = pages.client_of(request)
                user = pages.person(request)
                browsing.leave(request=request, user=user, client=client, door="console", is_idle=True)
            elif is_act:
                browsing.note_act(request, at=at)
        return cast("HttpResponseBase", view(request, *args, **kwargs))

    return answer


class ConsoleSite(AdminSite):
    """Django's site with our front page. Whom it lets in, `nexus.admin_site` says."""

    index_template = "console/tables.html"
    enable_nav_sidebar = False

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Take tables that are only read. What a library brings along, with forms and acts of its own, has no page."""
        if admin_class is None or not issubclass(admin_class, RecordAdmin):
            return
        super().register(model_or_iterable, admin_class, **options)
        for model in [model_or_iterable] if isinstance(model_or_iterable, type) else model_or_iterable:
            name_in_each_language(model, self._registry[model])

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 — as the parent declares it
        """Let nobody in who may not, and answer in the language of whoever looks, under the policy of all our pages."""
        is_act = getattr(getattr(view, "view_class", None), "is_act", True)
        return spoken(attended(super().admin_view(view, cacheable), is_act=is_act))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the door."""
        return cast("HttpResponse", spoken(super().login)(request, extra_context))

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Put our pages before Django's own, which end with one that catches everything."""
        tables = path("tables/", self.admin_view(self.tables), name="console_tables")
        return [*urls.of(self), tables, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show how the system does."""
        shown = HomePage.as_view(site=self)(request)
        assert isinstance(shown, TemplateResponse)
        return shown

    def tables(self, request: HttpRequest) -> TemplateResponse:
        """List the tables: what was the front page."""
        return super().index(request, {"title": gettext("All tables")})

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add what every page shows: whether trading is stopped, the button that stops it, the ways."""
        context = super().each_context(request)
        if not self.has_permission(request):
            return context
        role = getattr(request.user, "role", "")
        return {
            **context,
            "brake": overview.brake(),
            "may_stop": may(role, Action.TRADING_STOP),
            "ways": [way for way in urls.WAYS if may(role, way.action)],
        }
