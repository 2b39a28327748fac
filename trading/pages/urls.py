"""The paths of the pages of trading."""

from django.urls import path

from trading.pages import overview, refusals

urlpatterns = [
    path("", overview.overview, name="page-overview"),
    path("parts/desk", overview.desk_part, name="part-desk"),
    path("parts/state", overview.state, name="part-state"),
    path("parts/room/<uuid:account_id>", overview.room, name="part-room"),
    path("help/refusals", refusals.refusals, name="page-refusals"),
]
