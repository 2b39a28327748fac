"""The paths of the pages of trading."""

from django.urls import path

from trading.pages import arming, charts, ledger, overview, positions, refusals, ticket

urlpatterns = [
    path("", overview.overview, name="page-overview"),
    path("parts/desk", overview.desk_part, name="part-desk"),
    path("parts/state", overview.state, name="part-state"),
    path("parts/room/<uuid:account_id>", overview.room, name="part-room"),
    path("ticket", ticket.ticket, name="page-ticket"),
    path("ticket/check", ticket.check, name="page-ticket-check"),
    path("ticket/send", ticket.send, name="page-ticket-send"),
    path("orders/<uuid:order_id>", ticket.order, name="page-order"),
    path("orders/<uuid:order_id>/cancel", ticket.cancel, name="page-order-cancel"),
    path("positions", positions.positions, name="page-positions"),
    path("positions/<uuid:position_id>/close", positions.close, name="page-close"),
    path("positions/<uuid:position_id>/stops", positions.stops, name="page-stops"),
    path("accounts/<uuid:account_id>", charts.account, name="page-account"),
    path("accounts/<uuid:account_id>/arm", arming.arm, name="page-arm"),
    path("accounts/<uuid:account_id>/disarm", arming.disarm, name="page-disarm"),
    path("ledger", ledger.ledger, name="page-ledger"),
    path("ledger.csv", ledger.export, name="page-ledger-csv"),
    path("help/refusals", refusals.refusals, name="page-refusals"),
]
