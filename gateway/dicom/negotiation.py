"""Which presentation contexts an association gets (PS3.8 7.1.1.13, PS3.5 10.1). Pure.

As acceptor: native little endian first, then lossless, and lossy only where nothing else is offered
for that context; else a scanner that offers both compresses lossily for us, and nobody chose that.
As requestor: one context per transfer syntax, and Implicit VR Little Endian for every abstract
syntax, so that the peer's choice is known per syntax instead of guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydicom._uid_dict import UID_dictionary

from gateway.dicom.associate import (
    MAX_CONTEXTS,
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserInformation,
)

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_COMPRESSED = "1.2.840.10008.1.2.4."

NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
LOSSLESS = (
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED,
    _COMPRESSED + "80",  # JPEG-LS Lossless
    _COMPRESSED + "90",  # JPEG 2000 Lossless Only
    _COMPRESSED + "201",  # HTJ2K Lossless Only
    _COMPRESSED + "202",  # HTJ2K with RPCL, Lossless Only
    _COMPRESSED + "70",  # JPEG Lossless, Process 14, Selection Value 1
    _COMPRESSED + "57",  # JPEG Lossless, Process 14
    _COMPRESSED + "92",  # JPEG 2000 Part 2 Multi-component, Lossless Only
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.8.1",  # Deflated Image Frame
    _COMPRESSED + "110",  # JPEG XL Lossless
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed Explicit VR Little Endian: pixels beyond 4 GiB
)
_RANK = {syntax: rank for rank, syntax in enumerate((*NATIVE, *LOSSLESS))}
_KNOWN_TRANSFER_SYNTAXES = frozenset(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")
_KNOWN_LOSSY = _KNOWN_TRANSFER_SYNTAXES - _RANK.keys()

VERIFICATION = "1.2.840.10008.1.1"
MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
MPPS = "1.2.840.10008.3.1.2.3.3"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

_STORAGE_CLASSES = "1.2.840.10008.5.1.4.1.1."
_NOT_OBJECTS = frozenset({"1.2.276.0.7230010.3.4.1915765545.18030.917282194.0"})
"""Private classes that are known to carry no object: DCMTK's request to shut down (`termscu`)."""
_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+", re.ASCII)
_ACCEPTED, _ABSTRACT_SYNTAX, _TRANSFER_SYNTAXES = 0, 3, 4


def choose_transfer_syntax(offered: Iterable[str]) -> str | None:
    """The transfer syntax we accept of those `offered` for a storage context; None if none is known."""
    ranked = sorted((rank, syntax) for syntax in offered if (rank := _RANK.get(syntax)) is not None)
    if ranked:
        return ranked[0][1]
    return next((syntax for syntax in offered if syntax in _KNOWN_LOSSY), None)


def choose_native(offered: Iterable[str]) -> str | None:
    """The transfer syntax for messages that we read ourselves (worklist, commitment, performed steps)."""
    offered = set(offered)
    return next((syntax for syntax in NATIVE if syntax in offered), None)


def is_storage(abstract_syntax: str, *, standard_only: bool) -> bool:
    """Whether a context for `abstract_syntax` carries objects to be stored.

    Standard classes are known by their name, newer ones by the root of all storage classes. Any other UID that
    no dictionary knows is a private class, accepted unless `standard_only`: an image is never refused
    for its contents.
    """
    entry = UID_dictionary.get(abstract_syntax)
    if entry is not None:
        return entry[1] == "SOP Class" and "Storage" in entry[0] and "Storage Commitment" not in entry[0]
    if abstract_syntax in _NOT_OBJECTS or len(abstract_syntax) > 64 or not _UID.fullmatch(abstract_syntax):
        return False
    return not standard_only or abstract_syntax.startswith(_STORAGE_CLASSES)


