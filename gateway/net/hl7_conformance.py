"""Whether a message has the structure that its version of HL7 prescribes, asked of `hl7apy` in a process of its own.

Promises: the check can't hold up or harm the process that asks: it has a time limit, a size limit and memory of its
own. What it finds is for the person who connects a sender; nothing that receives messages depends on it, as real
senders break the structure and must be read all the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from tempfile import NamedTemporaryFile
from typing import Any, Final

MESSAGE_MAX: Final = 256 * 1024
"""Bytes: hl7apy takes about 2 ms a field."""
MOST_FINDINGS: Final = 200
LIMIT: Final = timedelta(seconds=30)


def findings(text: str, *, limit: timedelta = LIMIT) -> list[str]:
    """What is wrong with the structure of a message (its segments ended by CR); empty if nothing is."""
    raw = text.encode("utf-8")
    if len(raw) > MESSAGE_MAX:
        return [f"not checked: {len(raw)} bytes are more than {MESSAGE_MAX}"]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            [sys.executable, "-m", __name__],
            input=raw,
            capture_output=True,
            timeout=limit.total_seconds(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"not checked: it took more than {limit.total_seconds():g} s"]
    if done.returncode:
        return [f"not checked: the check ended with status {done.returncode}"]
    found: list[str] = json.loads(done.stdout)
    return found


def _check(text: str) -> list[str]:
    # The worker's alone: its tables take memory and a moment
    from hl7apy import parser  # noqa: PLC0415
    from hl7apy.exceptions import HL7apyException  # noqa: PLC0415
    from hl7apy.validation import Validator  # noqa: PLC0415

    try:
        grouped: Any = parser.parse_message(text, find_groups=True)
        flat: Any = parser.parse_message(text, find_groups=False)
    except Exception as error:  # noqa: BLE001  whatever a library meets in a foreign message is a finding
        return [f"can't be read by the rules of its version: {type(error).__name__}"]
    # hl7apy leaves out, without a word, what is not in the structure
    outside = Counter(_segments(flat)) - Counter(_segments(grouped))
    told = [f"Segment {name} is not in the structure {grouped.name}" for name in outside.elements()]
    with NamedTemporaryFile("r", encoding="utf-8") as report:
        try:
            Validator.validate(grouped, report_file=report.name)
        except HL7apyException:
            pass  # the first of its findings; all are in the report
        except Exception as error:  # noqa: BLE001  as above
            told.append(f"The check broke off: {type(error).__name__}")
        # Of a choice of segments it asks for every one
        told += [line for line in report.read().splitlines() if "_CHOICE." not in line]
    return list(dict.fromkeys(told))[:MOST_FINDINGS]


def _segments(element: Any) -> Iterator[str]:
    for child in element.children:
        if child.classname == "Segment":
            yield str(child.name)
        else:
            yield from _segments(child)


if __name__ == "__main__":
    json.dump(_check(sys.stdin.buffer.read().decode("utf-8")), sys.stdout)
