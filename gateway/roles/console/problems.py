"""What went wrong, for programs: problem details (RFC 9457).

What is promised: an answer says what is wrong and the remedy, names a parameter and never repeats its value, and
tells nothing of how we are built.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import Response

from gateway.roles.console.models import Problem

MEDIA_TYPE: Final = "application/problem+json"


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    """The answer for `status`; `detail` is a sentence of ours with the remedy."""
    told = Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(told.model_dump_json(), status_code=status, media_type=MEDIA_TYPE, headers=headers)
