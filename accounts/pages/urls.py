"""The paths of the pages of who you are."""

from django.urls import path

from accounts.pages import views

urlpatterns = [
    path("login", views.login, name="page-login"),
    path("code", views.code, name="page-code"),
    path("logout", views.logout, name="page-logout"),
    path("language", views.language, name="page-language"),
    path("security", views.security, name="page-security"),
    path("security/end-sessions", views.end_sessions, name="page-end-sessions"),
]
