"""The paths of the pages of who you are."""

from django.urls import path

from accounts.pages import key_changes, keys, links, own_events, second_factor, views

urlpatterns = [
    path("login", views.login, name="page-login"),
    path("enrol", links.first_password, name="page-enrol"),
    path("reset", links.lost_password, name="page-reset"),
    path("code", views.code, name="page-code"),
    path("logout", views.logout, name="page-logout"),
    path("language", views.language, name="page-language"),
    path("security", views.security, name="page-security"),
    path("security/end-sessions", views.end_sessions, name="page-end-sessions"),
    path("security/events", own_events.listing, name="page-own-events"),
    path("security/second-factor", second_factor.enrol, name="page-second-factor"),
    path("security/second-factor/confirm", second_factor.confirm, name="page-second-factor-confirm"),
    path("security/second-factor/recovery-codes", second_factor.recovery_codes, name="page-recovery-codes"),
    path("security/second-factor/remove", second_factor.remove, name="page-second-factor-remove"),
    path("security/keys", keys.listing, name="page-keys"),
    path("security/keys/new", keys.create, name="page-key-new"),
    path("security/keys/<uuid:key_id>/narrow", key_changes.narrow, name="page-key-narrow"),
    path("security/keys/<uuid:key_id>/rotate", key_changes.rotate, name="page-key-rotate"),
    path("security/keys/<uuid:key_id>/revoke", keys.revoke, name="page-key-revoke"),
]
