"""Trading's paths below `/trading/`."""

from django.urls import path

from trading.api import arming, limits, lost, views

urlpatterns = [
    path("execute", views.Execute.as_view(), name="execute"),
    path("ledger", views.Ledger.as_view(), name="ledger"),
    path("ledger/<uuid:order_id>", views.LedgerRow.as_view(), name="ledger-row"),
    path("positions", views.Positions.as_view(), name="positions"),
    path("positions/<uuid:position_id>", views.PositionStops.as_view(), name="position-stops"),
    path("positions/<uuid:position_id>/close", views.PositionClose.as_view(), name="position-close"),
    path("orders/<uuid:order_id>", views.OrderTerms.as_view(), name="order-terms"),
    path("orders/<uuid:order_id>/cancel", views.OrderCancel.as_view(), name="order-cancel"),
    path("changes/lost", lost.Lost.as_view(), name="lost-changes"),
    path("changes/<uuid:change_id>", views.Change.as_view(), name="change"),
    path("changes/<uuid:change_id>/decide", lost.Decide.as_view(), name="change-decide"),
    path("accounts", views.Accounts.as_view(), name="accounts"),
    path("accounts/<uuid:account_id>/arm", arming.Arm.as_view(), name="account-arm"),
    path("accounts/<uuid:account_id>/disarm", arming.Disarm.as_view(), name="account-disarm"),
    path("limits", limits.Limits.as_view(), name="limits"),
    path("quotes/<str:symbol>", views.Quotes.as_view(), name="quotes"),
]
