"""Codes, counts and ages of the books in words an operator can act on, the same on every screen.

What is promised: a command that quotes a peer is safe to paste. What is done about each alarm: `gateway.domain.issues`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.domain.retry import TransportFailure, classify_store_status, classify_transport, reason_of_http

_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_PASTED: Final = re.compile(r"[ -~]{1,16}")
_STATUS: Final = re.compile(r"[0-9A-F]{4}")
_HTTP: Final = re.compile(r"http-[1-5][0-9]{2}")
_OUR_OWN: Final = {
    "file-missing": "our file is gone; send the study again from the scanner, and check the disk",
    "file-unreadable": "our file can't be read; send the study again from the scanner, and check the disk",
    "content-hash": "our file is not what was received; send the study again from the scanner, and check the disk",
    "context": "the peer accepted no presentation context; add the service at the peer",
    "cancelled": "interrupted; tried again by itself",
    "resolve": "check the host name, and the name server of this box",
    "TLS": "check the certificates on both sides, and that the port is one for TLS",
    "send": "the connection broke while we sent; check the network and the peer's log",
    "receive": "the connection broke before the answer; check the network and the peer's log",
    "silence": "no answer in time; check the peer and the network",
    "abort": "the peer broke the association off; look at its log",
    "closed": "the peer closed the association; look at its log",
    "files": "a certificate or key of ours can't be used; check ca, certificate and key, their owner and mode",
    "secret": "its token or password can't be read; check the file, its owner and mode",
    "unreadable": "its answer can't be read; look at its log, and for a proxy's page before it",
    "share-away": "the folder is not the prepared one; mount the share, or run `gateway destinations test --prepare`",
    "share-full": "no space at the folder; make room there",
    "share": "the folder can't be written; check the share, its owner and mode",
    "read-back": "what was written reads back differently; check the share and its disks",
}
_SHORT: Final = {
    TransportFailure.CONNECT: "does not answer",
    TransportFailure.TIMEOUT: "does not answer in time",
    TransportFailure.ABORTED: "breaks off",
    TransportFailure.REJECTED: "rejects our association",
    TransportFailure.CONTEXT_REFUSED: "takes the images in no form we have",
}


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
    if _HTTP.fullmatch(code):
        return reason_of_http(code)
    return "look for this code in the gateway's log"


def in_short(code: str) -> str:
    """What a destination does, to follow its name: "does not answer (connect)"; empty if nothing is known."""
    if code in set(TransportFailure):
        return f"{_SHORT[TransportFailure(code)]} ({code})"
    return f"answers {code}" if _STATUS.fullmatch(code) and code != "0000" else ""


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that fits: "3 h"; a time to come is "0 s"."""
    seconds = max(0, int((now - since) / timedelta(seconds=1)))
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def span(length: timedelta) -> str:
    """How long, in the largest unit that fits: "31 h"."""
    return age(_EPOCH, _EPOCH + length)


def images(count: int) -> str:
    """ "1 image", "1,204 images"."""
    return f"{count:,} image{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """The text with a replacement for what a terminal could take for a command, or no encoding can carry."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def admission(calling_ae: str) -> str:
    """The command that admits a caller, safe to paste into a shell; empty if its title is none (PS3.5 6.2)."""
    if _PASTED.fullmatch(calling_ae) is None or "\\" in calling_ae or calling_ae != calling_ae.strip():
        return ""
    quoted = calling_ae.replace("'", "'\"'\"'")
    return f"gateway peers add {'-- ' if calling_ae.startswith('-') else ''}'{quoted}'"
