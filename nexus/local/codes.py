"""`make code`: what the authenticator app of a demo person would show now."""

import base64
import json
import time

from django_otp.oath import hotp

from nexus.local.folder import Folder, FolderUnusable

STEP_S, DIGITS = 30, 6


def show(folder: Folder, *, who: str) -> str:
    """Return the code of a demo person with the seconds for which it is the newest. Raises: FolderUnusable."""
    note = json.loads(folder.demo.read_text(encoding="utf-8")) if folder.demo.exists() else {}
    seeds: dict[str, str] = note.get("second_factors", {})
    if who not in seeds:
        known = ", ".join(sorted(seeds)) or "nobody: there was no `make run` yet"
        raise FolderUnusable(f"There is no second factor of {who!r} in {folder.demo}. It knows {known}.")
    at = time.time()
    code = hotp(base64.b32decode(seeds[who]), int(at) // STEP_S, DIGITS)
    return f"{code:0{DIGITS}d}    the next one in {STEP_S - int(at) % STEP_S} s; each is accepted once"
