"""All routes. The API answers under `/api/v1/` and, the same, under `/api/`."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularSwaggerSplitView

from accounts.api import urls as accounts
from nexus.api import api, probe
from nexus.metrics import metrics
from nexus.openapi import View, for_staff, schema_view

people: list[URLPattern | URLResolver] = [
    path("trading/", include("trading.api.urls")),
    path("auth/", include("accounts.api.urls")),
    *accounts.beside,
    path("trading/", include("reconciliation.api.urls")),
]
machines: list[URLPattern | URLResolver] = api.urls[0]
doors = [*people, *machines]

docs: View = SpectacularSwaggerSplitView.as_view(url="/docs/openapi.json", authentication_classes=[])
schema: View = schema_view
if settings.NEXUS_ENV == "production":  # to whom the console opens: staff, in a session with a second factor
    docs = for_staff(docs)
    schema = for_staff(schema)

# Whoever comes first is found soonest: all of these are tried in turn, and an order is in more of a hurry than a page.
urlpatterns = [
    path("api/v1/", include(doors)),
    path("api/", include(doors)),
    path("", include("accounts.pages.urls")),
    path("", include("trading.pages.urls")),
    *probe.urls[0],
    path("metrics", metrics),
    path("docs", docs),
    path("docs/openapi.json", schema),
    path("admin/", admin.site.urls),
]

handler400 = "nexus.core.http.bad_request"
handler403 = "nexus.core.http.permission_denied"
handler404 = "nexus.console.exits.page_not_found"
handler500 = "accounts.services.pages.server_error"
