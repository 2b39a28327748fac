"""People at the console, logged in as they would be."""

from django.test import Client

from accounts.models import User
from tests.factories.accounts import PASSWORD


def enter(user: User) -> Client:
    """Log somebody in at the console's own door."""
    client = Client()
    client.post("/admin/login/?next=/admin/", {"username": user.email, "password": PASSWORD})
    return client
