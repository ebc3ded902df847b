"""The report: one signed JSON, the same as a page to print and file, and JUnit's form for programs.

What is promised: the signature (Ed25519, the box's key) is over the report's canonical form: JSON in ASCII, keys in
order, no blanks, numbers as Python writes them. The page is made of the signed report alone and carries it, so whoever
checks a page makes it again and compares every byte. Nothing in it is of a patient.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined

from gateway.net.box_key import BoxKey, fingerprint_of, holds
from hwtests.outcome import Line, State

FORMAT: Final = "gateway-commission/1"
ACCEPTED, INCOMPLETE, REFUSED = "accepted", "not complete", "not accepted"
_EMBEDDED: Final = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)
MOST_READ: Final = 16 << 20


class NoReport(Exception):
    """A file is no report, or not as it was signed; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What one commissioning leaves."""

    json: Path
    html: Path
    junit: Path

    @classmethod
    def at(cls, folder: Path, stem: str) -> Files:
        return cls(json=folder / f"{stem}.json", html=folder / f"{stem}.html", junit=folder / f"{stem}.xml")


def result_of(lines: Sequence[Line]) -> str:
    """The one word: every line that was asked for passed, or is about what need not be there."""
    if any(line.state is State.FAILED for line in lines):
        return REFUSED
    left = [line for line in lines if line.state is State.NOT_TESTED and line.asked]
    passed = any(line.state is State.PASSED for line in lines)
    return INCOMPLETE if left or not passed else ACCEPTED


def report_of(head: Mapping[str, Any], lines: Sequence[Line], junit: Path) -> dict[str, Any]:
    """Everything that is signed. `head` is what the lines are about: box, profile, times, who."""
    counted = Counter(str(line.state) for line in lines)
    return {
        **head,
        "format": FORMAT,
        "result": result_of(lines),
        "counts": {str(state): counted[str(state)] for state in State},
        "lines": [line.as_json() for line in lines],
        "junit_sha256": sha256(junit.read_bytes()).hexdigest(),
    }


def write(report: Mapping[str, Any], key: BoxKey, to: Files) -> None:
    """Sign it, and write JSON and page."""
    signature = base64.b64encode(key.sign(canonical(report))).decode()
    signed = {
        "report": report,
        "signature": {"algorithm": "Ed25519", "public_key": key.public, "value": signature},
    }
    to.json.write_text(json.dumps(signed, indent=1) + "\n", "ascii")
    to.html.write_text(page(signed), "utf-8")


def canonical(report: Mapping[str, Any]) -> bytes:
    """The bytes that are signed."""
    return json.dumps(report, sort_keys=True, separators=(",", ":")).encode("ascii")


def verify(path: Path) -> tuple[dict[str, Any], str]:
    """Check a report or its page: the report, and the public key that it says signed it. Raises NoReport."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_READ).decode("utf-8")
        embedded = _EMBEDDED.search(text)
        signed = json.loads(embedded[1] if embedded else text)
        report, signature = signed["report"], signed["signature"]
        public, value = str(signature["public_key"]), base64.b64decode(signature["value"], validate=True)
    except OSError as error:
        raise NoReport(f"it can't be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise NoReport("it is no report of a commissioning") from None
    if not holds(public, value, canonical(report)):
        raise NoReport("the signature does not hold: the report was changed after it was signed")
    if embedded and page(signed) != text:
        raise NoReport("the page does not show what was signed, or another version made it; check the JSON beside it")
    return report, public


def page(signed: Mapping[str, Any]) -> str:
    """The report as a page of its own, without anything from elsewhere."""
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(files("hwtests").joinpath("report.html").read_text("utf-8"))
    embedded = json.dumps(signed).replace("<", "\\u003c")
    fingerprint = fingerprint_of(signed["signature"]["public_key"])
    return template.render(report=signed["report"], fingerprint=fingerprint, embedded=embedded)
