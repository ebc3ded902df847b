"""How one object goes over an association: which contexts it needs, which one it takes, and its bytes.

The bytes are those of the file, by `sendfile`, wherever the peer takes the syntax the object came in.
Only an odd data set gets the byte that makes it even. A patch makes a new header in front of the same pixels,
which still go by `sendfile`; what is compared with the receipt is the file as it is. Where the peer does not
take the syntax, a native object is converted without touching its pixels; an encapsulated one is not decoded
here, so its context counts as refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.dicom.associate import MAX_CONTEXTS
from gateway.dicom.association import AcceptedContext
from gateway.dicom.convert import Extent, Segment, converted, length_of, moved
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.elements import ElementError
from gateway.dicom.negotiation import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    contexts_needed,
)
from gateway.domain.edits import Patch
from gateway.domain.model import Instance, PermanentFailure
from gateway.domain.retry import TransportFailure as Failed
from gateway.net.dicom_client import Requestor
from gateway.net.dicom_socket import Allow
from gateway.roles.forward.patching import patched
from gateway.spool.files import data_set_start
from gateway.spool.mapping import mapped

CONVERTIBLE = frozenset({EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED})

Wanted = dict[str, frozenset[str]]
"""Transfer syntaxes to propose, by SOP Class UID."""


class SpoolDamaged(PermanentFailure):
    """The file is not what was received: it must not be sent."""


def wanted_contexts(
    instances: Iterable[Instance],
    *,
    offered: frozenset[str] = frozenset(),
    refused: Callable[[str], frozenset[str]] = lambda _: frozenset(),
) -> Wanted:
    """What to propose for these instances, as many of them as fit into 128 contexts, first come first.

    `offered`: the transfer syntaxes that native ones can be compressed to. What is encapsulated may be made native.
    `refused` says which of these the destination did not take for a SOP class lately: they are not worth a context.
    """
    wanted: Wanted = {}
    for instance in instances:
        syntaxes: set[str] = {instance.TransferSyntaxUID, EXPLICIT_VR_LITTLE_ENDIAN}
        if instance.TransferSyntaxUID in CONVERTIBLE:
            syntaxes.update(offered - refused(instance.SOPClassUID))
        more = {**wanted, instance.SOPClassUID: wanted.get(instance.SOPClassUID, frozenset()) | syntaxes}
        if contexts_needed(more) > MAX_CONTEXTS:
            break
        wanted = more
    return wanted


def covers(proposed: Wanted, instance: Instance) -> bool:
    """Whether an association that proposed this was asked for a context of the instance."""
    return instance.TransferSyntaxUID in proposed.get(instance.SOPClassUID, frozenset())


def context_of(requestor: Requestor, instance: Instance) -> AcceptedContext | None:
    """The context to send the instance on: as it is if possible, else converted; None if there is none."""
    order: list[str] = [instance.TransferSyntaxUID]
    if instance.TransferSyntaxUID in CONVERTIBLE:
        order += [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN]
    found = (requestor.context_for(instance.SOPClassUID, syntax) for syntax in order)
    return next((context for context in found if context is not None), None)


class Opened:
    """A file of the spool, open, and found to be what was received. Closes with its context."""

    def __init__(self, instance: Instance, path: Path, *, patch: Patch | None = None) -> None:
        """Raises `SpoolDamaged` if the file is gone or differs from what was received."""
        self.instance = instance
        self.patch = patch
        """For its way out; may be given until then."""
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SpoolDamaged(f"the spool file can't be opened: {error.strerror}", code="file-missing") from error
        try:
            self.start = _verified(self.descriptor, instance)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.descriptor)


def send(
    requestor: Requestor, context: AcceptedContext, opened: Opened, *, meanwhile: Callable[[], None], allow: Allow
) -> int:
    """C-STORE of the object; the status that was answered. `meanwhile` is called while the peer works on it; `allow`
    says how many bytes may go.

    Raises `PermanentFailure` if it can't be converted to the context's syntax or patched, and the failures of
    `Requestor.store`.
    """
    instance = opened.instance
    command = CommandSet(
        CommandField=CommandField.C_STORE_RQ,
        AffectedSOPClassUID=instance.SOPClassUID,
        AffectedSOPInstanceUID=instance.SOPInstanceUID,
        MessageID=requestor.next_message_id(),
        Priority=instance.origin.priority if instance.origin.priority in (0, 1, 2) else 0,
        CommandDataSetType=1,
    )
    segments = segments_of(opened, context.transfer_syntax)
    response = requestor.store(context, command, segments, opened.descriptor, meanwhile=meanwhile, allow=allow)
    assert response.Status is not None
    return response.Status


def _verified(source: int, instance: Instance) -> int:
    """Where the data set begins, after its hash was compared with the one of its receipt."""
    try:
        start = data_set_start(source, instance)
    except OSError as error:
        raise SpoolDamaged(f"the spool file can't be read: {type(error).__name__}", code="file-unreadable") from error
    if start is None:
        raise SpoolDamaged("the spool file differs from what was received", code="content-hash")
    return start


def segments_of(opened: Opened, target: str) -> list[Segment]:
    """The data set as it leaves in that transfer syntax: bytes, and extents of the file.

    Raises `PermanentFailure` if it can't be converted, and `Unpatchable`, which is one, if it can't be patched.
    """
    instance, start = opened.instance, opened.start
    if opened.patch is None and target == instance.TransferSyntaxUID:
        whole = Extent(offset=start, length=instance.size)
        # A deflated data set may have come with an odd length; what leaves is even (PS3.5 A.5, PS3.8 E.1)
        return [whole, b"\0"] if instance.size % 2 else [whole]
    try:
        with mapped(opened.descriptor) as view, view[start:] as dataset:
            if opened.patch is not None:
                made = patched(dataset, instance.TransferSyntaxUID, opened.patch, target=target)
            else:
                made = converted(dataset, instance.TransferSyntaxUID, target)
    except ElementError as error:
        raise PermanentFailure(str(error), code=Failed.CONTEXT_REFUSED) from error
    segments = [moved(segment, start) for segment in made]
    return [*segments, b"\0"] if length_of(segments) % 2 else segments
