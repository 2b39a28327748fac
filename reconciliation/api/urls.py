"""Reconciliation's paths below `/trading/`."""

from django.urls import path

from reconciliation.api import reviews, views

urlpatterns = [
    path("reconcile", views.Reconcile.as_view(), name="reconcile"),
    path("reconciliation/report", views.Report.as_view(), name="reconciliation-report"),
    path("reconciliation/reviews", reviews.Reviews.as_view(), name="reviews"),
    path("reconciliation/reviews/<uuid:review_id>", reviews.OneReview.as_view(), name="review"),
    path("reconciliation/reviews/<uuid:review_id>/claim", reviews.Claim.as_view(), name="review-claim"),
    path("reconciliation/reviews/<uuid:review_id>/decide", reviews.Decide.as_view(), name="review-decide"),
]
