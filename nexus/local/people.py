"""The demo people, one of each role, and the trader's paper account."""

import json
import os
import secrets
import time
from base64 import b32encode
from pathlib import Path

from django.conf import settings
from django.utils.timezone import now

from accounts import selectors
from accounts.services import second_factor, users
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.local.folder import Folder, FolderUnusable, write_private
from nexus.local.gateway import PAPER_LOGIN, PAPER_SERVER
from reconciliation.services import cycles
from reconciliation.states import Status, Trigger
from trading.services import accounts

ACTOR = Actor.system("demo")
RECONCILE_TIMEOUT_S, POLL_S = 20.0, 0.2
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without look-alikes


def create(*, base_url: str) -> None:
    """Create whoever is missing, link the paper account to the trader, and write `demo.json`. Safe to repeat.

    Each has a second factor whose seed stands in `demo.json` too: production knows no such one.

    Raises: FolderUnusable when the people exist and the note of their passwords is gone.
    """
    folder = Folder(Path(settings.DATA_DIR))
    note = json.loads(folder.demo.read_text(encoding="utf-8")) if folder.demo.exists() else {}
    known, seeds = note.get("people", {}), note.get("second_factors", {})
    people = {role.value.lower(): _person(role, known=known, folder=folder) for role in Role}
    seeds = {name: _second_factor(person["email"], seed=seeds.get(name)) for name, person in people.items()}
    trader_id = _user_id(people["trader"]["email"])
    account_id = _paper_account(trader_id, login=PAPER_LOGIN, name="Paper account", url="")
    rows = json.loads(os.environ.get("NEXUS_PAPER_MORE", "[]"))
    more = {row["login"]: _paper_account(trader_id, **row) for row in rows}
    note = {
        "base_url": base_url,
        "docs_url": f"{base_url}/docs",
        "admin_url": f"{base_url}/admin/",
        "people": people,
        "second_factors": seeds,
        "account": account_id,
        "more_accounts": more,
    }
    write_private(folder.demo, json.dumps(note, indent=2) + "\n")


def _paper_account(user_id: int, *, login: int, name: str, url: str) -> str:
    """Link a paper account and return its public id. It is reconciled, for nothing is admitted on it before."""
    account = accounts.link(
        user_id=user_id,
        name=name,
        venue="mt5",
        venue_account=str(login),
        server=PAPER_SERVER,
        is_live=False,
        actor=ACTOR,
        at=now(),
        gateway_url=url,
    )
    _reconcile(account.pk)
    return str(account.public_id)


def _reconcile(account_id: int) -> None:
    """Compare the account with its broker: nothing is admitted on one that never was. A worker may be at it already."""
    deadline = time.monotonic() + RECONCILE_TIMEOUT_S
    while time.monotonic() < deadline:
        outcome = cycles.run(account_id=account_id, trigger=Trigger.LINK, at=now(), actor=ACTOR)
        if outcome.status is not Status.BUSY:
            return
        time.sleep(POLL_S)


def _user_id(email: str) -> int:
    user = selectors.user_by_email(email)
    if user is None:
        raise FolderUnusable(f"{email} is gone from the database. Begin anew with `make clean`.")
    return user.pk


def _second_factor(email: str, *, seed: str | None) -> str:
    """Give a person a second factor, unless the note knows of one, and return its seed."""
    if seed is None:
        seed = b32encode(secrets.token_bytes(second_factor.SEED_SIZE)).decode("ascii")
        user = selectors.user_by_email(email)
        assert user is not None
        second_factor.install_demo(user=user, secret=seed, at=now())
    return seed


def _person(role: Role, *, known: dict[str, dict[str, str]], folder: Folder) -> dict[str, str]:
    name = role.value.lower()
    email = f"{name}@demo.example"
    if selectors.user_by_email(email) is not None:
        if name not in known:
            raise FolderUnusable(
                f"The demo people exist, but {folder.demo} is gone and their passwords with it.\n"
                f"Restore it, or begin anew with `make clean`."
            )
        return known[name]
    password = "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))
    users.create(email=email, password=password, role=role, actor=ACTOR, full_name=f"Demo {name}")
    return {"email": email, "password": password}
