"""What support sees: of a configuration its shape, of a log what may leave; the same stands for the same."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.config import parse
from gateway.domain.diagnosis import Pseudonyms, excerpt, redacted

FILE = """
[site]
name = "saint-mary"
timezone = "Europe/Berlin"
[box]
id = "ct1-room"
state = "/srv/secret-place"
[[scanner]]
ae = "MARYCT1"
address = ["10.20.30.40"]
[[destination]]
name = "mary-pacs"
host = "pacs.saint-mary.example"
port = 11104
ae = "MARYPACS"
confirm = "query"
compression = "none"
retention = "400d"
[[destination]]
name = "mary-vna"
kind = "dicomweb"
url = "https://pacs.saint-mary.example/dicom-web"
confirm = "query"
compression = "none"
[routing]
default = ["mary-pacs"]
unverified = "mary-pacs"
"""


def test_of_a_configuration_only_shapes_and_listed_words_are_seen() -> None:
    seen = redacted(parse(FILE, base=Path("/nowhere")).model_dump(mode="json"), Pseudonyms())
    pacs, vna = seen["destination"]
    assert (pacs["port"], pacs["confirm"], pacs["compression"]) == (11104, "query", "none")
    assert pacs["retention"].startswith("P")
    assert seen["routing"]["default"] == [pacs["name"]]
    assert pacs["name"] != vna["name"]
    assert vna["url"].startswith("text of ")
    assert re.findall("(?i)mary|secret|10.20|example", str(seen)) == []


def test_of_a_log_only_what_may_leave_is_seen() -> None:
    lines = [
        "timestamp=2026-11-22T08:00:00Z level=info event=attempt instance=0f0f0f0f0f0f0f0f0f0f0f dest=mary-pacs",
        r'timestamp=2026-11-22T08:00:01Z event="not confirmed" dest="DOE^JANE" code="pat \"x\" 1" rows=7',
        "Traceback (most recent call last): DOE^JANE",
    ]
    first, second = excerpt(lines, names={"mary-pacs"}, pseudonyms=Pseudonyms())
    assert first["values"] == {"instance": "0f" * 11, "dest": "name-1"}
    assert (first["event"], second["event"]) == ("attempt", "not confirmed")
    assert second["values"] == {"rows": "7", "left_out": "2"}
