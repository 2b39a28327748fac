"""Trading's paths below `/trading/`."""

from django.urls import path

from trading.api import views

urlpatterns = [
    path("execute", views.Execute.as_view(), name="execute"),
    path("ledger", views.Ledger.as_view(), name="ledger"),
    path("ledger/<uuid:order_id>", views.LedgerRow.as_view(), name="ledger-row"),
    path("positions", views.Positions.as_view(), name="positions"),
    path("accounts", views.Accounts.as_view(), name="accounts"),
    path("quotes/<str:symbol>", views.Quotes.as_view(), name="quotes"),
]
