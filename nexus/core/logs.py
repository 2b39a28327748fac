"""Logs as JSON lines: one correlation id from the door to the last job, secrets struck out on the way.

Logs are for engineers and may be lost; what must not be lost goes to the audit trail.
"""

import logging.config
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse
from django_structlog.middlewares import RequestMiddleware
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
REQUEST_ID_HEADER = "X-Request-ID"

_HINT_LENGTH_MAX = 128
_DEPTH_MAX = 8
_SECRET_WORDS = frozenset(
    {"authorization", "otp", "password", "passwd", "secret", "secrets", "token", "tokens", "key", "keys", "refresh",
     "access", "cookie"}
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*")
_SECRET_TEXTS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 " + REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_=-]*"), REDACTED),
    (re.compile(r"\bnxk_[A-Za-z0-9_-]+"), REDACTED),
    (re.compile(r"(?i)(://[^:/@\s]*:)[^@/\s]+@"), r"\1" + REDACTED + "@"),
    (
        re.compile(r"(?i)\b(authorization|x-nexus-otp|password|secret|token|key|refresh|access)(['\"]?\s*[=:]\s*)"
                   r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&}\]]+)"),
        r"\1\2" + REDACTED,
    ),
)  # fmt: skip
# Something of this is in every text that one of the patterns finds.
_SUSPECT = re.compile(r"[\s=:]|eyJ|nxk_")


def configure(config: Mapping[str, Any]) -> None:
    """Set up logging: everything, ours and the libraries', becomes one JSON line each on standard error.

    Takes: `config`, which is `settings.LOGGING`; its `level` is the least that is written.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    # Which line has logged, and in which process, is said by no line of ours; to find it out took long. The thread is
    # kept: by it the words of a channel that fails are told apart (`alerts/providers.py`).
    logging._srcfile = None  # the way that the logging HOWTO tells
    logging.logProcesses = logging.logMultiprocessing = False
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": [structlog.stdlib.ExtraAdder(), *shared],
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        redact,
                        structlog.processors.JSONRenderer(),  # ASCII only, so control characters arrive escaped
                    ],
                },
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": config.get("level", "INFO")},
            "loggers": {
                "django": {"handlers": [], "level": "INFO", "propagate": True},
                "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
                "django.request": {"level": "CRITICAL"},  # our middleware writes the same, with the correlation id
                "httpx": {"level": "WARNING"},
                "axes": {"level": "ERROR"},  # its lines name people and addresses, which belong in the audit log
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Strike out secrets: values under a telling name, and texts that look like a credential."""
    return {name: _redacted(name, value, 0) for name, value in event.items()}


def correlation_id() -> str:
    """Return the id of the request or job that this code serves, or an empty text. Creates none."""
    bound = structlog.contextvars.get_contextvars()
    return str(bound.get("request_id") or bound.get("correlation_id") or bound.get("task_id") or "")


@contextmanager
def correlated(*, request_id: str = "") -> Iterator[str]:
    """Bind a correlation id, a new one unless given, for a command or a loop that no request started."""
    chosen = request_id or str(uuid.uuid4())
    with structlog.contextvars.bound_contextvars(request_id=chosen):
        yield chosen


class CorrelationMiddleware(RequestMiddleware):
    """Give every request an id of ours and return it; the client's own is kept as a hint in the log."""

    def prepare(self, request: HttpRequest) -> None:
        """Bind the ids before anything else runs."""
        structlog.contextvars.clear_contextvars()
        hint = request.headers.get(REQUEST_ID_HEADER, "")
        if hint:
            structlog.contextvars.bind_contextvars(client_request_id=hint[:_HINT_LENGTH_MAX])
        super().prepare(request)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Return our id with the answer."""
        response[REQUEST_ID_HEADER] = correlation_id()
        super().handle_response(request, response)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Name the request without its query, which may carry what must not be kept."""
        return f"{request.method} {request.path}"


def _redacted(name: str, value: Any, depth: int) -> Any:
    if _is_secret(name) and value not in (None, ""):
        return REDACTED
    if isinstance(value, str):
        return _redacted_text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if depth >= _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {str(inner): _redacted(str(inner), held, depth + 1) for inner, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", held, depth + 1) for held in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _redacted_text(str(value))


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return any(word.lower() in _SECRET_WORDS for word in _WORD.findall(name))


def _redacted_text(text: str) -> str:
    if not _SUSPECT.search(text):
        return text
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text
