"""By what a message names a patient, and by what it does not."""

from __future__ import annotations

import pytest

from gateway.domain.hl7_naming import names_patient

MSH = b"MSH|^~\\&|R|N|E|C|20260304||ORM^O01|1|P|2.3.1\r"


@pytest.mark.parametrize(
    "raw",
    [
        MSH + b"PID|1||P1^^^NORD_MRN||TEST^ADA\r",
        MSH + b"PID|1||99^^^OTHER~P1^^^NORD_MRN\r",
        MSH + b"PID|1|P1\r",
        MSH + b"PID|1||2\rMRG|P1^^^NORD_MRN\r",
        b"\x0b" + MSH + b"PID|1||P1\r\x1c\r",
        MSH.replace(b"\r", b"\r\n") + b"PID|1||P1\n",
        b"MSH*:?!%*R*N\rPID*1**P1:::X?2\r",
        MSH + b"PID|1||2\r" + MSH + b"PID|1||P1\r",
        b"PID|1||P1\r",
        b'{"id": "1", "patient": {"identifiers": [{"value": "2"}, {"value": "P1"}]}}',
    ],
)
def test_named(raw: bytes) -> None:
    assert names_patient(raw, "P1")


@pytest.mark.parametrize(
    "raw",
    [
        MSH + b"PID|1||P10^^^NORD_MRN\r",
        MSH + b"PID|1||p1\r",
        MSH + b"PID|P1||2^^^P1||P1^P1\rORC|NW|P1\r",
        b"",
        b"MSH|\rPID|\r",
        b"\x00\xff PID|||P1",
        b'{"patient": null, "id": "P1"}',
        b"{P1",
        b'{"patient": ' + b"[" * 100_000,  # one such file kept the patient from being erased at all
    ],
)
def test_not_named(raw: bytes) -> None:
    assert not names_patient(raw, "P1")


def test_a_number_with_a_separator_or_an_umlaut() -> None:
    assert names_patient(MSH + b"PID|1||A\\T\\B\r", "A&B")
    assert names_patient(MSH + "PID|1||M\u00dc1\r".encode("latin-1"), "M\u00dc1")
    assert names_patient(MSH + "PID|1||M\u00dc1\r".encode(), "M\u00dc1")
