"""People and bots."""

from typing import Any

from factory.base import Factory
from factory.declarations import Sequence

from accounts.models import User
from accounts.services import users
from accounts.states import Role
from nexus.audit.types import Actor

PASSWORD = "a-long-walk-on-the-beach-7"
WRONG = "a-short-walk-to-the-shop-8"


class UserFactory(Factory[User]):
    """A user who can log in with `PASSWORD`."""

    class Meta:
        model = User

    email = Sequence(lambda n: f"person-{n}@nexus.example")
    full_name = Sequence(lambda n: f"Person {n}")
    password = PASSWORD
    role = Role.TRADER
    actor = Actor.system("tests")

    @classmethod
    def _create(cls, model_class: Any, *args: Any, **kwargs: Any) -> User:  # noqa: ARG003 — the parent's words
        inactive = kwargs.pop("is_active", True) is False
        user = users.create(**kwargs)
        if inactive:
            user.is_active = False
            user.save(update_fields=["is_active"])
        return user
