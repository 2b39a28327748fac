"""Every setting, read once from the environment and typed.

`.env.example` lists the names; `checks.py` refuses a bad boot.
"""

import logging
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from nexus import env

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.text("NEXUS_DATA_DIR", str(BASE_DIR / ".nexus"))).resolve()
NEXUS_ENV = env.choice("NEXUS_ENV", "production", options=("production", "local", "test"))
DEPLOYMENT_ID = env.text("DEPLOYMENT_ID", "nexus")

# --- Django -----------------------------------------------------------------------------------------------------------
DEBUG = env.boolean("DEBUG", default=False)
SECRET_KEY = env.secret("SECRET_KEY")
ALLOWED_HOSTS = env.listing("ALLOWED_HOSTS", "" if NEXUS_ENV == "production" else "127.0.0.1,localhost,testserver")
ROOT_URLCONF = "nexus.urls"
WSGI_APPLICATION = "nexus.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("fr", "Français")]  # of the pages; the API speaks English
LANGUAGE_COOKIE_NAME = "nexus_language"
LOCALE_PATHS = [BASE_DIR / "nexus" / "locale"]
APPEND_SLASH = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

INSTALLED_APPS = [
    "nexus.apps.NexusConfig",  # django.contrib.admin with our site, our checks and our worker's wiring
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "django_otp",
    "django_celery_beat",
    "django_prometheus",
    "django_structlog",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "nexus.audit",
    "nexus.alerts",
    "nexus.idempotency",
    "accounts",
    "risk",
    "payments",
    "trading",
    "reconciliation",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "nexus.core.logs.CorrelationMiddleware",
    "nexus.core.headers.PolicyMiddleware",
    "nexus.core.http.SizeMiddleware",
    "nexus.core.http.TlsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "nexus.core.http.ProblemMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["nexus.core.sentences"],
            "libraries": {
                "console": "nexus.console.words",
                "figures": "nexus.core.figures",
                "kept": "nexus.console.kept",
                "words": "trading.pages.tags",
            },
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "trading.pages.frame.frame",
            ],
        },
    },
]
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "nexus" / "static"]
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
MESSAGE_TAGS = {20: "info", 25: "good", 30: "warn", 40: "bad"}  # classes of nexus.css
CSRF_FAILURE_VIEW = "nexus.console.exits.csrf_failure"
# Where pages listen for news: a port of the same host; 0: `/events` of the same address, behind the proxy.
EVENTS_PORT = env.integer("EVENTS_PORT", 0, most=65535)
EVENTS_ORIGINS = env.listing("EVENTS_ORIGINS")  # the pages' own, where the port is another
TRUSTED_PROXY_CIDRS = env.listing("TRUSTED_PROXY_CIDRS")

# --- Database ---------------------------------------------------------------------------------------------------------
LOCK_TIMEOUT_MS = env.integer("LOCK_TIMEOUT_MS", 4000, least=100)  # then the request is refused, and may be repeated


def _database(url: str) -> dict[str, object]:
    """Describe the database that an address names."""
    named = urlsplit(url)
    query = dict(parse_qsl(named.query))
    return {
        "ENGINE": "nexus.core.database",
        "NAME": unquote(named.path.lstrip("/")),
        "USER": unquote(named.username or ""),
        "PASSWORD": unquote(named.password or ""),
        "HOST": query.pop("host", unquote(named.hostname or "")),
        "PORT": query.pop("port", str(named.port or "")),
        "ATOMIC_REQUESTS": False,
        "CONN_MAX_AGE": None,  # a connection a thread, kept: opening one costs as much as an order
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            **query,
            "application_name": "nexus",
            # Django's default forbids preparing altogether. Nothing is prepared by count; what asks for it is, at once.
            "prepare_threshold": 1_000_000_000,
            # A plan for any value: each of our own statements has an index of its own, and choosing it anew cost more
            # than running it. What the ORM sends has its values in it and is planned for them all the same.
            "options": f"-c statement_timeout=15s -c lock_timeout={LOCK_TIMEOUT_MS}ms"
            " -c idle_in_transaction_session_timeout=5s -c plan_cache_mode=force_generic_plan -c jit=off",
        },
    }


