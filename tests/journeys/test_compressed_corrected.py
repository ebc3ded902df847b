"""Objects that are both corrected and compressed on their way: the picture of one decoder, the header of the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.domain.check_rules import CheckRule
from gateway.domain.compression import DEFLATED, JPEG_2000, JPEG_LS
from gateway.domain.identity_model import CheckPolicy
from gateway.domain.model import DeliveryState, DestinationName
from gateway.domain.task import Mode
from gateway.roles.forward import CheckRules
from tests.codec import corpus, decoders
from tests.codec.objects import part10_file
from tests.journeys.forwarding import UNCHECKED, forwarding, target
from tests.peers import objects
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
OBJECTS: dict[str, tuple[Callable[[str], FileDataset], str]] = {
    "gray": (lambda name: corpus.gray(name, frames=4), ExplicitVRLittleEndian),
    "implicit, signed": (
        lambda name: corpus.gray(name, stored=14, signed=True, frames=4),
        ImplicitVRLittleEndian,
    ),
    "overlay above High Bit": (lambda name: corpus.gray(name, frames=4, above=1 << 14), ExplicitVRLittleEndian),
    "RGB": (lambda name: corpus.colour(name, frames=4), ExplicitVRLittleEndian),
    "segmentation": (corpus.segmentation, ExplicitVRLittleEndian),
}
TAKEN = {"jls": [*NATIVE, JPEG_LS, DEFLATED], "j2k": [*NATIVE, JPEG_2000], "old": NATIVE}
FORMS = {
    "gray": {"jls": JPEG_LS, "j2k": JPEG_2000},
    "implicit, signed": {"jls": JPEG_LS, "j2k": JPEG_2000},
    "overlay above High Bit": {"jls": JPEG_LS},
    "RGB": {"jls": JPEG_LS, "j2k": JPEG_2000},
    "segmentation": {"jls": DEFLATED},
}
"""What goes out in another form than it came, by what a destination takes."""
OURS = {"InstanceCoercionDateTime", "ContributingEquipmentSequence", "OriginalAttributesSequence"}
RULE = CheckRule(
    id="place",
    version=1,
    when=(),
    check=(),
    invalid=frozenset(),
    constants=((0x00080080, "North General"), (0x00081010, "CT-ROOM-1")),
    repairs=(),
)
RULES: CheckRules = replace(UNCHECKED, mode=Mode.APPLY, policy=CheckPolicy(), headers=(RULE,))
CHANGED = {"InstitutionName", "StationName"}
REQUIRED = {"PixelData", "PhotometricInterpretation"}
"""What may differ because the transfer syntax asks for it."""


def differing(one: Dataset, other: Dataset) -> set[str]:
    """Keywords of the elements that are not the same in both."""
    return {keyword_for_tag(tag) for tag in {*one.keys(), *other.keys()} if one.get(tag) != other.get(tag)}


def test_each_form_of_a_corrected_object_holds_its_picture_and_its_new_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: make(name) for name, (make, _) in OBJECTS.items()}
    paths = {name: objects.write(tmp_path, made[name], transfer_syntax=OBJECTS[name][1]) for name in OBJECTS}
    with ExitStack() as stack:
        pacs = {name: stack.enter_context(storage_scp(transfer_syntaxes=taken)) for name, taken in TAKEN.items()}
        targets = [target(one.port, name=DestinationName(name), lossless=True) for name, one in pacs.items()]
        role = stack.enter_context(forwarding(tmp_path / "gw", targets, monkeypatch=monkeypatch, check=RULES))
        uids = {name: role.put(path) for name, path in paths.items()}
        three = [DeliveryState.CONFIRMED] * len(TAKEN)
        role.until(lambda: all(role.states().get(uid) == three for uid in uids.values()), what="all have all")
        got = {(name, one): pacs[one].stored(uid) for name, uid in uids.items() for one in pacs}
    for (name, one), (received,) in got.items():
        before, expected = dcmread(paths[name]), FORMS[name].get(one)
        assert received.TransferSyntaxUID == expected or (expected is None and received.TransferSyntaxUID in NATIVE)
        path = tmp_path / f"{name}-{one}.dcm"
        part10_file(path, received.dataset, received.SOPClassUID, received.SOPInstanceUID, received.TransferSyntaxUID)
        after = dcmread(path)
        allowed = REQUIRED if expected in {JPEG_LS, JPEG_2000} else set()
        assert differing(before, after) - allowed == CHANGED | OURS, (name, one)
        (record,) = after.OriginalAttributesSequence
        assert {element.keyword for element in record.ModifiedAttributesSequence[0]} == CHANGED
        picture = decoders.pixels(path, expected) if expected else after.PixelData
        assert picture == before.PixelData, (name, one)
