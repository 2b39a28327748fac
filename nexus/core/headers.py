"""What browsers may do with an answer, and whether they may keep it: said here, for every door.

Source: security reference §11; what asks for `unsafe-eval` there is a skin that Nexus does not have.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self'{images}; manifest-src 'self'; "
    "connect-src 'self'{listens}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Swagger's page styles itself and draws its own marks; it shows our document and no data.
_DOCUMENTS = _PAGE.format(styles=" 'unsafe-inline'", images=" data:", listens="")
_DOCS = "/docs"
# What browsers have long known of: one that they do not know is an error in their console. Not the whole screen.
_NO_DEVICES = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "geolocation", "gyroscope", "hid",
        "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "publickey-credentials-get",
        "screen-wake-lock", "serial", "usb", "xr-spatial-tracking",
    )
)  # fmt: skip


def as_page(response: HttpResponseBase, *, listens: str = "") -> None:
    """Let an answer be a page that runs and shows what we serve. Takes: the other origin that it hears news from."""
    policy = _PAGE.format(styles="", images="", listens=listens and f" {listens}")
    response.headers.setdefault("Content-Security-Policy", policy)


class PolicyMiddleware:
    """Let an answer run and show nothing, and be kept by nobody, unless whoever made it has said otherwise."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer as the inner layers do, with the headers that they have not set."""
        response = self.get_response(request)
        policy = _DOCUMENTS if request.path.startswith(_DOCS) else _NOTHING
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("Permissions-Policy", _NO_DEVICES)
        response.headers.setdefault("Cache-Control", "no-store")
        return response
