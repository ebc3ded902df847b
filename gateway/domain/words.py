"""Codes, counts and ages of the books in words an operator can act on, the same on every screen.

What is promised: every alarm code has a next step (a closed list: a test looks for others), and a command that
quotes a peer is safe to paste.
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
    "secret": "its token or password can't be read; check the file, its owner and mode",
    "unreadable": "its answer can't be read; look at its log",
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
    "destination-unreachable": "Check that {subject} runs, that it can be reached at its address and port, and that it"
    " knows our AE title; we try again by ourselves.",
    "delivery-late": "Check that {subject} runs and can be reached; the images are sent by themselves when it can.",
    "compression-refused": "{subject} took images as they came that it did not take compressed, and gets their class so"
    " since: look at `gateway compression`; when the cause is gone, `gateway compression allow {subject}`.",
    "compression-mismatch": "A codec did not give back what went in, and such images go out as they came: have the"
    " memory of the machine checked, install the newest release, then `gateway compression allow --codecs`.",
    "codecs-unavailable": "No codec process starts, so everything goes out as it came: look for `codec` in the log, and"
    " at [compression] memory; then restart the gateway.",
    "no-route": "Images have nowhere to go: name a destination in [routing] default, then restart the gateway.",
    "routing-rules": "The routing rules could not look at an image, and it went to the default destinations: see the"
    " log for `routed by default`, then `gateway route test INSTANCE_ID`.",
    "disk-high": "The disk of the spool is above its high mark, and all that is confirmed was let go: bring back the"
    " destination that is behind (`gateway queue`), or give the spool a larger disk.",
    "disk-full": "New images are refused (A700) as the disk's reserve is reached; nothing is lost, scanners send again:"
    " bring back the destination that is behind (`gateway queue`), or give the spool a larger disk.",
    "disk-short": "There is room for less than [disk] warning at the rate that images come, should destinations confirm"
    " nothing more: see `gateway status`, and bring back the destination that is behind (`gateway queue`).",
    "availability-refused": "{subject} does not take notifications of what is available: allow them there, or set"
    " ian = false in its [[ris]] section.",
    "not-committed": "{subject} did not promise to keep images, so they are sent again: look at its log for storage"
    " commitment.",
    "desk-unreconciled": "The order of desk entry {subject} has not come: look at `gateway desk suggest {subject}`,"
    " then `gateway desk reconcile {subject} --to ACCESSION`, or `gateway desk cancel {subject}`.",
    "desk-doubt": "An order carries a number of desk entry {subject} and may be another patient's: compare them with"
    " `gateway desk suggest {subject}`, then `gateway desk reconcile {subject} --to ACCESSION`, or correct the order.",
    "correction-rate": "{subject} is corrected far more often than before, so nothing of it is corrected any more:"
    " look at its settings and at `gateway tasks`, then `gateway check resume`.",
    "corrections-to-one-patient": "One patient got correction after correction, so nothing is corrected any more: look"
    " at `gateway check summary` and at the orders, then `gateway check resume`.",
    "orders-stale": "No source of orders was heard for a day, {subject} among them, so nothing is corrected: look at"
    " their connections; it ends by itself.",
    "study-held": "Images wait for a person, as {subject} says: look at it with `gateway tasks`, then `gateway decide`,"
    " `gateway release` or `gateway reject` it.",
    "worklist-stale": "Check that {subject} runs and can be reached; meanwhile scanners are answered from the copy, as"
    " `gateway worklist` shows it.",
    "worklist-conflict": "{subject} have the same step for two patients: compare the order in both and correct the one"
    " that is wrong; until then no image is corrected by it.",
    "worklist-capped": "{subject} asks for more steps than its profile lets it take, so it is shown those nearest to"
    " now: narrow what it asks for by station or modality, or raise max_answers in a profile of its own.",
    "mpps-late": "Check that {subject} runs, can be reached and takes performed procedure steps from our AE title; they"
    " are sent by themselves when it does. If it never will, set mpps = false in its section and run"
    " `gateway mpps dismiss --to {subject}`.",
    "mpps-refused": "Look at `gateway mpps --refused`; when the cause is gone, `gateway mpps retry --to {subject}`.",
    "orders-out-late": "Check that {subject} takes HL7 messages at the host and port of its orders_out; what waits is"
    " sent by itself when it can, as `gateway orders out list` shows.",
    "orders-out-refused": "Look at `gateway orders out list`; when the cause is gone, `gateway orders out retry --to"
    " {subject}`, or book it there by hand and `gateway orders out dismiss --to {subject}`.",
    "order-identity-conflict": "An order of {subject} names another patient than the one we know, and was set aside:"
    " look at `gateway orders conflicts`, correct it in the RIS, then settle it there.",
    "hl7-not-understood": "Messages of {subject} were kept and not used: look at `gateway messages list --waiting`, act"
    " on each or have it corrected and sent again, then `gateway messages seen`.",
    "folder-refused": "Files of orders were refused: look into `failed` of the folder of [orders], correct what sent"
    " them, then take them away there.",
    "folder-away": "The folder of [orders] can't be read or written: check that it is mounted, and its owner.",
    "worklist-files": "Worklist files in the folder of [orders] can't be read, or all went at once, so their last rows"
    " stay on the worklist: look into the folder and at what writes it.",
    "cancelled-but-performed": "The RIS ended {subject} whose images are here: look at it with `gateway orders show`"
    " and tell the RIS what was done.",
    "order-changed-after-start": "The RIS changed {subject} that is under way: look at `gateway orders show`; its"
    " steps were left as they are.",
    "order-identifier-changed": "The RIS gave {subject} another identifier after a scanner had it: look at it with"
    " `gateway orders show`; the scanner's identifier was kept.",
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
