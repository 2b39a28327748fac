"""The second factor's own doors: set it up, replace it, remove it, and the codes for the day it is lost."""

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from accounts.models import RecoveryCode, TotpDevice, User
from accounts.services import codes, second_factor
from accounts.types import ClientInfo
from nexus.core import ciphers
from nexus.core.errors import Denied
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, WRONG, UserFactory
from tests.factories.second_factor import SEED, code_at, enrolled, fresh_code
from tests.terminal import Terminal

pytestmark = pytest.mark.django_db

ME = "/auth/2fa"
PROOF = {"password": PASSWORD}


@pytest.fixture
def client(user: User) -> ApiClient:
    """Somebody who is asked for codes, and answers only when the test does."""
    return ApiClient(shows_codes=False).login(user)


def begin(client: ApiClient, **headers: str) -> str:
    answer = client.post(f"{ME}/enrol", PROOF, **headers)
    assert answer.status_code == 201, answer.content
    secret: str = answer.json()["secret"]
    return secret


def set_up(client: ApiClient) -> tuple[str, list[str]]:
    secret = begin(client)
    answer = client.post(f"{ME}/confirm", {"code": code_at(secret)})
    assert answer.status_code == 200, answer.content
    client.tokens = answer.json()["tokens"]
    return secret, answer.json()["recovery_codes"]


def forget_codes(user: User) -> None:
    TotpDevice.objects.filter(user=user).update(last_step=-1)


def test_it_is_shown_once_as_a_text_and_as_a_picture_and_kept_encrypted(client, user, new_events):
    answer = client.post(f"{ME}/enrol", PROOF)

    body = answer.json()
    assert answer["Cache-Control"] == "no-store"
    assert len(base64.b32decode(body["secret"])) == 20
    parts = parse_qs(urlsplit(body["uri"]).query)
    assert urlsplit(body["uri"]).scheme == "otpauth"
    assert parts == {
        "secret": [body["secret"]], "issuer": ["Nexus"], "algorithm": ["SHA1"], "digits": ["6"], "period": ["30"],
    }  # fmt: skip
    assert body["qr"].startswith("data:image/svg+xml")
    device = TotpDevice.objects.get()
    assert body["secret"] not in device.seed
    assert ciphers.unseal(device.seed) == body["secret"]
    assert body["secret"] not in client.get(ME).content.decode() + "".join(each.canonical for each in new_events())
    assert client.get(ME).json() == {"is_on": False, "confirmed_at": None, "recovery_codes_left": 0}


def test_it_is_on_from_its_first_code_and_every_other_session_ends(client, user, new_events):
    other = ApiClient().login(user)
    secret = begin(client)
    assert client.post(f"{ME}/confirm", {"code": code_at(secret, steps=-9)}).json()["code"] == "otp_invalid"
    assert client.get(ME).json()["is_on"] is False
    forgotten = client.tokens

    client.tokens = client.post(f"{ME}/confirm", {"code": code_at(secret)}).json()["tokens"]

    assert client.get(ME).json()["is_on"] is True
    assert client.get(ME).json()["recovery_codes_left"] == 10
    assert other.get(ME).status_code == 401
    client.tokens = forgotten
    assert client.get(ME).status_code == 401
    assert [each.action for each in new_events()].count("accounts.second_factor.confirmed") == 1


def test_an_enrolment_waits_a_quarter_of_an_hour(client, user):
    secret = begin(client)
    TotpDevice.objects.update(created_at=now() - timedelta(minutes=16))

    answer = client.post(f"{ME}/confirm", {"code": code_at(secret)})

    assert (answer.status_code, answer.json()["code"]) == (409, "no_enrolment")


def test_another_device_needs_the_password_and_a_code_of_the_one_there_is(client, user):
    secret, _ = set_up(client)
    forget_codes(user)

    assert client.post(f"{ME}/enrol", {"password": WRONG}, x_nexus_otp=code_at(secret)).status_code == 401
    assert client.post(f"{ME}/enrol", PROOF).json()["code"] == "otp_invalid"
    assert client.post(f"{ME}/enrol", PROOF, x_nexus_otp="000000").json()["code"] == "otp_invalid"
    assert not TotpDevice.objects.filter(confirmed=False).exists()
    new = begin(client, x_nexus_otp=code_at(secret))
    assert ciphers.unseal(TotpDevice.objects.get(confirmed=True).seed) == secret  # until the new one has shown a code
    client.post(f"{ME}/confirm", {"code": code_at(new)})

    assert ciphers.unseal(TotpDevice.objects.get().seed) == new


def test_it_is_removed_with_the_password_and_a_code_and_other_sessions_end(client, user, new_events):
    secret, _ = set_up(client)
    forget_codes(user)
    other = ApiClient().login(user)

    assert client.post(f"{ME}/remove", PROOF).json()["code"] == "otp_invalid"
    assert client.post(f"{ME}/remove", {"password": WRONG}, x_nexus_otp=code_at(secret)).status_code == 401
    assert client.get(ME).json()["is_on"] is True
    answer = client.post(f"{ME}/remove", PROOF, x_nexus_otp=code_at(secret))

    assert answer.status_code == 200
    client.tokens = answer.json()
    assert client.get(ME).json()["is_on"] is False
    assert other.get(ME).status_code == 401
    assert not RecoveryCode.objects.exists()
    assert "accounts.second_factor.removed" in [each.action for each in new_events()]
    assert client.post(f"{ME}/remove", PROOF).json()["code"] == "no_second_factor"


