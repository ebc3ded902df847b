"""Destinations that speak DICOM (PS3.4 B, C and PS3.8): C-STORE over an association, proof by C-FIND.

An association is asked for what the first object needs, and for what the others of its batch need as far as 128
contexts last; objects of two scanners share none where the destination is called as the scanner. A refused
context is that object's matter alone (PERMANENT), all else that goes wrong breaks the association.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.dicom import charset
from gateway.dicom.associate import ProposedContext, RoleSelection
from gateway.dicom.elements import DataSet, Element, ElementError, encode, parse, text_of
from gateway.dicom.negotiation import NATIVE, STORAGE_COMMITMENT, STUDY_ROOT_FIND, propose
from gateway.domain.model import UID, Instance, TemporaryFailure
from gateway.domain.retry import Outcome, classify_store_status, classify_transport
from gateway.domain.retry import TransportFailure as Failed
from gateway.net.dicom_client import Peer, Requestor
from gateway.net.dicom_socket import Allow
from gateway.roles.forward.learned import Learned
from gateway.roles.forward.sending import Opened, Wanted, context_of, covers, send, wanted_contexts
from gateway.roles.forward.target import Held, by_series

UIDS_PER_QUERY = 50
_CHARSET, _NONE = 0x00080005, Element("CS", b"")
_LEVEL, _INSTANCE, _STUDY, _SERIES = 0x00080052, 0x00080018, 0x0020000D, 0x0020000E


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimse:
    """A DICOM node (`Way`)."""

    peer: Callable[[str], Peer]
    """How to call it on behalf of a scanner's AE title; "" where there is no scanner."""
    as_scanner: bool
    """The calling AE title is the scanner's: objects of two scanners never share an association."""
    commits_as_scanner: bool
    """So is that of who asks for storage commitment, and whom the destination tells."""
    learned: Learned

    def open(self, found: Sequence[Instance], *, allow: Allow, offered: frozenset[str]) -> DimseLine:
        """Raises `TemporaryFailure`."""
        calling = self.caller_for(found[0])
        same_caller = (one for one in found if self.caller_for(one) == calling)
        wanted = wanted_contexts(same_caller, offered=offered, refused=self.learned.refused)
        contexts = propose(wanted)
        requestor = Requestor.connect(self.peer(calling), contexts)
        accepted = [(context.abstract_syntax, context.transfer_syntax) for context in requestor.contexts]
        self.learned.record(syntaxes_of(contexts), accepted)
        return DimseLine(self, requestor, calling=calling, proposed=wanted, allow=allow)

    def caller_for(self, instance: Instance) -> str:
        """The scanner's AE title that we call with for this instance; "" for our own."""
        return instance.origin.calling_ae if self.as_scanner else ""

    def held(self, wanted: Sequence[Instance]) -> Iterator[Held]:
        """By C-FIND at IMAGE level (PS3.4 C.4.1), on one association. Raises `TemporaryFailure`."""
        with Requestor.connect(self.peer(""), [ProposedContext(1, STUDY_ROOT_FIND, NATIVE)]) as requestor:
            for asked in by_series(wanted, at_most=UIDS_PER_QUERY):
                yield Held(asked, _found(requestor, asked))

    def committer_for(self, instance: Instance) -> str:
        """The scanner's AE title that asks for commitment of this instance; "" for our own."""
        return instance.origin.calling_ae if self.commits_as_scanner else ""

    def shown(self, StudyInstanceUID: str, keywords: Sequence[str]) -> Mapping[str, str] | None:
        """What it shows of a study, by keyword, by C-FIND at STUDY level (PS3.4 C.6.2.1.2); None if it does not know
        it. Raises `TemporaryFailure`."""
        with Requestor.connect(self.peer(""), [ProposedContext(1, STUDY_ROOT_FIND, NATIVE)]) as requestor:
            return _of_study(requestor, StudyInstanceUID, keywords)

    def ask_commitment(self, calling: str) -> Requestor:
        """An association on which storage commitment can be asked. Raises `TemporaryFailure`."""
        contexts = [ProposedContext(1, STORAGE_COMMITMENT, NATIVE)]
        roles = (RoleSelection(STORAGE_COMMITMENT, scu=True, scp=False),)
        return Requestor.connect(self.peer(calling), contexts, roles=roles)


