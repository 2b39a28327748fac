"""Two operators at the machine of an installation, who do by hand what a bad night asks of them."""

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from django_otp.oath import totp

from tests.installation import Installation, hire, manage

PATIENCE_S = 240.0  # the database may be down; nothing is eased while an order is unknown
NEXT_CODE_S = 31.0  # each counts once


@dataclass(frozen=True)
class Operator:
    """One of them, and the seed of the device whose codes are asked for."""

    email: str
    password: str
    seed: str

    @property
    def typed(self) -> str:
        """Return what is typed when a password and a code are asked for."""
        return f"{self.password}\n{totp(base64.b32decode(self.seed)):06d}\n"


class Operators:
    """Both of them: one stops, and both together ease."""

    def __init__(self, nexus: Installation, say: Callable[[str], None]) -> None:
        self._nexus, self._say = nexus, say
        note = json.loads((nexus.folder / "demo.json").read_text(encoding="utf-8"))
        person, seed = hire(nexus.env, "second", "OPERATOR")
        self._one = Operator(**note["people"]["operator"], seed=note["second_factors"]["operator"])
        self._other = Operator(**person, seed=seed)

    def flatten(self) -> None:
        """Stop everything and close everything."""
        self._insist(self._one, "stop", "--flatten", "--reason", "A bad night", again_s=2.0)

    def ease(self, login: int) -> None:
        """Let an account trade again that a trigger has stopped."""
        said = self._insist(self._one, "propose", "--account", str(login), "--reason", "It is over")
        number = re.search(r"Proposal (\d+)", said)
        assert number is not None, said
        self._insist(self._other, "approve", number[1], "--reason", "Agreed")
        self._say("two operators have eased what a trigger had stopped")

    def _insist(self, by: Operator, verb: str, *words: str, again_s: float = NEXT_CODE_S) -> str:
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return manage(self._nexus.env, "emergency_stop", verb, *words, "--as", by.email, typed=by.typed)
            except AssertionError as exc:
                if time.monotonic() > until:
                    raise
                self._say(f"{verb} is tried again: {str(exc).strip().splitlines()[-1]}")
                time.sleep(again_s)
