"""Argon2 made cheap, and counted."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class CountedArgon2(Argon2PasswordHasher):
    """The production hasher with the least work, so that the suite stays quick. It counts how often it hashed."""

    time_cost = 1
    memory_cost = 8
    parallelism = 1
    hashed = 0

    def encode(self, password: str, salt: str) -> str:
        """Hash, and count."""
        type(self).hashed += 1
        return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Hash to compare, and count."""
        type(self).hashed += 1
        return super().verify(password, encoded)