class DimseLine:
    """An association for C-STORE (`Line`)."""

    def __init__(self, node: Dimse, requestor: Requestor, *, calling: str, proposed: Wanted, allow: Allow) -> None:
        self._allow = allow
        self._node = node
        self._requestor = requestor
        self._calling = calling
        self._proposed = proposed

    def fits(self, instance: Instance) -> bool:
        """Whether the association was asked for a context of the instance, under the name it must go by."""
        return self._node.caller_for(instance) == self._calling and covers(self._proposed, instance)

    def accepts(self, instance: Instance) -> frozenset[str]:
        """What was negotiated for its class."""
        return frozenset(
            context.transfer_syntax
            for context in self._requestor.contexts
            if context.abstract_syntax == instance.SOPClassUID
        )

    def store(
        self, instance: Instance, opening: Callable[[Instance], Opened], *, attempts: int, meanwhile: Callable[[], None]
    ) -> Outcome:
        """C-STORE; what the status means by PS3.4 Table B.2-1."""
        with opening(instance) as opened:
            context = context_of(self._requestor, opened.instance)
            if context is None:
                return classify_transport(Failed.CONTEXT_REFUSED)
            status = send(self._requestor, context, opened, meanwhile=meanwhile, allow=self._allow)
        return replace(classify_store_status(status, attempts=attempts), sent_as=context.transfer_syntax)

    def release(self) -> None:
        self._requestor.release()

    def abort(self) -> None:
        self._requestor.abort()


def syntaxes_of(contexts: Sequence[ProposedContext]) -> dict[str, set[str]]:
    """What is proposed, by SOP class."""
    found: dict[str, set[str]] = {}
    for context in contexts:
        found.setdefault(context.abstract_syntax, set()).update(context.transfer_syntaxes)
    return found


def _found(requestor: Requestor, wanted: Sequence[Instance]) -> set[UID]:
    """Which of these instances of one series the destination says it has (PS3.4 C.4.1, list of UID)."""
    context = requestor.context_for(STUDY_ROOT_FIND)
    if context is None:
        raise TemporaryFailure("the destination accepted no context for a query", code="context")
    identifier: DataSet = {
        _INSTANCE: _text("UI", "\\".join(instance.SOPInstanceUID for instance in wanted)),
        _LEVEL: _text("CS", "IMAGE"),
        _STUDY: _text("UI", wanted[0].StudyInstanceUID),
        _SERIES: _text("UI", wanted[0].SeriesInstanceUID),
    }
    found: set[UID] = set()
    for message in requestor.find(context, encode(identifier, context.transfer_syntax)):
        status = message.status
        if status in (0xFF00, 0xFF01):
            found.add(UID(text_of(_read(message.data_set, context.transfer_syntax), _INSTANCE)))
        elif status != 0:
            raise TemporaryFailure(f"the query was answered {status:04X}", code=f"{status:04X}")
    return found


def _of_study(requestor: Requestor, StudyInstanceUID: str, keywords: Sequence[str]) -> dict[str, str] | None:
    context = requestor.context_for(STUDY_ROOT_FIND)
    if context is None:
        raise TemporaryFailure("the destination accepted no context for a query", code="context")
    tags = {tag_for_keyword(keyword) or 0: keyword for keyword in keywords}
    wanted = {tag: Element(dictionary_VR(tag), b"") for tag in tags}
    identifier: DataSet = {_LEVEL: _text("CS", "STUDY"), _STUDY: _text("UI", StudyInstanceUID), **wanted}
    found: dict[str, str] | None = None
    for message in requestor.find(context, encode(identifier, context.transfer_syntax)):
        status = message.status
        if status in (0xFF00, 0xFF01):
            answer = _read(message.data_set, context.transfer_syntax)
            names = charset.character_sets(
                value if isinstance(value := answer.get(_CHARSET, _NONE).value, bytes) else b""
            )
            found = {
                keyword: charset.decode(element.value, element.vr, names)
                for tag, keyword in tags.items()
                if (element := answer.get(tag)) is not None and isinstance(element.value, bytes)
            }
        elif status != 0:
            raise TemporaryFailure(f"the query was answered {status:04X}", code=f"{status:04X}")
    return found


def _read(data_set: bytes | bytearray, transfer_syntax: str) -> DataSet:
    """Raises TemporaryFailure if it can't be read: that proves nothing."""
    try:
        return parse(bytes(data_set), transfer_syntax)
    except ElementError as error:
        raise TemporaryFailure(f"the destination's answer can't be read: {error}", code="unreadable") from error


def _text(vr: str, value: str) -> Element:
    raw = value.encode("latin-1", "replace")
    return Element(vr, raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2))
