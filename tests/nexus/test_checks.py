"""A bad boot is refused, by name."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from nexus import checks

GOOD = secrets.token_urlsafe(64)


@pytest.fixture
def production(settings):
    """Settings that are good in production."""
    settings.NEXUS_ENV = "production"
    settings.DEBUG = False
    settings.SECRET_KEY = secrets.token_urlsafe(64)
    settings.JWT_SIGNING_KEYS = [GOOD, secrets.token_urlsafe(64)]
    settings.ALLOWED_HOSTS = ["nexus.example"]
    settings.LIVE_TRADING_ENABLED = True
    return settings


def test_good_settings_pass(production):
    assert not checks.check_settings()
    checks.refuse_bad_boot()


def test_the_databases_password_is_no_example_in_production(production, monkeypatch):
    monkeypatch.setitem(production.DATABASES["default"], "PASSWORD", "ChangeMe")
    with pytest.raises(ImproperlyConfigured, match=r"nexus\.E029"):
        checks.refuse_bad_boot()

    production.NEXUS_ENV, production.LIVE_TRADING_ENABLED = "local", False
    checks.refuse_bad_boot()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"SECRET_KEY": "x" * 49}, "nexus.E001"),
        ({"SECRET_KEY": "django-insecure-" + "x" * 60}, "nexus.E002"),
        ({"SECRET_KEY": "CHANGEME" * 9}, "nexus.E002"),
        ({"JWT_SIGNING_KEYS": []}, "nexus.E003"),
        ({"JWT_SIGNING_KEYS": [GOOD, "x" * 63]}, "nexus.E004"),
        ({"JWT_SIGNING_KEYS": ["your-secret-" + "x" * 60]}, "nexus.E005"),
        ({"SECRET_KEY": GOOD}, "nexus.E006"),
        ({"DEBUG": True}, "nexus.E007"),
        ({"DEBUG": True}, "nexus.E010"),
        ({"ALLOWED_HOSTS": []}, "nexus.E008"),
        ({"ALLOWED_HOSTS": ["*"]}, "nexus.E009"),
        ({"ALLOWED_HOSTS": ["*.example.com"]}, "nexus.E009"),
        ({"NEXUS_ENV": "local"}, "nexus.E011"),
        ({"TRUSTED_PROXY_CIDRS": ["10.0.0.0/8", "proxy"]}, "nexus.E012"),
        ({"FIELD_ENCRYPTION_KEYS": []}, "nexus.E017"),
        ({"FIELD_ENCRYPTION_KEYS": ["x" * 31]}, "nexus.E018"),
        ({"FIELD_ENCRYPTION_KEYS": ["changeme" * 8]}, "nexus.E019"),
        ({"FIELD_ENCRYPTION_KEYS": [GOOD]}, "nexus.E020"),
        ({"METRICS_TOKEN": "x" * 23}, "nexus.E027"),
        ({"METRICS_TOKEN": "replace-me-" + "x" * 20}, "nexus.E028"),
        ({"ALPACA_ENABLED": True, "ALPACA_KEYS": "PA1:key"}, "nexus.E015"),
        ({"ALPACA_ENABLED": True, "ALPACA_KEYS": "PA1:key:secret,"}, "nexus.E015"),
    ],
)
def test_bad_settings_are_named(production, change, found):
    for name, value in change.items():
        setattr(production, name, value)

    assert found in [item.id for item in checks.check_settings()]
    with pytest.raises(ImproperlyConfigured, match=found) as caught:
        checks.refuse_bad_boot()
    assert GOOD not in str(caught.value)


def _run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: os.environ[name] for name in ("PATH", "DATABASE_URL", "NEXUS_DATA_DIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=Path(__file__).resolve().parents[2],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


PRODUCTION = {
    "SECRET_KEY": secrets.token_urlsafe(64),
    "JWT_SIGNING_KEYS": secrets.token_urlsafe(64),
    "FIELD_ENCRYPTION_KEYS": secrets.token_urlsafe(32),
    "ALLOWED_HOSTS": "nexus.example",
    "EMAIL_HOST": "mail.example",
    "AUDIT_ANCHORS": "log: https://witness.example/nexus",
    "CELERY_BROKER_URL": "redis://cache.example:6379/0",
}


def test_the_deploy_check_passes_in_good_production_settings():
    done = _run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)

    assert done.returncode == 0, done.stderr


def test_the_deploy_check_warns_when_letters_go_nowhere():
    done = _run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **{**PRODUCTION, "EMAIL_HOST": ""})

    assert done.returncode != 0
    assert "nexus.W021" in done.stderr


@pytest.mark.threat(23)
@pytest.mark.parametrize(("anchors", "found"), [("", "nexus.E022"), ("ftp://witness.example/", "nexus.E023")])
def test_the_deploy_check_refuses_seals_that_leave_for_nowhere(anchors, found):
    done = _run("manage.py", "check", "--deploy", **{**PRODUCTION, "AUDIT_ANCHORS": anchors})

    assert done.returncode != 0
    assert found in done.stderr


def test_the_web_server_does_not_start_with_bad_settings():
    done = _run("-c", "import nexus.wsgi", **{**PRODUCTION, "ALLOWED_HOSTS": "*"})

    assert done.returncode != 0
    assert "nexus.E009" in done.stderr


def test_a_missing_secret_stops_the_boot():
    done = _run("manage.py", "check", **{**PRODUCTION, "JWT_SIGNING_KEYS": ""})

    assert done.returncode != 0
    assert "JWT_SIGNING_KEYS is not set" in done.stderr
