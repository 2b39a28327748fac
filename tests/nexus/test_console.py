"""The console: for staff, to read."""

import re
from html import unescape

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from accounts.models import RevokedToken, User
from accounts.states import Role
from nexus.admin_site import OperatorSite
from nexus.audit.models import Event
from nexus.core.operator import CappedPaginator, RecordAdmin
from tests.client import ApiClient
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.second_factor import fresh_code

pytestmark = pytest.mark.django_db

OURS = ("nexus", "accounts", "risk", "payments", "trading", "reconciliation")


@pytest.fixture
def operator():
    return UserFactory.create(role=Role.OPERATOR)


def _enter(user: User, password: str = PASSWORD) -> Client:
    client = Client()
    form = {"username": user.email.upper(), "password": password, "code": fresh_code(user)}
    client.post("/admin/login/?next=/admin/", form)
    return client


@pytest.mark.parametrize(
    ("role", "status"), [(Role.OPERATOR, 200), (Role.COMPLIANCE, 200), (Role.TRADER, 302), (Role.BOT, 302)]
)
def test_it_opens_for_staff_alone(role, status, new_events):
    client = _enter(UserFactory.create(role=role))

    assert client.get("/admin/").status_code == status
    action = "auth.login.succeeded" if status == 200 else "auth.login.denied"
    assert [event.action for event in new_events() if event.action.startswith("auth.login")] == [action]


@pytest.mark.threat(5)
def test_a_wrong_password_and_a_wrong_role_get_one_answer(operator, new_events):
    pages = []
    for user, password in ((operator, "wrong"), (UserFactory.create(), PASSWORD)):
        response = Client().post("/admin/login/", {"username": user.email, "password": password, "code": "1"})
        assert response.status_code == 200
        pages.append(response.context["form"].errors.as_text())

    assert pages[0] == pages[1]
    assert "auth.login.failed" in [event.action for event in new_events()]


def test_a_deactivated_operator_is_out_at_once(operator):
    client = _enter(operator)
    User.objects.filter(pk=operator.pk).update(is_active=False)

    assert client.get("/admin/").status_code == 302


def test_every_table_of_ours_is_there_and_nobody_can_edit_it(operator, rf):
    assert isinstance(admin.site, OperatorSite) or type(admin.site._wrapped) is OperatorSite  # type: ignore[attr-defined]
    superuser = UserFactory.create(role=Role.OPERATOR)
    User.objects.filter(pk=superuser.pk).update(is_superuser=True)
    request = rf.get("/admin/")
    ours = [model for model in admin.site._registry if model.__module__.split(".")[0] in OURS]

    assert {User, Event, RevokedToken} <= set(ours)
    for who in (operator, User.objects.get(pk=superuser.pk)):
        request.user = who
        for model in ours:
            page = admin.site._registry[model]
            assert isinstance(page, RecordAdmin), model
            assert not page.has_add_permission(request)
            assert not page.has_change_permission(request)
            assert not page.has_delete_permission(request)
            assert page.has_view_permission(request)
            assert "delete_selected" not in page.get_actions(request)


def test_every_list_opens_and_searches_and_no_hash_is_shown(operator):
    client = _enter(operator)
    ApiClient().login(UserFactory.create()).post("/auth/logout")

    for model in admin.site._registry:
        if model.__module__.split(".")[0] in OURS:
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            assert client.get(base).status_code == 200, base
            assert client.get(base + "?q=order:1").status_code in {200, 302}, base
            assert client.get(base + "add/").status_code == 403, base
    page = client.get(f"/admin/accounts/user/{operator.pk}/change/")
    assert page.status_code == 200
    assert "argon2" not in page.content.decode()
    event = Event.objects.latest("id")
    page = client.get(f"/admin/audit/event/{event.pk}/change/")
    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    assert client.post(f"/admin/audit/event/{event.pk}/change/", {"action": "x"}).status_code == 403
    assert client.post(f"/admin/audit/event/{event.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.threat(21)
def test_an_address_filters_by_what_stands_beside_a_table_and_never_by_a_hash(operator):
    """`password__startswith=` would read a hash letter by letter, and anybody at the console could ask."""
    console = _enter(operator)

    for model, page in admin.site._registry.items():
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for field in model._meta.concrete_fields:
            assert console.get(f"{path}?{field.name}__startswith=a").status_code == 400, (path, field.name)
        links = re.findall(r'href="(\?[^"]*)"', console.get(path).content.decode())
        beside = {unescape(link) for link in links if "__" in link}
        assert bool(beside) == bool(page.list_filter), path
        assert {console.get(path + link).status_code for link in beside} <= {200}, path


def test_personal_data_has_no_page(operator):
    assert apps.get_model("audit", "Pii") not in admin.site._registry
    assert _enter(operator).get("/admin/audit/pii/").status_code == 404


def test_counting_stops_at_the_cap(operator, django_assert_num_queries):
    with django_assert_num_queries(1) as queries:
        assert CappedPaginator(User.objects.order_by("pk"), 50).count == 1
    assert "LIMIT 10000" in queries.captured_queries[0]["sql"]


def test_createsuperuser_makes_a_break_glass_operator(monkeypatch, new_events):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)

    call_command("createsuperuser", interactive=False, email="Glass@Nexus.Example", verbosity=0)

    user = User.objects.get(email="glass@nexus.example")
    assert (user.role, user.is_superuser, user.is_staff) == ("OPERATOR", True, True)
    assert _enter(user).get("/admin/").status_code == 200
    told = {event.action: event.canonical for event in new_events()}
    assert '"break_glass": true' in told["auth.login.succeeded"]
    assert "auth.break_glass.entered" in told
