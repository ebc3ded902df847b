"""The synthetic patient: the names under which it goes through our own doors, and its order.

What is promised: nothing of it can be taken for a person's. Its names are reserved (no [[scanner]] may have the AE
title), each round has numbers of its own, and its UIDs are random ones under 2.25 (PS3.5 B.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.domain.model import AETitle, DestinationName, SourceName

SCANNER: Final = AETitle("GW-SELFTEST")
"""The AE title that its scanner calls with; taken from this machine alone."""
SENDER: Final = SourceName("GW-SELFTEST")
"""MSH-3 of its orders."""
SINK: Final = DestinationName("loopback")
"""Where its images go."""
SINK_AE: Final = AETitle("LOOPBACK")
SINK_FILE: Final = "sink.port"
"""In the folder of the synthetic books: where forward finds the loop-back destination of this round."""
NAME: Final = "SYNTHETIC^SELFTEST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One time that it comes."""

    number: str
    """Eight hexadecimal digits, random."""
    StudyInstanceUID: str
    at: datetime
    """When, in the site's zone."""

    @property
    def PatientID(self) -> str:
        return f"SELFTEST-{self.number}"

    @property
    def AccessionNumber(self) -> str:
        return f"ST{self.number}"

    def order(self) -> bytes:
        """The order (ORM^O01 of HL7 2.3.1, IHE RAD-4) for one CT, now."""
        at, number = f"{self.at:%Y%m%d%H%M%S}", self.AccessionNumber
        named, when = f"{number}^SELFTEST", f"1^^^{at}^^R"
        told = (
            ("PID", {1: "1", 3: f"{self.PatientID}^^^SELFTEST^MR", 5: NAME, 7: "19700101", 8: "O"}),
            ("PV1", {1: "1", 2: "O"}),
            ("ORC", {1: "NW", 2: named, 3: named, 5: "SC", 7: when, 9: at}),
            ("OBR", {1: "1", 2: named, 3: named, 4: "SELFTEST^SELFTEST^L", 24: "CT", 27: when} | self._numbers),
            ("ZDS", {1: f"{self.StudyInstanceUID}^SELFTEST^Application^DICOM"}),
        )
        header = f"MSH|^~\\&|{SENDER}|SELFTEST|GATEWAY|SELFTEST|{at}||ORM^O01|{number}|P|2.3.1"
        return "".join(f"{one}\r" for one in (header, *(_segment(*each) for each in told))).encode("ascii")

    @property
    def _numbers(self) -> dict[int, str]:
        return {18: self.AccessionNumber, 19: f"RP{self.number}", 20: f"SPS{self.number}"}


def _segment(name: str, fields: Mapping[int, str]) -> str:
    return "|".join((name, *(fields.get(number, "") for number in range(1, max(fields) + 1))))