DATABASES = {"default": _database(env.secret("DATABASE_URL"))}
AUDIT_READER = "default"  # the connection that exports and verifies
if AUDIT_DATABASE_URL := env.optional_secret("AUDIT_DATABASE_URL"):
    DATABASES["auditor"] = _database(AUDIT_DATABASE_URL)
    AUDIT_READER = "auditor"

# --- Who you are ------------------------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "accounts.services.lockout.GateHandler"  # it counts; what axes keeps is for people to look at
AXES_LOCK_OUT_AT_FAILURE = False
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_USERNAME_FORM_FIELD = "username"
AXES_USERNAME_CALLABLE = "accounts.services.lockout.username_of"
AXES_CLIENT_IP_CALLABLE = "nexus.core.http.client_ip"
AXES_LOCKOUT_CALLABLE = "nexus.console.exits.locked"
AXES_ALLOWED_CORS_ORIGINS = ""
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "password", "code", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True  # logins are in the audit log
AXES_ENABLE_ADMIN = False  # our console shows attempts, and nobody edits them
AXES_VERBOSE = False
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "full_name")},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
OTP_TOTP_SYNC = False
FIELD_ENCRYPTION_KEYS = [key.strip() for key in env.secret("FIELD_ENCRYPTION_KEYS").split(",") if key.strip()]
ENROLMENT_NAME = env.text("ENROLMENT_NAME", "Nexus")  # how authenticator apps show this installation
JWT_ALGORITHM = env.choice("ALGORITHM", "HS256", options=("HS256", "HS384", "HS512"))
JWT_SIGNING_KEYS = [key.strip() for key in env.secret("JWT_SIGNING_KEYS").split(",") if key.strip()]
ACCESS_TOKEN_LIFETIME = timedelta(minutes=env.integer("ACCESS_TOKEN_EXPIRE_MINUTES", 15, least=1))
REFRESH_TOKEN_LIFETIME = timedelta(hours=env.integer("REFRESH_TOKEN_EXPIRE_HOURS", 12, least=1))
TOKEN_FAMILY_LIFETIME = timedelta(hours=env.integer("TOKEN_FAMILY_EXPIRE_HOURS", 24, least=1))
TOKEN_FAMILIES_MAX = 5
READS_PER_MINUTE = env.integer("READS_PER_MINUTE", 300, least=1)  # of a person or a key, at the API
ANONYMOUS_PER_MINUTE = env.integer("ANONYMOUS_PER_MINUTE", 60, least=1)  # of an address that shows nobody we know

