"""What went wrong, for programs that ask by HTTP: problem details (RFC 9457).

What is promised: an answer says what is wrong and the remedy, names a parameter and never repeats its value, and
tells nothing of how we are built.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    """The answer for `status`; `detail` is a sentence of ours with the remedy."""
    told = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(json.dumps(told), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def unavailable(detail: str) -> Response:
    """Not now: 503, to be asked again (RFC 9110 15.6.4)."""
    return problem(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})
