"""Refuse a bad boot: what must be true of the settings before anything may trade."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from nexus.alerts.providers import Channel
from nexus.audit import providers

GATEWAY_TOKEN_LENGTH_MIN = METRICS_TOKEN_LENGTH_MIN = 24
SECRET_KEY_LENGTH_MIN = 50
JWT_KEY_SIZE_MIN = 32  # bytes, anywhere
JWT_KEY_SIZE_MIN_PRODUCTION = 64  # bytes
FIELD_KEY_SIZE_MIN = 32  # bytes

_EXAMPLES = ("changeme", "change-me", "change_me", "example", "insecure", "your-secret", "your_secret", "replace-me")


@register(Tags.security)
def check_settings(app_configs: Any = None, **_kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong with the settings."""
    return [
        *_secrets(),
        *_others(),
        *_field_keys(),
        *_exposure(),
        *_proxies(),
        *_live_trading(),
        *_alpaca(),
        *_alerts(),
    ]


@register(Tags.security, deploy=True)
def check_letters(app_configs: Any = None, **_kwargs: Any) -> list[CheckMessage]:
    """Warn when letters to people about their own accounts go nowhere."""
    if settings.NEXUS_ENV != "production" or settings.EMAIL_HOST:
        return []
    detail = "EMAIL_HOST is not set: nobody is told of logins, locks and keys of the own account."
    return [checks.Warning(detail, id="nexus.W021")]


@register(Tags.security, deploy=True)
def check_anchors(app_configs: Any = None, **_kwargs: Any) -> list[CheckMessage]:
    """Refuse a deployment whose seals are kept nowhere else: a cut-off log could not be told from a whole one."""
    if settings.NEXUS_ENV != "production":
        return []
    if not settings.AUDIT_ANCHORS:
        return [Error("AUDIT_ANCHORS names no place outside the database that keeps the seals.", id="nexus.E022")]
    try:
        for word in settings.AUDIT_ANCHORS:
            providers.named(word)
    except ValueError as exc:
        return [Error(f"AUDIT_ANCHORS: {exc}", id="nexus.E023")]
    return []


