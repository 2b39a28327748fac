"""Reconciliation's paths below `/trading/`."""

from django.urls import path

from reconciliation.api import views

urlpatterns = [
    path("reconcile", views.Reconcile.as_view(), name="reconcile"),
    path("reconciliation/report", views.Report.as_view(), name="reconciliation-report"),
]
