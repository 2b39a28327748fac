"""Codes under attack: one is accepted once, however many ask at once, and tries are counted before they are tried."""

import pytest
from django.db import connection, transaction
from django.utils.timezone import now

from accounts.models import LoginGate, RecoveryCode, TotpDevice, User
from accounts.services import codes, gates, second_factor
from accounts.services.codes import OTP, OtpInvalid, OtpLocked
from accounts.services.gates import Charge
from accounts.types import ClientInfo
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.second_factor import SEED, code_at, enrolled, fresh_code
from tests.hashers import CountedArgon2
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


def attempt(user: User, code: str) -> str:
    try:
        return codes.check(user=user, code=code, purpose="test", client=ClientInfo(), at=now())
    except (OtpInvalid, OtpLocked) as exc:
        return exc.code


def wrong() -> str:
    near = {code_at(SEED, steps=steps) for steps in range(-3, 4)}
    return next(each for each in ("000000", "111111", "222222", "333333", "444444") if each not in near)


@pytest.fixture
def wide(monkeypatch):
    """A gate that 20 threads pass together: what accepts once must be the device, not the gate before it."""
    monkeypatch.setattr(codes, "OTP", gates.Gate("otp", 100, OTP.window, OTP.lock))


@pytest.mark.threat(11)
def test_20_threads_with_one_code_have_it_accepted_exactly_once(user, wide):
    enrolled(user)
    code = code_at(SEED)

    answers = together(20, lambda _: attempt(user, code))

    assert sorted(answers) == ["otp"] + ["otp_invalid"] * 19


@pytest.mark.threat(11)
def test_20_threads_with_one_recovery_code_have_it_accepted_exactly_once(user, wide):
    enrolled(user)
    made = second_factor._made_codes(user)
    with transaction.atomic():
        shown = second_factor._replace_codes(user, made)

    answers = together(20, lambda _: attempt(user, shown[0]))

    assert sorted(answers) == ["otp_invalid"] * 19 + ["rec"]
    assert RecoveryCode.objects.filter(used_at__isnull=False).count() == 1


def test_20_first_codes_of_a_new_device_take_it_into_use_once(user, wide):
    enrolment = second_factor.prepare(user=user, at=now())
    code = code_at(enrolment.secret)

    def confirm(_number: int) -> str:
        try:
            second_factor.confirm(user=user, code=code, claims=None, client=ClientInfo(), at=now())
        except (OtpInvalid, second_factor.NoEnrolment) as exc:
            return exc.code
        return "confirmed"

    answers = together(20, confirm)

    assert answers.count("confirmed") == 1
    assert TotpDevice.objects.get(user=user).confirmed
    assert RecoveryCode.objects.filter(user=user).count() == 10


@pytest.mark.threat(12)
def test_of_40_wrong_codes_at_once_five_are_looked_at(user, monkeypatch):
    enrolled(user)
    looked: list[str] = []
    real = codes._accepted

    def counted(*args, **kwargs):
        looked.append("")
        return real(*args, **kwargs)

    monkeypatch.setattr(codes, "_accepted", counted)
    code = wrong()

    answers = together(40, lambda _: attempt(user, code))

    assert len(looked) == 5
    assert sorted(answers) == ["otp_invalid"] * 5 + ["otp_locked"] * 35


@pytest.mark.threat(12)
def test_the_sixth_try_is_locked_also_after_what_the_others_did_was_rolled_back(user):
    enrolled(user)
    for _ in range(5):
        assert attempt(user, wrong()) == "otp_invalid"

    client = ApiClient(shows_codes=False).login(user)
    answer = client.post("/auth/2fa/verify", {"code": fresh_code(user)})

    assert (answer.status_code, answer.json()["code"]) == (429, "otp_locked")
    assert 890 <= int(answer["Retry-After"]) <= 900
    assert client.get("/auth/profile").status_code == 200  # the session goes on
    other = UserFactory.create()
    assert attempt(other, fresh_code(other)) == "otp"  # and nobody else is locked


@pytest.mark.threat(12)
def test_a_try_is_counted_before_it_is_looked_at(user, monkeypatch):
    enrolled(user)

    def die(*_args, **_kwargs):
        raise RuntimeError("the process died here")

    monkeypatch.setattr(codes, "_accepted", die)
    for _ in range(5):
        with pytest.raises(RuntimeError):
            attempt(user, wrong())
    monkeypatch.undo()

    assert attempt(user, fresh_code(user)) == "otp_locked"


def test_no_hash_is_computed_while_a_transaction_is_open(user, monkeypatch):
    """Ten Argon2 hashes take seconds on a small machine, and the database ends who keeps it waiting that long."""
    hashed: list[bool] = []
    encode = CountedArgon2.encode

    def watched(self: CountedArgon2, password: str, salt: str) -> str:
        hashed.append(connection.in_atomic_block)
        return encode(self, password, salt)

    client = ApiClient(shows_codes=False).login(user)
    monkeypatch.setattr(CountedArgon2, "encode", watched)
    secret = client.post("/auth/2fa/enrol", {"password": PASSWORD}).json()["secret"]
    client.tokens = client.post("/auth/2fa/confirm", {"code": code_at(secret)}).json()["tokens"]
    code = {"x_nexus_otp": fresh_code(user)}
    shown = client.post("/auth/2fa/recovery-codes", {"password": PASSWORD}, **code).json()["recovery_codes"]
    change = {"password": PASSWORD, "new_password": "another-walk-in-the-woods-9"}
    assert client.post("/auth/password", change, x_nexus_otp=shown[0]).status_code == 200

    assert len(hashed) >= 21
    assert not any(hashed)


@pytest.mark.threat(12)
def test_first_codes_of_a_new_device_are_counted_and_kept_too(user, new_events):
    second_factor.prepare(user=user, at=now())
    client = ApiClient(shows_codes=False).login(user)

    answers = [client.post("/auth/2fa/confirm", {"code": "not-it"}).status_code for _ in range(7)]

    assert answers == [401] * 5 + [429] * 2
    kept = [each.action for each in new_events() if each.action.startswith("auth.otp")]
    assert kept == ["auth.otp.failed"] * 5 + ["auth.otp.locked"] * 2


def test_an_operator_opens_locked_codes(user):
    enrolled(user)
    for _ in range(6):
        attempt(user, "not-it")
    assert attempt(user, fresh_code(user)) == "otp_locked"
    operator = ApiClient().login(UserFactory.create(role="OPERATOR"))

    assert operator.post("/auth/unlock", {"email": user.email, "reason": "He called."}).status_code == 200

    assert attempt(user, fresh_code(user)) == "otp"


def test_a_right_code_gives_the_try_back(user):
    for _ in range(12):
        assert attempt(user, fresh_code(user)) == "otp"

    gate = LoginGate.objects.get(bucket=Charge(OTP, str(user.public_id)).bucket)
    assert gate.failures == 0
