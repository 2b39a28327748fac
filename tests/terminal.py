"""Somebody at the terminal, who types the password and the code that is asked for."""

from accounts.models import User
from tests.factories.accounts import PASSWORD
from tests.factories.second_factor import fresh_code


class Terminal:
    """Answer `getpass`: whoever was last asked for a password shows a code of the own device."""

    def __init__(self, password: str = PASSWORD) -> None:
        self.password = password
        self.email = ""

    def __call__(self, prompt: str) -> str:
        """Return what a person types."""
        if prompt.startswith("Password of "):
            self.email = prompt.removeprefix("Password of ").removesuffix(": ")
            return self.password
        return fresh_code(User.objects.get(email=self.email))
