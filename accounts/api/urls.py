"""The paths under `/auth/`, and beside it those of approvals and users."""

from django.urls import path

from accounts.api import access, approvals, events, keys, links, passwords, second_factor, views

urlpatterns = [
    path("login", views.Login.as_view()),
    path("logout", views.Logout.as_view()),
    path("refresh", views.Refresh.as_view()),
    path("revoke-all", views.RevokeAll.as_view()),
    path("profile", views.Profile.as_view()),
    path("events", events.OwnEvents.as_view()),
    path("sessions", access.Sessions.as_view()),
    path("sessions/<uuid:session_id>/revoke", access.SessionRevoke.as_view()),
    path("unlock", access.Unlock.as_view()),
    path("password", passwords.PasswordChange.as_view()),
    path("password/reset", passwords.PasswordReset.as_view()),
    path("2fa", second_factor.SecondFactor.as_view()),
    path("2fa/enrol", second_factor.Enrol.as_view()),
    path("2fa/confirm", second_factor.Confirm.as_view()),
    path("2fa/verify", second_factor.Verify.as_view()),
    path("2fa/remove", second_factor.Remove.as_view()),
    path("2fa/recovery-codes", second_factor.RecoveryCodes.as_view()),
    path("enrol", approvals.Enrol.as_view()),
    path("api-keys", keys.Keys.as_view()),
    path("api-keys/<uuid:key_id>", keys.Key.as_view()),
    path("api-keys/<uuid:key_id>/rotate", keys.KeyRotate.as_view()),
    path("api-keys/<uuid:key_id>/revoke", keys.KeyRevoke.as_view()),
]
beside = [
    path("approvals", approvals.Approvals.as_view()),
    path("approvals/<uuid:approval_id>", approvals.Approval.as_view()),
    path("approvals/<uuid:approval_id>/approve", approvals.Approve.as_view()),
    path("approvals/<uuid:approval_id>/reject", approvals.Reject.as_view()),
    path("approvals/<uuid:approval_id>/cancel", approvals.Cancel.as_view()),
    path("approvals/<uuid:approval_id>/link", links.Link.as_view()),
    path("approvals/<uuid:approval_id>/link/half", links.LinkHalf.as_view()),
    path("approvals/<uuid:approval_id>/link/send", links.LinkSend.as_view()),
    path("users", approvals.Users.as_view()),
    path("users/<uuid:user_id>/role", approvals.UserRole.as_view()),
    path("users/<uuid:user_id>/deactivate", approvals.UserDeactivate.as_view()),
    path("users/<uuid:user_id>/reset-second-factor", approvals.UserReset.as_view()),
    path("users/<uuid:user_id>/reset-password", approvals.UserResetPassword.as_view()),
    path("users/<uuid:user_id>/end-sessions", access.EndSessions.as_view()),
]
