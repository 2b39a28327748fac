"""Argon2 made cheap, and counted."""

import threading

from django.contrib.auth.hashers import Argon2PasswordHasher

_COUNTING = threading.Lock()


class CountedArgon2(Argon2PasswordHasher):
    """The production hasher with the least work, so that the suite stays quick. It counts how often it hashed."""

    time_cost = 1
    memory_cost = 8
    parallelism = 1
    hashed = 0

    def encode(self, password: str, salt: str) -> str:
        """Hash, and count."""
        self._count()
        return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Hash to compare, and count."""
        self._count()
        return super().verify(password, encoded)

    @classmethod
    def _count(cls) -> None:
        with _COUNTING:  # threads that hash at the same instant are all counted
            cls.hashed += 1