# --- The doors --------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.services.permissions.AsDeclared"],
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "nexus.core.wire.Negotiation",
    "DEFAULT_PARSER_CLASSES": ["nexus.core.wire.ExactJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "nexus.core.http.answer_exception",
    "COERCE_DECIMAL_TO_STRING": True,
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Nexus",
    "DESCRIPTION": "A broker-safe trading control plane.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": ["nexus.openapi.canonical_routes"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "SideEnum": "trading.states.Side",
        "OrderStatusEnum": "trading.states.PUBLIC_STATUSES",
        "RunStatusEnum": "reconciliation.states.Status",
        "ReviewStateEnum": "reconciliation.states.ReviewState",
        "ApprovalStateEnum": "accounts.states.ApprovalState",
        "ApprovalVerdictEnum": "accounts.states.ApprovalVerdict",
        "ReviewDecisionEnum": "reconciliation.states.Decision",
        "ChangeStateEnum": "trading.states.ChangeState",
    },
}
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Strict"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
if NEXUS_ENV == "production":
    SESSION_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-nexus_sid"
    CSRF_COOKIE_SECURE = True
    CSRF_COOKIE_NAME = "__Host-nexus_csrf"
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^api/", r"^health$", r"^metrics$"]
    if env.boolean("TRUST_PROXY_TLS", default=False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Letters to people about their own accounts -----------------------------------------------------------------------
EMAIL_HOST = env.text("EMAIL_HOST", "")
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'console'}.EmailBackend"
EMAIL_PORT = env.integer("EMAIL_PORT", 587, least=1, most=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.optional_secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.boolean("EMAIL_USE_TLS", default=True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "nexus@localhost")

# --- The black box: docs/audit.md ------------------------------------------------------------------------------------
AUDIT_SIGNING_KEY_FILE = env.text("AUDIT_SIGNING_KEY_FILE", "")  # the sealer's alone
AUDIT_PUBLIC_KEY_FILE = env.text("AUDIT_PUBLIC_KEY_FILE", "")  # what verification trusts; else the log's first key
AUDIT_EXPORT_DIR = Path(env.text("AUDIT_EXPORT_DIR", str(DATA_DIR / "exports"))).resolve()
AUDIT_EXPORT_KEEP_HOURS = env.integer("AUDIT_EXPORT_KEEP_HOURS", 24, least=1)
AUDIT_ANCHORS = env.secret_words("AUDIT_ANCHORS")  # where seals are kept: file:/path, log:, https://…

# --- Jobs -------------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", "") or env.text(
    "REDIS_URL", "memory://" if NEXUS_ENV == "test" else None
)
if CELERY_BROKER_URL.startswith("pgmq:"):  # the local run keeps its queues in its own PostgreSQL: docs/adr/0003
    CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # the names of its reply queues are too long for this broker
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # `pgmq` does not read a URL's `host=` and would knock at localhost: it is given libpq's own words.
        "conn_string": make_conninfo("", **conninfo_to_dict(env.secret("DATABASE_URL"))),
        "init_extension": False,  # plain SQL instead, from nexus/local/queue.py
        "use_notify": True,
        "notify_throttle_interval_ms": 0,
        "polling_interval": 0.1,
        "wait_time_seconds": 0,
        "visibility_timeout": 120,  # a job of a killed worker comes back after this long
        "pool_size": 2,
    }
CELERY_DB_REUSE_MAX = 2**62  # jobs, until Celery closes a worker's connections: nexus/celery.py looks at them instead
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SERIALIZER = "json"
CELERY_TIMEZONE = "UTC"

# --- What is counted: `GET /metrics` ----------------------------------------------------------------------------------
METRICS_TOKEN = env.optional_secret("METRICS_TOKEN")  # unset: not read in production, elsewhere from this machine
PROMETHEUS_METRIC_NAMESPACE = "nexus"
PROMETHEUS_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf"))

# --- Who is told: addresses of apprise's, which hold passwords --------------------------------------------------------
ALERT_CHANNELS = {
    "CRITICAL": env.secret_words("ALERT_CRITICAL"),  # at once; none: as a warning
    "WARNING": env.secret_words("ALERT_WARNING"),  # at once, each key once in a while; none: as what is critical
    "DIGEST": env.secret_words("ALERT_DIGEST"),  # what is quiet, all in one message; none: where warnings go
    "ESCALATION": env.secret_words("ALERT_ESCALATION"),  # critical ones that nobody has acknowledged in time
}
PUBLIC_URL = env.text("PUBLIC_URL", "")  # of this installation, for links in messages; without, they name a file
MESSAGE_LANGUAGE = env.choice("MESSAGE_LANGUAGE", "en", options=("en", "fr"))  # of alerts and letters that go out
ALERT_THROTTLE_S = env.integer("ALERT_THROTTLE_S", 300)  # between two messages about one key to one channel
ALERT_ESCALATE_S = env.integer("ALERT_ESCALATE_S", 600, least=30)
ALERT_DIGEST_S = env.integer("ALERT_DIGEST_S", 3600, least=60)


