"""The own searches of a page, as links beside its form."""

from typing import Any

from django import template
from django.urls import reverse

from accounts.services import searches
from nexus.console.searches import SEARCHED, asked

register = template.Library()


@register.inclusion_tag("console/parts/kept.html", takes_context=True)
def kept_searches(context: Any) -> dict[str, Any]:
    """Read the own searches of the page that is shown, where searches can be kept, and until one is followed."""
    request = context["request"]
    page = request.resolver_match.url_name.removeprefix("console_")
    if page not in SEARCHED:
        return {}
    query = asked(request)
    address = reverse("admin:console_searches", args=[page])
    return {
        "rows": [] if query else searches.of(request.user.pk, page=page),
        "path": request.path,
        "manage": f"{address}?{query}" if query else address,
    }
