"""A-ASSOCIATE-RQ and A-ASSOCIATE-AC (PS3.8 9.3.2, 9.3.3, annex D; PS3.7 annex D) as values and bytes.

The codec is our own because it runs on the event loop that answers scanners: 128 presentation
contexts must cost at most 2 ms. Items nobody knows are skipped, as 9.3.1 demands; items that lie
about their length end the association. Text is latin-1 here: what a peer names goes back as it came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.dicom.pdu import AbortReason, PduError, PduType

APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"
MAX_CONTEXTS = 128
_ITEM = struct.Struct(">BxH")
_FIXED = struct.Struct(">HH16s16s32x")


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context of an A-ASSOCIATE-RQ (9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The answer to one presentation context (9.3.3.2): 0 accepted, 1 user, 2 no reason,
    3 abstract syntax not supported, 4 transfer syntaxes not supported."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU role selection of one SOP class (PS3.7 D.3.3.4), seen from the requestor."""

    sop_class: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """SOP class extended negotiation (PS3.7 D.3.3.5): the bytes are the service class's own."""

    sop_class: str
    application: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInformation:
    """What both sides say of themselves (PS3.8 annex D, PS3.7 annex D.3.3)."""

    max_pdu: int
    """Longest P-DATA-TF the sender of this can receive; 0 is no limit."""
    implementation_class_uid: str = ""
    implementation_version: str = ""
    asynchronous: tuple[int, int] | None = None
    """Operations invoked and performed; None means one of each, 0 no limit."""
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    called_ae: str
    calling_ae: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    protocol_version: int = 1
    application_context: str = APPLICATION_CONTEXT_NAME

    def encode(self) -> bytes:
        items = [_item(0x10, self.application_context.encode("latin-1", "replace"))]
        for context in self.contexts:
            body = struct.pack(">Bxxx", context.id) + _item(0x30, context.abstract_syntax.encode("latin-1", "replace"))
            body += b"".join(_item(0x40, name.encode("latin-1", "replace")) for name in context.transfer_syntaxes)
            items.append(_item(0x20, body))
        return _associate(PduType.ASSOCIATE_RQ, self.called_ae, self.calling_ae, items, self.user)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAccept:
    called_ae: str
    calling_ae: str
    contexts: tuple[ContextResult, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT_NAME

    def encode(self) -> bytes:
        items = [_item(0x10, self.application_context.encode("latin-1", "replace"))]
        for context in self.contexts:
            # 9.3.3.2: the transfer syntax is not significant when the context is refused, but must be there
            syntax = _item(0x40, context.transfer_syntax.encode("latin-1", "replace"))
            items.append(_item(0x21, struct.pack(">BxBx", context.id, context.result) + syntax))
        return _associate(PduType.ASSOCIATE_AC, self.called_ae, self.calling_ae, items, self.user)


def decode_request(body: bytes) -> AssociateRequest:
    """The A-ASSOCIATE-RQ whose bytes behind the PDU header are `body`. Raises `PduError`."""
    version, called, calling = _fixed(body)
    application_context = ""
    contexts: list[ProposedContext] = []
    user = UserInformation(max_pdu=0)
    for kind, start, end in _items(body, _FIXED.size, len(body)):
        if kind == 0x20:
            if len(contexts) == MAX_CONTEXTS:
                raise PduError(f"A-ASSOCIATE-RQ proposes more than {MAX_CONTEXTS} presentation contexts")
            contexts.append(_proposed(body, start, end))
        elif kind == 0x10:
            application_context = _uid(body, start, end)
        elif kind == 0x50:
            user = _user_information(body, start, end)
    if not contexts:
        raise PduError("A-ASSOCIATE-RQ proposes no presentation context; 1 to 128 are allowed")
    if len({context.id for context in contexts}) != len(contexts):
        raise PduError("A-ASSOCIATE-RQ uses a presentation context ID twice")
    return AssociateRequest(
        called_ae=called,
        calling_ae=calling,
        contexts=tuple(contexts),
        user=user,
        protocol_version=version,
        application_context=application_context,
    )


def decode_accept(body: bytes) -> AssociateAccept:
    """The A-ASSOCIATE-AC whose bytes behind the PDU header are `body`. Raises `PduError`."""
    _version, called, calling = _fixed(body)
    contexts: list[ContextResult] = []
    user = UserInformation(max_pdu=0)
    for kind, start, end in _items(body, _FIXED.size, len(body)):
        if kind == 0x21:
            if end - start < 4:
                raise PduError("presentation context result shorter than 4 bytes")
            syntax = ""
            for sub, sub_start, sub_end in _items(body, start + 4, end):
                if sub == 0x40:
                    syntax = _uid(body, sub_start, sub_end)
            contexts.append(ContextResult(body[start], body[start + 2], syntax))
        elif kind == 0x50:
            user = _user_information(body, start, end)
    return AssociateAccept(called_ae=called, calling_ae=calling, contexts=tuple(contexts), user=user)


def _fixed(body: bytes) -> tuple[int, str, str]:
    if len(body) < _FIXED.size:
        raise PduError(f"A-ASSOCIATE has {len(body)} bytes; its fixed part has {_FIXED.size}")
    version, _reserved, called, calling = _FIXED.unpack_from(body, 0)
    return version, _ae_title(called), _ae_title(calling)


def _ae_title(field: bytes) -> str:
    # Real consoles pad with NUL as well as with spaces; latin-1 never fails and keeps every byte apart
    return field.decode("latin-1").strip(" \0")


def _items(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of each item between `start` and `end`."""
    while start < end:
        if end - start < _ITEM.size:
            raise PduError("an item header is cut short")
        kind, length = _ITEM.unpack_from(body, start)
        start += _ITEM.size
        if start + length > end:
            raise PduError(f"item {kind:#04x} declares {length} bytes, {end - start} are left")
        yield kind, start, start + length
        start += length


def _uid(body: bytes, start: int, end: int) -> str:
    return body[start:end].decode("latin-1").rstrip("\0 ")


def _proposed(body: bytes, start: int, end: int) -> ProposedContext:
    if end - start < 4:
        raise PduError("presentation context shorter than 4 bytes")
    if not body[start] & 1:
        raise PduError(f"presentation context ID {body[start]} is even (PS3.8 9.3.2.2 wants odd)")
    abstract = ""
    transfer: list[str] = []
    for kind, sub_start, sub_end in _items(body, start + 4, end):
        if kind == 0x40:
            transfer.append(_uid(body, sub_start, sub_end))
        elif kind == 0x30:
            abstract = _uid(body, sub_start, sub_end)
    return ProposedContext(body[start], abstract, tuple(transfer))


def _user_information(body: bytes, start: int, end: int) -> UserInformation:
    max_pdu = 0
    texts: dict[int, str] = {}
    asynchronous: tuple[int, int] | None = None
    roles: list[RoleSelection] = []
    extended: list[ExtendedNegotiation] = []
    for kind, first, last in _items(body, start, end):
        if kind == 0x51:
            (max_pdu,) = _unpack(">L", body, first, last)
        elif kind in (0x52, 0x55):
            texts[kind] = _uid(body, first, last)
        elif kind == 0x53:
            invoked, performed = _unpack(">HH", body, first, last)
            asynchronous = (invoked, performed)
        elif kind == 0x54:
            sop_class, after = _counted_uid(body, first, last)
            scu, scp = _unpack(">BB", body, after, last)
            roles.append(RoleSelection(sop_class, bool(scu), bool(scp)))
        elif kind == 0x56:
            sop_class, after = _counted_uid(body, first, last)
            extended.append(ExtendedNegotiation(sop_class, body[after:last]))
    return UserInformation(
        max_pdu=max_pdu,
        implementation_class_uid=texts.get(0x52, ""),
        implementation_version=texts.get(0x55, ""),
        asynchronous=asynchronous,
        roles=tuple(roles),
        extended=tuple(extended),
    )


def _unpack(form: str, body: bytes, start: int, end: int) -> tuple[int, ...]:
    if end - start != struct.calcsize(form):
        raise PduError(f"a user information item has {end - start} bytes, not {struct.calcsize(form)}")
    return struct.unpack_from(form, body, start)


def _counted_uid(body: bytes, start: int, end: int) -> tuple[str, int]:
    """A UID behind its two-byte length, and where the rest of the item begins."""
    if end - start < 2:
        raise PduError("a user information item is cut short", AbortReason.INVALID_PARAMETER)
    (length,) = struct.unpack_from(">H", body, start)
    if start + 2 + length > end:
        raise PduError(f"a SOP class UID declares {length} bytes, {end - start - 2} are left")
    return _uid(body, start + 2, start + 2 + length), start + 2 + length


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _encode_user(user: UserInformation) -> bytes:
    items = [
        _item(0x51, struct.pack(">L", user.max_pdu)),
        _item(0x52, user.implementation_class_uid.encode("latin-1", "replace")),
    ]
    if user.asynchronous is not None:
        items.append(_item(0x53, struct.pack(">HH", *user.asynchronous)))
    for role in user.roles:
        name = role.sop_class.encode("latin-1", "replace")
        items.append(_item(0x54, struct.pack(">H", len(name)) + name + bytes((role.scu, role.scp))))
    if user.implementation_version:
        items.append(_item(0x55, user.implementation_version.encode("latin-1", "replace")))
    for negotiation in user.extended:
        name = negotiation.sop_class.encode("latin-1", "replace")
        items.append(_item(0x56, struct.pack(">H", len(name)) + name + negotiation.application))
    return b"".join(items)


def _associate(kind: PduType, called: str, calling: str, items: list[bytes], user: UserInformation) -> bytes:
    fixed = _FIXED.pack(1, 0, *(title.encode("latin-1", "replace").ljust(16)[:16] for title in (called, calling)))
    body = fixed + b"".join(items) + _item(0x50, _encode_user(user))
    return struct.pack(">BxL", kind, len(body)) + body