def _every(seconds: float, task: str) -> dict[str, object]:
    """Schedule a job that is worthless once the next one is due."""
    return {"task": task, "schedule": seconds, "options": {"expires": seconds}}


CELERY_TASK_ROUTES = {  # stops and alerts have workers of their own, which nothing else can keep busy
    "trading.follow_stops": {"queue": "stop"},
    "trading.run_sweeps": {"queue": "stop"},
    "alerts.*": {"queue": "alerts"},
    "audit.verify_log": {"queue": "audit"},  # minutes of work, which must keep nobody from reconciling
    "audit.export": {"queue": "audit"},
    "audit.sweep_exports": {"queue": "audit"},
}
CELERY_BEAT_SCHEDULE = {
    "follow-stops": _every(1.0, "trading.follow_stops"),
    "run-sweeps": _every(1.0, "trading.run_sweeps"),
    "resolve-orders": _every(5.0, "trading.resolve_orders"),
    "dispatch-orders": _every(2.0, "trading.dispatch_orders"),
    "watch-accounts": _every(5.0, "trading.watch_accounts"),
    "reconcile-accounts": _every(2.0, "reconciliation.reconcile_accounts"),  # hands out those whose slot has come
    "watch-audit": _every(15.0, "audit.watch"),
    "sweep-exports": _every(60.0, "audit.sweep_exports"),
    "verify-audit": _every(3600.0, "audit.verify_log"),  # works when a new night has begun
    "send-alerts": _every(2.0, "alerts.sweep"),
    "send-digest": _every(ALERT_DIGEST_S, "alerts.digest"),
    "expire-approvals": _every(60.0, "accounts.expire_approvals"),
    "send-notices": _every(10.0, "accounts.send_notices"),
    "purge-auth-tokens": _every(3600.0, "accounts.purge_tokens"),
    "purge-idempotency-records": _every(3600.0, "idempotency.purge_records"),
    "purge-reconciliation-log": _every(3600.0, "reconciliation.purge_log"),
    "purge-readings": _every(3600.0, "trading.purge_readings"),
}
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG  # the line at the end of a request says all that this one does
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False  # an address is personal data, and that reader believes any proxy