def negotiate(
    proposed: Sequence[ProposedContext],
    choose: Callable[[str], Callable[[Iterable[str]], str | None] | None],
) -> tuple[ContextResult, ...]:
    """The answer to every proposed context, in order.

    `choose(abstract_syntax)` is None where the class is not served, else the chooser of a transfer
    syntax for it.
    """
    results = []
    for context in proposed:
        chooser = choose(context.abstract_syntax)
        syntax = chooser(context.transfer_syntaxes) if chooser else None
        if syntax is not None:
            results.append(ContextResult(context.id, _ACCEPTED, syntax))
        else:
            reason = _TRANSFER_SYNTAXES if chooser else _ABSTRACT_SYNTAX
            results.append(ContextResult(context.id, reason, IMPLICIT_VR_LITTLE_ENDIAN))
    return tuple(results)


def answer(
    request: AssociateRequest,
    choose: Callable[[str], Callable[[Iterable[str]], str | None] | None],
    *,
    us: UserInformation,
) -> AssociateAccept:
    """The A-ASSOCIATE-AC for `request`: contexts by `choose`, the rest by our rules, each
    item once and only for classes that are proposed and served.

    `us` gives our maximum PDU, implementation and the most operations we let a peer have
    outstanding; the SCP role is granted for Storage Commitment alone, whose archives report on
    associations of their own (PS3.4 J.3.3).
    """
    asynchronous = None
    if request.user.asynchronous is not None and us.asynchronous is not None:
        asked, limit = request.user.asynchronous[0], us.asynchronous[0]
        asynchronous = (min(asked, limit) if asked and limit else asked or limit, 1)
    choosers = {context.abstract_syntax: choose(context.abstract_syntax) for context in request.contexts}
    # Once for each class that is served here: an answer must fit into its item whatever a peer asks
    roles = {role.sop_class: role for role in request.user.roles if choosers.get(role.sop_class)}
    extended = {item.sop_class: item for item in request.user.extended if choosers.get(item.sop_class)}
    return AssociateAccept(
        called_ae=request.called_ae,
        calling_ae=request.calling_ae,
        contexts=negotiate(request.contexts, choosers.__getitem__),
        user=UserInformation(
            max_pdu=us.max_pdu,
            implementation_class_uid=us.implementation_class_uid,
            implementation_version=us.implementation_version,
            asynchronous=asynchronous,
            roles=tuple(
                RoleSelection(role.sop_class, role.scu, role.scp and role.sop_class == STORAGE_COMMITMENT)
                for role in roles.values()
            ),
            extended=tuple(
                ExtendedNegotiation(item.sop_class, application)
                for item in extended.values()
                if (application := _answer_extended(item))
            ),
        ),
    )


def _answer_extended(item: ExtendedNegotiation) -> bytes:
    """What we support of what is asked; empty if the class has nothing to negotiate with us."""
    if item.sop_class == MODALITY_WORKLIST:
        # PS3.4 K.5.1: combined date-time matching we do; fuzzy names and time zone adjustment we do not
        return bytes((1, item.application[1:2] == b"\x01", 0))
    if is_storage(item.sop_class, standard_only=False):
        # PS3.4 B.3.1: level 2 (every attribute kept), no digital signature level claimed, no coercion of elements
        return b"\x02\x00\x00\x00\x00\x00"
    return b""


def propose(wanted: Mapping[str, Iterable[str]]) -> tuple[ProposedContext, ...]:
    """One context per abstract and transfer syntax, Implicit VR Little Endian always among them.

    `wanted` maps abstract syntaxes to the transfer syntaxes we hold objects in. At most 128 contexts
    fit into an association (PS3.8 9.3.2.2): the caller keeps `wanted` small enough, see
    `contexts_needed`; what is beyond is left out.
    """
    pairs = [
        (abstract, syntax)
        for abstract, syntaxes in wanted.items()
        for syntax in dict.fromkeys((*syntaxes, IMPLICIT_VR_LITTLE_ENDIAN))
    ]
    return tuple(
        ProposedContext(2 * number + 1, abstract, (syntax,))
        for number, (abstract, syntax) in enumerate(pairs[:MAX_CONTEXTS])
    )


def contexts_needed(wanted: Mapping[str, Iterable[str]]) -> int:
    """How many contexts `propose` would make of `wanted` without its limit."""
    return sum(len({*syntaxes, IMPLICIT_VR_LITTLE_ENDIAN}) for syntaxes in wanted.values())
