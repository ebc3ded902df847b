"""Codes in the books, in words an operator can act on. The codes are a closed list: a test looks for others."""

from __future__ import annotations

import re
from typing import Final

from gateway.domain.retry import TransportFailure, classify_store_status, classify_transport

_STATUS: Final = re.compile(r"[0-9A-F]{4}")
_OUR_OWN: Final = {
    "file-missing": "our file is gone; send the study again from the scanner, and check the disk",
    "file-unreadable": "our file can't be read; send the study again from the scanner, and check the disk",
    "content-hash": "our file is not what was received; send the study again from the scanner, and check the disk",
    "context": "the peer accepted no presentation context; add the service at the peer",
    "cancelled": "interrupted; tried again by itself",
}
_SHORT: Final = {
    TransportFailure.CONNECT: "does not answer",
    TransportFailure.TIMEOUT: "does not answer in time",
    TransportFailure.ABORTED: "breaks off",
    TransportFailure.REJECTED: "rejects our association",
    TransportFailure.CONTEXT_REFUSED: "takes the images in no form we have",
}
STEPS: Final = {
    "duplicate-differs": "Another object came under a UID that we hold; this copy waits. Compare them, then send it on"
    " with `gateway release {subject}`, or leave it.",
    "file-missing": "An image is gone from the disk: send its study again from the scanner, and check the disk.",
    "object-unreadable": "A file that is no whole image lies in the quarantine folder of the spool: send what was"
    " lately interrupted again from the scanner, and check the disk.",
    "spool-damaged": "A stored file is not what was received: send its study again from the scanner, and check the"
    " disk.",
    "delivery-refused": "Look at `gateway queue --refused`; when the cause is gone,"
    " `gateway retry --refused --destination {subject}`.",
    "delivery-late": "Check that {subject} runs and can be reached; the images are sent by themselves when it can.",
    "no-route": "Images have nowhere to go: name a destination in [routing] default, then restart the gateway.",
    "not-committed": "{subject} did not promise to keep images, so they are sent again: look at its log for storage"
    " commitment.",
    "confirmation-refused": "{subject} does not answer for what it holds: allow it there, or set another confirm in its"
    " [[destination]] section.",
}
"""What to do about each alarm; `{subject}` is what it is about."""


def step(code: str, subject: str) -> str:
    """The next step for an alarm."""
    return STEPS.get(code, "Look for this code in the gateway's log.").format(subject=subject)


def reason_of(code: str) -> str:
    """The cause and the remedy behind a delivery's last status; a dash for none."""
    if not code:
        return "-"
    if code in _OUR_OWN:
        return _OUR_OWN[code]
    if code in set(TransportFailure):
        return classify_transport(TransportFailure(code)).reason
    if _STATUS.fullmatch(code):
        return classify_store_status(int(code, 16)).reason
    return "look for this code in the gateway's log"


def in_short(code: str) -> str:
    """What a destination does, to follow its name: "does not answer (connect)"; empty if nothing is known."""
    if code in set(TransportFailure):
        return f"{_SHORT[TransportFailure(code)]} ({code})"
    return f"answers {code}" if _STATUS.fullmatch(code) and code != "0000" else ""