# --- What you may do: platform ceilings. `none`: a tighter scope sets one, or orders are refused ----
TRADING_ENABLED = env.boolean("TRADING_ENABLED", default=True)
DAILY_LOSS_LIMIT = env.optional_decimal("DAILY_LOSS_LIMIT", "1000")  # USD a user and day
MAX_POSITION_SIZE = env.optional_decimal("MAX_POSITION_SIZE", "10000")  # base units an instrument
TRADE_VALUE_MIN = env.optional_decimal("TRADE_VALUE_MIN", "0.01")  # USD
TRADE_VALUE_MAX = env.optional_decimal("TRADE_VALUE_MAX", "1000000")  # USD
DAILY_VALUE_MAX = env.optional_decimal("DAILY_VALUE_MAX", "10000000")  # USD a user and day
DAILY_QUANTITY_MAX = env.optional_decimal("DAILY_QUANTITY_MAX", "1000")  # lots a user and day
ORDERS_PER_DAY = env.optional_decimal("ORDERS_PER_DAY", "1000")  # a user
ORDERS_PER_HOUR = env.optional_decimal("ORDERS_PER_HOUR", "100")  # a user
ORDERS_PER_SECOND = env.optional_decimal("ORDERS_PER_SECOND", "10")  # an account, refused ones counted
MAX_OPEN_POSITIONS = env.optional_decimal("MAX_OPEN_POSITIONS", "200")  # a user
ORDER_QUANTITY_MAX = env.optional_decimal("ORDER_QUANTITY_MAX", "none")  # lots; `none`: the venue's own maximum
PRICE_COLLAR = env.decimal("PRICE_COLLAR", "0.005", most="1")  # of the reference price
UNSTOPPED_MOVE = env.optional_decimal("UNSTOPPED_MOVE", "none", most="1")  # assumed adverse move without a stop-loss
GAP_ALLOWANCE = env.decimal("GAP_ALLOWANCE", "0.0005", zero=True, most="1")  # how far beyond its price a stop may fill
COMMISSION_PER_LOT = env.decimal("COMMISSION_PER_LOT", "7", zero=True)  # USD, round trip, counted into the worst case
MARGIN_BUFFER = env.decimal("MARGIN_BUFFER", "0.1", zero=True, most="1")  # of the free margin, kept free
MARGIN_FROM_BROKER = env.boolean("MARGIN_FROM_BROKER", default=True)  # else notional / leverage, one question less
LOSS_FROM_BROKER = env.boolean("LOSS_FROM_BROKER", default=True)  # the larger of its figure and ours counts; else ours
LOSS_FIGURES_APART = env.decimal("LOSS_FIGURES_APART", "0.02", most="1")  # more than this above ours: refused
SNAPSHOT_AGE_MAX_S = env.integer("SNAPSHOT_AGE_MAX_S", 10, least=1)  # of the account's figures
RECONCILIATION_AGE_MAX_S = env.integer("RECONCILIATION_AGE_MAX_S", 180, least=1)  # since the last complete run
DUPLICATE_WINDOW_S = env.integer("DUPLICATE_WINDOW_S", 0)  # 0: off, for every order has a key of its own
COOLDOWN_FAILURES = env.integer("COOLDOWN_FAILURES", 3, least=1)  # orders in a row that the broker rejected
COOLDOWN_S = env.integer("COOLDOWN_S", 300)
LIMIT_CHANGE_HOURS = env.integer("LIMIT_CHANGE_HOURS", 24, least=1)  # until a proposal to raise a limit expires

# --- The stop ---------------------------------------------------------------------------------------------------------
RELEASE_EXPIRE_MINUTES = env.integer("RELEASE_EXPIRE_MINUTES", 60, least=1)  # of a proposal to ease a stop
_LEVELS = ("OFF", "REDUCE_ONLY", "HALTED")
STOP_ON = {  # what stops trading by itself, and how far; OFF only tells people
    "DAILY_LOSS": env.choice("STOP_ON_DAILY_LOSS", "HALTED", options=_LEVELS),
    "EQUITY_UNUSABLE": env.choice("STOP_ON_EQUITY_UNUSABLE", "HALTED", options=_LEVELS),
    "MARGIN_LEVEL": env.choice("STOP_ON_MARGIN_LEVEL", "REDUCE_ONLY", options=_LEVELS),
    "UNKNOWN_ORDERS": env.choice("STOP_ON_UNKNOWN_ORDERS", "REDUCE_ONLY", options=_LEVELS),
    "REFUSALS": env.choice("STOP_ON_REFUSALS", "REDUCE_ONLY", options=_LEVELS),
    "ACCOUNT_REFUSED": env.choice("STOP_ON_ACCOUNT_REFUSED", "REDUCE_ONLY", options=_LEVELS),
    "WRONG_FILL": env.choice("STOP_ON_WRONG_FILL", "REDUCE_ONLY", options=_LEVELS),
    "STOP_LOSS_REFUSED": env.choice("STOP_ON_STOP_LOSS_REFUSED", "REDUCE_ONLY", options=_LEVELS),
    "DISCREPANCY": env.choice("STOP_ON_DISCREPANCY", "REDUCE_ONLY", options=_LEVELS[1:]),
    "RECONCILIATION": env.choice("STOP_ON_RECONCILIATION", "REDUCE_ONLY", options=_LEVELS[1:]),
}
DAILY_LOSS_SWEEP = env.choice("DAILY_LOSS_SWEEP", "NONE", options=("NONE", "CANCEL", "FLATTEN"))  # of a HALTED one
MARGIN_LEVEL_ALARM = env.decimal("MARGIN_LEVEL_ALARM", "200")  # percent: equity over margin in use; people are told
MARGIN_LEVEL_MIN = env.decimal("MARGIN_LEVEL_MIN", "120")  # percent: below it the account is stopped
UNKNOWN_ORDERS_MAX = env.integer("UNKNOWN_ORDERS_MAX", 3, least=1)  # of an account, within the window
REFUSALS_MAX = env.integer("REFUSALS_MAX", 10, least=1)  # in a row, of an account, within the window
TROUBLE_WINDOW_S = env.integer("TROUBLE_WINDOW_S", 600, least=10)
WRONG_FILL_VALUE = env.decimal("WRONG_FILL_VALUE", "1000", zero=True)  # USD, from which a late fill or overfill stops
WATCH_BLIND_S = env.integer("WATCH_BLIND_S", 60, least=10)  # an account unread for this long wakes people
SWEEP_THREADS = env.integer("SWEEP_THREADS", 32, least=1)  # accounts that are swept at once
SWEEP_THREADS_A_GATEWAY = env.integer("SWEEP_THREADS_A_GATEWAY", 4, least=1)  # and of them behind one gateway

