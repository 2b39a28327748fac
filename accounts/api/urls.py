"""The paths under `/auth/`."""

from django.urls import path

from accounts.api import views

urlpatterns = [
    path("login", views.Login.as_view()),
    path("logout", views.Logout.as_view()),
    path("refresh", views.Refresh.as_view()),
    path("revoke-all", views.RevokeAll.as_view()),
    path("profile", views.Profile.as_view()),
]
