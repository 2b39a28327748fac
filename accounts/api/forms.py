"""The shapes of what comes in and goes out at this door."""

from rest_framework import serializers

from accounts.models import EMAIL_LENGTH_MAX
from accounts.services.users import PASSWORD_LENGTH_MAX
from accounts.states import Role
from nexus.core.wire import StrictSerializer

_TOKEN_LENGTH_MAX = 4096


class LoginInput(StrictSerializer):
    """Email and password."""

    email = serializers.CharField(max_length=EMAIL_LENGTH_MAX)
    password = serializers.CharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False, write_only=True)


class RefreshInput(StrictSerializer):
    """A refresh token, which this request uses up."""

    refresh_token = serializers.CharField(max_length=_TOKEN_LENGTH_MAX)


class LogoutInput(StrictSerializer):
    """The session's refresh token, when the client has it at hand."""

    refresh_token = serializers.CharField(max_length=_TOKEN_LENGTH_MAX, required=False, default="")


class TokenPairOutput(serializers.Serializer):  # type: ignore[type-arg]
    """A pair of tokens, shown once."""

    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    token_type = serializers.CharField(default="Bearer", read_only=True)
    expires_in = serializers.IntegerField(source="expires_in_s", help_text="Seconds until the access token ends.")
    access_expires_at = serializers.DateTimeField()
    refresh_expires_at = serializers.DateTimeField()


class ProfileOutput(serializers.Serializer):  # type: ignore[type-arg]
    """The person or bot behind the token."""

    id = serializers.UUIDField(source="public_id")
    email = serializers.EmailField()
    full_name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()


class RevokedOutput(serializers.Serializer):  # type: ignore[type-arg]
    """How many sessions ended."""

    sessions_ended = serializers.IntegerField()