# --- What looks suspicious: people are told, and those named in REVIEWED_SUSPICIONS are refused -----------------------
REVIEWED_SUSPICIONS = env.listing(
    "REVIEWED_SUSPICIONS", options=("BURST", "UNUSUAL_SIZE", "OPPOSITE_ORDERS", "NEW_NETWORK")
)
BURST_ORDERS = env.integer("BURST_ORDERS", 20, least=2)
BURST_WINDOW_S = env.integer("BURST_WINDOW_S", 10, least=1)
OPPOSITE_WINDOW_S = env.integer("OPPOSITE_WINDOW_S", 5)
UNUSUAL_SIZE_FACTOR = env.decimal("UNUSUAL_SIZE_FACTOR", "10")  # times the average value of the user's orders
UNUSUAL_SIZE_ORDERS = env.integer("UNUSUAL_SIZE_ORDERS", 10, least=1)  # fewer are no history
NEW_NETWORK_VALUE = env.decimal("NEW_NETWORK_VALUE", "50000")  # USD, from which a trade is large

# --- Your orders ------------------------------------------------------------------------------------------------------
PRICE_DEVIATION = env.decimal("PRICE_DEVIATION", "0.0002", zero=True, most="1")  # of the reference, on top of it
SPREAD_MAX = env.decimal("SPREAD_MAX", "0.005", most="1")  # of the mid price
SPREADS_MAX = env.by_symbol("SPREADS_MAX", count=1)  # tighter ones of single instruments
PRICE_BANDS = env.by_symbol("PRICE_BANDS", count=2)  # between which a price of the instrument can be meant
JUMP_MAX = env.decimal("JUMP_MAX", "0.1", most="1")  # of the last good mid price, within a minute
QUOTE_AGE_MAX_S = env.integer("QUOTE_AGE_MAX_S", 10, least=1)
_slippage_percent = env.decimal("MAX_SLIPPAGE_PERCENT", "0.5")
SLIPPAGE_THRESHOLD = env.decimal("SLIPPAGE_THRESHOLD", str(_slippage_percent / 100))
SENDING_LEASE_S = env.integer("SENDING_LEASE_S", 20, least=5)  # a mark older than this lost its process
MARKET_TTL_S = env.integer("MARKET_TTL_S", 5, least=1)  # how old an accepted market order may be when it is sent
PENDING_TTL_S = env.integer("PENDING_TTL_S", 30, least=1)
CHANGE_PROOF_S = env.integer("CHANGE_PROOF_S", 180, least=60)  # how long a lost change may still arrive
BROKER_DEADLINE_S = env.integer("BROKER_DEADLINE_S", 5, least=1)  # of a call, and of all that a door reads
BROKER_WAITS_MAX = env.integer("BROKER_WAITS_MAX", 8, least=1)  # of one web process: two fewer than its threads
BROKER_TAG = env.integer("BROKER_TAG", 1, least=1, most=2047)  # unique an installation: in each order's id
MT5_GATEWAY_URL = env.text("MT5_GATEWAY_URL", "")
GATEWAY_TOKEN = env.secret("GATEWAY_TOKEN") if MT5_GATEWAY_URL else ""
MT5_GATEWAY_CA = env.text("MT5_GATEWAY_CA", "")  # files that `certificates` of the gateway has made, for https
MT5_GATEWAY_CERT = env.text("MT5_GATEWAY_CERT") if MT5_GATEWAY_CA else ""
MT5_GATEWAY_KEY = env.text("MT5_GATEWAY_KEY") if MT5_GATEWAY_CA else ""
PAPER_CONTROLS = env.text("PAPER_CONTROLS", "")  # host:port of each paper broker, for `manage.py paper`
PAPER_CONTROL_TOKEN = env.secret("PAPER_CONTROL_TOKEN") if PAPER_CONTROLS else ""
MT5_DEMO_SERVERS = env.text("MT5_DEMO_SERVERS", "")  # names of brokers' own servers without real money
MT5_FILLINGS = env.listing(
    "MT5_FILLINGS", "FOK,IOC", options=("FOK", "IOC", "RETURN")
)  # in order of preference; without FOK an order may fill in part
ALPACA_ENABLED = env.boolean("ALPACA_ENABLED", default=False)  # needs requirements-alpaca.txt
ALPACA_KEYS = env.secret("ALPACA_KEYS") if ALPACA_ENABLED else ""  # ACCOUNT:KEY:SECRET, separated by commas
ALPACA_FEED = env.choice("ALPACA_FEED", "iex", options=("iex", "sip", "delayed_sip"))
LIVE_TRADING_ENABLED = env.boolean("LIVE_TRADING_ENABLED", default=False)
LIVE_ARM_TTL = timedelta(hours=env.integer("LIVE_ARM_TTL", 24, least=1, most=24 * 7))

