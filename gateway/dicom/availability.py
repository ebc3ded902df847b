"""Instance Availability Notification (PS3.4 R.3.2) as bytes: which images of a study can be had, and where. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.elements import DataSet, Element, encode

INSTANCE_AVAILABILITY: Final = "1.2.840.10008.5.1.4.33"

_PERFORMED_STEPS, _SERIES, _INSTANCES = 0x00081111, 0x00081115, 0x00081199
_STUDY_UID, _SERIES_UID, _CLASS_UID, _INSTANCE_UID = 0x0020000D, 0x0020000E, 0x00081150, 0x00081155
_AVAILABILITY, _RETRIEVE_AE = 0x00080056, 0x00080054


class Available(NamedTuple):
    """One image."""

    SeriesInstanceUID: str
    SOPClassUID: str
    SOPInstanceUID: str


def notification(
    uid: str,
    StudyInstanceUID: str,
    images: Iterable[Available],
    *,
    retrieve_from: Iterable[str],
    transfer_syntax: str,
    message_id: int,
) -> tuple[CommandSet, bytes]:
    """N-CREATE-RQ of a notification: these images are online at the AE titles of `retrieve_from`."""
    titles = "\\".join(retrieve_from)
    by_series: dict[str, list[DataSet]] = {}
    for image in images:
        by_series.setdefault(image.SeriesInstanceUID, []).append(_image(image, titles))
    series: list[DataSet] = [
        {_INSTANCES: Element("SQ", items), _SERIES_UID: _text("UI", name)} for name, items in by_series.items()
    ]
    dataset: DataSet = {
        _PERFORMED_STEPS: Element("SQ", []),
        _SERIES: Element("SQ", series),
        _STUDY_UID: _text("UI", StudyInstanceUID),
    }
    command = CommandSet(
        CommandField=CommandField.N_CREATE_RQ,
        AffectedSOPClassUID=INSTANCE_AVAILABILITY,
        AffectedSOPInstanceUID=uid,
        MessageID=message_id,
        CommandDataSetType=1,
    )
    return command, encode(dataset, transfer_syntax)


def _image(image: Available, titles: str) -> DataSet:
    return {
        _RETRIEVE_AE: _text("AE", titles),
        _AVAILABILITY: _text("CS", "ONLINE"),
        _CLASS_UID: _text("UI", image.SOPClassUID),
        _INSTANCE_UID: _text("UI", image.SOPInstanceUID),
    }


def _text(vr: str, value: str) -> Element:
    raw = value.encode("latin-1", "replace")
    return Element(vr, raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2))
