"""Accounts: one address, one role, a password worth having."""

import pytest

from accounts.models import User
from accounts.services import users
from accounts.states import Role
from nexus.audit.types import Actor
from nexus.core.errors import Invalid
from tests.factories.accounts import PASSWORD

pytestmark = pytest.mark.django_db


def _create(**given) -> User:
    ann = {"email": "ann@nexus.example", "password": PASSWORD, "role": Role.TRADER, "actor": Actor.system("tests")}
    return users.create(**{**ann, **given})


def test_an_address_is_stored_one_way(new_events):
    user = _create(email="  ＡＮＮ@Nexus.Example ")

    assert user.email == "ann@nexus.example"
    assert User.objects.get_by_natural_key("ANN@NEXUS.EXAMPLE") == user
    (event,) = new_events()
    assert (event.action, event.object_id) == ("accounts.user.created", str(user.public_id))
    assert "ann@" not in event.canonical


def test_an_address_is_taken_however_it_is_written(new_events):
    _create()

    with pytest.raises(users.EmailTaken):
        _create(email="ANN@nexus.example")
    assert User.objects.count() == 1
    assert len(new_events()) == 1


@pytest.mark.parametrize("email", ["", "ann", "ann@", "a" * 250 + "@x.example"])
def test_a_bad_address_is_refused(email, new_events):
    with pytest.raises(Invalid) as caught:
        _create(email=email)

    assert caught.value.errors[0].pointer == "/email"
    assert not new_events()


@pytest.mark.parametrize("password", ["", "short", "x" * 129, "password1234", "ann@nexus.example", "Annabel-Lee-7"])
def test_a_poor_password_is_refused(password):
    with pytest.raises(users.PasswordRefused):
        _create(password=password, full_name="Annabel Lee")
    assert not User.objects.exists()


def test_staff_may_look_and_nobody_else():
    trader, operator = _create(), _create(email="bob@nexus.example", role=Role.OPERATOR)

    assert not trader.is_staff
    assert not trader.has_perm("audit.view_event")
    assert not trader.has_module_perms("audit")
    assert operator.has_perm("audit.view_event")
    assert not operator.has_perm("audit.change_event")
    operator.is_superuser = True
    assert operator.has_perm("django_celery_beat.change_periodictask")
    operator.is_active = False
    assert not operator.has_perm("audit.view_event")
