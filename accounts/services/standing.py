"""Whether somebody is still who the request began as: what hands out something that lasts asks under the lock."""

from django.db import connection

from accounts.models import User
from accounts.services.tokens import TokenInvalid
from accounts.types import Principal


def locked(by: Principal) -> User:
    """Lock the row of whoever asks, in the caller's transaction, and return it as it stands.

    The session was looked at when the request came. All sessions may have ended since: a key, a device or a session
    that is made now would outlive what ended them. Raises: TokenInvalid.
    """
    assert connection.in_atomic_block
    user = User.objects.locked().filter(pk=by.pk, is_active=True).first()
    if user is None or user.token_version != getattr(by, "token_version", None):
        raise TokenInvalid
    return user