# --- Is it true -------------------------------------------------------------------------------------------------------
RECONCILIATION_INTERVAL = env.integer("RECONCILIATION_INTERVAL", 60, least=5)  # seconds between runs of an account
RECONCILIATION_LOG_DAYS = env.integer("RECONCILIATION_LOG_DAYS", 90, least=31)  # of runs that found nothing
RECONCILIATION_FAILURES_DAYS = env.integer(
    "RECONCILIATION_FAILURES_DAYS", 400, least=366
)  # of runs that failed; all else stays
READINGS_DAYS = env.integer("READINGS_DAYS", 31, least=1)  # of what charts show of accounts, a row a minute
RECONCILIATION_REVIEW_FROM = env.decimal(
    "RECONCILIATION_REVIEW_FROM", "100"
)  # USD; below, what is seen twice is corrected
RECONCILIATION_STOP_ABOVE = env.decimal("RECONCILIATION_STOP_ABOVE", "500")  # USD an account
MAX_DISCREPANCY_THRESHOLD = env.decimal("MAX_DISCREPANCY_THRESHOLD", "1000")  # USD of all accounts: stops the system
MAX_CONSECUTIVE_FAILURES = env.integer("MAX_CONSECUTIVE_FAILURES", 3, least=1)  # of runs, in a row: stops the account

# --- Logs -------------------------------------------------------------------------------------------------------------
LOGGING_CONFIG = "nexus.core.logs.configure"
LOGGING = {"level": env.choice("LOG_LEVEL", "INFO", options=("DEBUG", "INFO", "WARNING", "ERROR"))}