@register(Tags.database, deploy=True)
def check_database_role(
    app_configs: Any = None, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """Refuse a role that could change the audit log, in production; `check --deploy --database default` asks for it."""
    if settings.NEXUS_ENV != "production":
        return []
    return [each for alias in databases or () for each in _role(alias)]


def _role(alias: str) -> Iterator[Error]:
    with connections[alias].cursor() as cursor:
        cursor.execute(_RIGHTS)
        role, is_super, owned, held = cursor.fetchone()
    if is_super:
        yield Error(f"{alias}: the role {role} is a superuser, or may become one.", id="nexus.E024")
    if owned:
        yield Error(f"{alias}: the role {role} owns, or may own, the audit log: {', '.join(owned)}.", id="nexus.E025")
    if held:
        yield Error(f"{alias}: the role {role} may change the audit log: {', '.join(held)}.", id="nexus.E026")


# `MEMBER` counts what a role may become by SET ROLE. The log's own tables and functions, and what is in their place.
_RIGHTS = """
SELECT current_user,
  (SELECT bool_or(rolsuper) FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')),
  (SELECT array_agg(what ORDER BY what) FROM (
     SELECT 'schema audit' FROM pg_namespace WHERE nspname = 'audit' AND pg_has_role(current_user, nspowner, 'MEMBER')
     UNION ALL SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = to_regnamespace('audit')
       AND relkind IN ('r', 'p', 'v', 'S') AND pg_has_role(current_user, relowner, 'MEMBER')
     UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = to_regnamespace('audit')
       AND pg_has_role(current_user, proowner, 'MEMBER')) owned (what)),
  (SELECT array_agg(lower(word) || ' ' || c.oid::regclass ORDER BY 1)
     FROM pg_class c, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) word
    WHERE relnamespace = to_regnamespace('audit') AND relkind IN ('r', 'p') AND has_table_privilege(c.oid, word))
"""


def refuse_bad_boot() -> None:
    """Stop a process of ours whose settings are not safe. Raises: ImproperlyConfigured."""
    wrong = check_settings()
    if wrong:
        raise ImproperlyConfigured("Nexus refuses to start. " + " ".join(f"[{item.id}] {item.msg}" for item in wrong))


def _secrets() -> Iterator[Error]:
    if len(settings.SECRET_KEY) < SECRET_KEY_LENGTH_MIN:
        yield Error(f"SECRET_KEY must have at least {SECRET_KEY_LENGTH_MIN} characters.", id="nexus.E001")
    if _is_example(settings.SECRET_KEY):
        yield Error("SECRET_KEY is an example value.", id="nexus.E002")
    if not settings.JWT_SIGNING_KEYS:
        yield Error("JWT_SIGNING_KEYS is empty.", id="nexus.E003")
    size_min = JWT_KEY_SIZE_MIN_PRODUCTION if settings.NEXUS_ENV == "production" else JWT_KEY_SIZE_MIN
    for key in settings.JWT_SIGNING_KEYS:
        if len(key.encode()) < size_min:
            yield Error(f"Each of JWT_SIGNING_KEYS must have at least {size_min} bytes.", id="nexus.E004")
        if _is_example(key):
            yield Error("JWT_SIGNING_KEYS holds an example value.", id="nexus.E005")
        if key == settings.SECRET_KEY:
            yield Error("JWT_SIGNING_KEYS must not hold SECRET_KEY.", id="nexus.E006")
    if settings.MT5_GATEWAY_URL:
        if len(settings.GATEWAY_TOKEN) < GATEWAY_TOKEN_LENGTH_MIN:
            yield Error(f"GATEWAY_TOKEN must have at least {GATEWAY_TOKEN_LENGTH_MIN} characters.", id="nexus.E013")
        if _is_example(settings.GATEWAY_TOKEN):
            yield Error("GATEWAY_TOKEN is an example value.", id="nexus.E014")


def _others() -> Iterator[Error]:
    if settings.METRICS_TOKEN and len(settings.METRICS_TOKEN) < METRICS_TOKEN_LENGTH_MIN:
        yield Error(f"METRICS_TOKEN must have at least {METRICS_TOKEN_LENGTH_MIN} characters.", id="nexus.E027")
    if _is_example(settings.METRICS_TOKEN):
        yield Error("METRICS_TOKEN is an example value.", id="nexus.E028")
    if settings.NEXUS_ENV != "production":
        return
    for alias, named in settings.DATABASES.items():
        if _is_example(str(named.get("PASSWORD") or "")):
            yield Error(f"The database's password ({alias}) is an example value.", id="nexus.E029")


def _field_keys() -> Iterator[Error]:
    if not settings.FIELD_ENCRYPTION_KEYS:
        yield Error("FIELD_ENCRYPTION_KEYS is empty.", id="nexus.E017")
    for key in settings.FIELD_ENCRYPTION_KEYS:
        if len(key.encode()) < FIELD_KEY_SIZE_MIN:
            yield Error(
                f"Each of FIELD_ENCRYPTION_KEYS must have at least {FIELD_KEY_SIZE_MIN} bytes.", id="nexus.E018"
            )
        if _is_example(key):
            yield Error("FIELD_ENCRYPTION_KEYS holds an example value.", id="nexus.E019")
        if key == settings.SECRET_KEY or key in settings.JWT_SIGNING_KEYS:
            yield Error("FIELD_ENCRYPTION_KEYS must share no key with SECRET_KEY or JWT_SIGNING_KEYS.", id="nexus.E020")


def _exposure() -> Iterator[Error]:
    if settings.NEXUS_ENV != "production":
        return
    if settings.DEBUG:
        yield Error("DEBUG must be off in production.", id="nexus.E007")
    if not settings.ALLOWED_HOSTS:
        yield Error("ALLOWED_HOSTS must name this site's hosts in production.", id="nexus.E008")
    if any("*" in host for host in settings.ALLOWED_HOSTS):
        yield Error("ALLOWED_HOSTS must not hold a wildcard in production.", id="nexus.E009")


def _proxies() -> Iterator[Error]:
    for cidr in settings.TRUSTED_PROXY_CIDRS:
        try:
            ipaddress.ip_network(cidr)
        except ValueError:
            yield Error(f"TRUSTED_PROXY_CIDRS holds {cidr!r}, which is not a network.", id="nexus.E012")


def _alerts() -> Iterator[Error]:
    for group, addresses in settings.ALERT_CHANNELS.items():
        for number, address in enumerate(addresses, 1):
            if not Channel(address).is_known():  # the address holds passwords: its place is named, not it
                detail = f"ALERT_{group} holds an address that apprise does not know: number {number}."
                yield Error(detail, id="nexus.E016")


def _live_trading() -> Iterator[Error]:
    if not settings.LIVE_TRADING_ENABLED:
        return
    if settings.DEBUG:
        yield Error("LIVE_TRADING_ENABLED with DEBUG on: real money needs DEBUG off.", id="nexus.E010")
    if settings.NEXUS_ENV != "production":
        yield Error("LIVE_TRADING_ENABLED needs NEXUS_ENV=production.", id="nexus.E011")


def _alpaca() -> Iterator[Error]:
    entries = settings.ALPACA_KEYS.split(",") if settings.ALPACA_ENABLED else []
    if any(len(entry.split(":")) != 3 or not all(entry.strip().split(":")) for entry in entries):
        yield Error("ALPACA_KEYS must hold ACCOUNT:KEY:SECRET, separated by commas.", id="nexus.E015")


def _is_example(secret: str) -> bool:
    lowered = secret.lower()
    return any(example in lowered for example in _EXAMPLES)