def test_ten_recovery_codes_of_which_none_is_kept_in_clear_and_each_works_once(client, user):
    _, shown = set_up(client)

    assert len(set(shown)) == 10
    kept = list(RecoveryCode.objects.values_list("code_hash", flat=True))
    assert len(kept) == 10
    assert not any(each.replace("-", "")[4:] in text for each in shown for text in kept)
    assert all(len(each.replace("-", "")[4:]) * 5 >= 64 for each in shown)  # bits, of 32 letters and digits
    assert client.post(f"{ME}/verify", {"code": shown[0].upper().replace("-", " ")}).status_code == 204
    assert client.get(ME).json()["recovery_codes_left"] == 9
    used, wrong = (client.post(f"{ME}/verify", {"code": each}) for each in (shown[0], shown[1][:-1] + "_"))
    assert (used.status_code, used.json()["code"]) == (401, "otp_invalid")
    assert without_names(used) == without_names(wrong)


def without_names(answer: Any) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "instance"}


def test_new_recovery_codes_void_the_old(client, user):
    secret, old = set_up(client)
    forget_codes(user)

    new = client.post(f"{ME}/recovery-codes", PROOF, x_nexus_otp=code_at(secret)).json()["recovery_codes"]

    assert not set(new) & set(old)
    assert client.post(f"{ME}/verify", {"code": old[0]}).json()["code"] == "otp_invalid"
    assert client.post(f"{ME}/verify", {"code": new[0]}).status_code == 204


def test_somebody_elses_code_is_wrong(client, user):
    set_up(client)
    other = UserFactory.create()
    enrolled(other)

    assert client.post(f"{ME}/verify", {"code": fresh_code(other)}).json()["code"] == "otp_invalid"


def test_a_password_is_changed_with_the_old_one_and_a_code(client, user, new_events):
    secret, _ = set_up(client)
    forget_codes(user)
    other = ApiClient().login(user)
    change = {"password": PASSWORD, "new_password": "another-walk-in-the-woods-9"}

    assert client.post("/auth/password", change).json()["code"] == "otp_invalid"
    assert client.post("/auth/password", change | {"password": WRONG}).json()["code"] == "invalid_credentials"
    weak = client.post("/auth/password", change | {"new_password": "short"}, x_nexus_otp=code_at(secret))
    assert weak.status_code == 422
    forget_codes(user)
    answer = client.post("/auth/password", change, x_nexus_otp=code_at(secret))

    assert answer.status_code == 200, answer.content
    client.tokens = answer.json()
    assert client.get("/auth/profile").status_code == 200
    assert other.get("/auth/profile").status_code == 401
    assert ApiClient().post("/auth/login", {"email": user.email, "password": PASSWORD}).status_code == 401
    assert ApiClient().login(user, change["new_password"])
    assert "accounts.password.changed" in [each.action for each in new_events()]


def test_seeds_move_to_a_new_key(client, user, settings, capsys):
    settings.FIELD_ENCRYPTION_KEYS = ["o" * 40]
    secret, _ = set_up(client)
    settings.FIELD_ENCRYPTION_KEYS = ["n" * 40, "o" * 40]

    call_command("second_factor", "reseal")

    assert "encrypted with the first key: 1" in capsys.readouterr().out
    settings.FIELD_ENCRYPTION_KEYS = ["n" * 40]
    assert ciphers.unseal(TotpDevice.objects.get().seed) == secret


def test_it_is_set_up_at_the_terminal(user, monkeypatch, capsys):
    typed: list[str] = []

    def answer(prompt: str) -> str:
        typed.append(prompt)
        if prompt.startswith("Password"):
            return PASSWORD
        return code_at(ciphers.unseal(TotpDevice.objects.get(confirmed=False).seed))

    monkeypatch.setattr("getpass.getpass", answer)

    call_command("second_factor", "enrol", user.email)

    said = capsys.readouterr().out
    assert TotpDevice.objects.get().confirmed
    assert said.count("\n  ") == 10
    assert typed == [f"Password of {user.email}: ", "Its first code: "]
    monkeypatch.setattr("getpass.getpass", Terminal(WRONG))
    with pytest.raises(CommandError, match="The email or the password is wrong"):
        call_command("second_factor", "enrol", user.email)
    with pytest.raises(CommandError, match="The email or the password is wrong"):
        call_command("second_factor", "enrol", "nobody@nexus.example")


def test_a_seed_that_stands_in_a_file_is_none_in_production(user, settings):
    second_factor.install_demo(user=user, secret=SEED, at=now())
    assert codes.device_of(user) is not None

    settings.NEXUS_ENV = "production"

    assert codes.device_of(user) is None
    with pytest.raises(codes.OtpInvalid):
        codes.check(user=user, code=code_at(SEED), purpose="test", client=ClientInfo(), at=now())
    with pytest.raises(Denied):
        second_factor.install_demo(user=user, secret=SEED, at=now())
