"""Negotiation: native first, then lossless, lossy only where nothing else is offered (PS3.8 7.1.1.13)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import AllTransferSyntaxes
from pynetdicom.presentation import AllStoragePresentationContexts

from gateway.dicom.associate import (
    AssociateRequest,
    ExtendedNegotiation,
    ProposedContext,
    RoleSelection,
    UserInformation,
    decode_accept,
)
from gateway.dicom.negotiation import (
    DEFLATED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    LOSSLESS,
    MODALITY_WORKLIST,
    NATIVE,
    STORAGE_COMMITMENT,
    STUDY_ROOT_FIND,
    VERIFICATION,
    answer,
    choose_native,
    choose_transfer_syntax,
    contexts_needed,
    is_storage,
    negotiate,
    propose,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_BASELINE, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
UNKNOWN = "1.2.826.0.1.3680043.999.1"
US = UserInformation(max_pdu=131072, implementation_class_uid="2.25.1", asynchronous=(8, 1))
KNOWN = tuple(map(str, AllTransferSyntaxes))
offers = st.lists(st.sampled_from((*KNOWN, UNKNOWN)), max_size=6)


@given(offers)
def test_the_choice_is_offered_and_the_best_of_its_kind(offered: list[str]) -> None:
    chosen = choose_transfer_syntax(offered)
    known = [syntax for syntax in offered if syntax != UNKNOWN]
    assert (chosen is None) == (not known)
    if chosen is None:
        return
    assert chosen in known
    for kind in (NATIVE, LOSSLESS):
        best = [syntax for syntax in kind if syntax in known]
        if best:
            assert chosen == best[0]
            return
    assert chosen == known[0]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((JPEG_BASELINE, IMPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN),
        ((IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN),
        ((JPEG_BASELINE, DEFLATED, EXPLICIT_VR_BIG_ENDIAN), EXPLICIT_VR_BIG_ENDIAN),
        ((JPEG_2000, JPEG_BASELINE), JPEG_2000),
        ((UNKNOWN, JPEG_BASELINE), JPEG_BASELINE),
        ((UNKNOWN,), None),
        ((), None),
    ],
)
def test_native_then_lossless_then_lossy_alone(offered: tuple[str, ...], chosen: str | None) -> None:
    assert choose_transfer_syntax(offered) == chosen


@given(offers)
def test_messages_that_we_read_ourselves_are_native_little_endian(offered: list[str]) -> None:
    assert choose_native(offered) == next((syntax for syntax in NATIVE if syntax in offered), None)


def test_every_standard_storage_class_is_storage() -> None:
    assert [
        str(context.abstract_syntax)
        for context in AllStoragePresentationContexts
        if not is_storage(str(context.abstract_syntax), standard_only=True)
    ] == []


@pytest.mark.parametrize(
    "service", [VERIFICATION, MODALITY_WORKLIST, STORAGE_COMMITMENT, STUDY_ROOT_FIND, IMPLICIT_VR_LITTLE_ENDIAN]
)
def test_a_service_that_is_no_storage_is_none(service: str) -> None:
    assert not is_storage(service, standard_only=False)


@pytest.mark.parametrize("private", [UNKNOWN, "1.3.12.2.1107.5.9.1"])
def test_private_classes_are_taken_by_policy(private: str) -> None:
    assert is_storage(private, standard_only=False)
    assert not is_storage(private, standard_only=True)


def test_a_standard_class_newer_than_the_dictionary_is_storage() -> None:
    assert is_storage("1.2.840.10008.5.1.4.1.1.999.1", standard_only=True)


@pytest.mark.parametrize("nonsense", ["", "1..2", "../../etc", "1.2.\0", "1." * 40, "CT Image Storage"])
def test_what_is_no_uid_is_no_storage_class(nonsense: str) -> None:
    assert not is_storage(nonsense, standard_only=False)


def served(abstract: str) -> Callable[[Iterable[str]], str | None] | None:
    if abstract in (VERIFICATION, MODALITY_WORKLIST, STORAGE_COMMITMENT):
        return choose_native
    return choose_transfer_syntax if is_storage(abstract, standard_only=False) else None


def test_each_context_is_answered_in_order() -> None:
    proposed = (
        ProposedContext(1, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(3, CT, (JPEG_BASELINE,)),
        ProposedContext(5, CT, (UNKNOWN,)),
        ProposedContext(7, STUDY_ROOT_FIND, (IMPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(9, CT, ()),
    )
    assert [(result.id, result.result) for result in negotiate(proposed, served)] == [
        (1, 0),
        (3, 0),
        (5, 4),
        (7, 3),
        (9, 4),
    ]


def request(user: UserInformation, *abstracts: str) -> AssociateRequest:
    contexts = tuple(
        ProposedContext(2 * number + 1, abstract, (IMPLICIT_VR_LITTLE_ENDIAN,))
        for number, abstract in enumerate(abstracts)
    )
    return AssociateRequest(called_ae="A", calling_ae="B", contexts=contexts, user=user)


@pytest.mark.parametrize(
    ("asked", "ours", "granted"),
    [
        (None, (8, 1), None),
        ((4, 1), (8, 1), (4, 1)),
        ((0, 0), (8, 1), (8, 1)),
        ((99, 5), (8, 1), (8, 1)),
        ((4, 4), (0, 1), (4, 1)),
        ((0, 4), (0, 1), (0, 1)),
        ((4, 4), None, None),
    ],
)
def test_no_more_operations_than_both_allow(
    asked: tuple[int, int] | None, ours: tuple[int, int] | None, granted: tuple[int, int] | None
) -> None:
    """PS3.7 D.3.3.3: 0 is no limit, an absent item is one of each."""
    us = UserInformation(max_pdu=0, asynchronous=ours)
    got = answer(request(UserInformation(max_pdu=0, asynchronous=asked), CT), served, us=us)
    assert got.user.asynchronous == granted


def test_the_scp_role_is_granted_for_commitment_alone() -> None:
    user = UserInformation(
        max_pdu=0,
        roles=(
            RoleSelection(STORAGE_COMMITMENT, False, True),
            RoleSelection(CT, True, True),
            RoleSelection(STUDY_ROOT_FIND, True, True),
            RoleSelection(MODALITY_WORKLIST, True, False),
        ),
    )
    got = answer(request(user, STORAGE_COMMITMENT, CT, STUDY_ROOT_FIND), served, us=US)
    assert got.user.roles == (RoleSelection(STORAGE_COMMITMENT, False, True), RoleSelection(CT, True, False))


def test_extended_negotiation_is_answered_for_what_is_served() -> None:
    user = UserInformation(
        max_pdu=0,
        extended=(
            ExtendedNegotiation(MODALITY_WORKLIST, b"\1\1\1\1"),
            ExtendedNegotiation(CT, b"\2\0\0\0\0\0"),
            ExtendedNegotiation(STUDY_ROOT_FIND, b"\1"),
            ExtendedNegotiation(VERIFICATION, b"\1"),
        ),
    )
    got = answer(request(user, MODALITY_WORKLIST, CT, STUDY_ROOT_FIND, VERIFICATION), served, us=US)
    assert got.user.extended == (
        ExtendedNegotiation(MODALITY_WORKLIST, b"\1\1\0"),
        ExtendedNegotiation(CT, b"\2\0\0\0\0\0"),
    )


def test_thousands_of_negotiation_items_do_not_break_the_answer() -> None:
    """An answer longer than its item's 16-bit length can't be encoded, and a peer decides how much it asks."""
    user = UserInformation(
        max_pdu=0,
        roles=tuple(RoleSelection(CT, True, False) for _ in range(2000)),
        extended=tuple(ExtendedNegotiation(CT, b"") for _ in range(2000))
        + tuple(ExtendedNegotiation(f"1.2.{n}", b"") for n in range(4000)),
    )
    got = answer(request(user, CT), served, us=US)
    assert decode_accept(got.encode()[6:]).user.roles == (RoleSelection(CT, True, False),)
    assert len(got.user.extended) == 1


def test_implicit_is_always_proposed_and_each_syntax_has_its_context() -> None:
    wanted = {CT: [JPEG_BASELINE, EXPLICIT_VR_LITTLE_ENDIAN, JPEG_BASELINE], VERIFICATION: []}
    assert propose(wanted) == (
        ProposedContext(1, CT, (JPEG_BASELINE,)),
        ProposedContext(3, CT, (EXPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(5, CT, (IMPLICIT_VR_LITTLE_ENDIAN,)),
        ProposedContext(7, VERIFICATION, (IMPLICIT_VR_LITTLE_ENDIAN,)),
    )
    assert contexts_needed(wanted) == 4


@given(st.dictionaries(st.sampled_from([f"1.2.{n}" for n in range(90)]), offers, max_size=90))
def test_proposals_never_exceed_what_an_association_holds(wanted: dict[str, list[str]]) -> None:
    proposed = propose(wanted)
    assert len(proposed) == min(contexts_needed(wanted), 128)
    assert [context.id for context in proposed] == list(range(1, 2 * len(proposed), 2))
    if contexts_needed(wanted) <= 128:
        implicit = [context for context in proposed if context.transfer_syntaxes == (IMPLICIT_VR_LITTLE_ENDIAN,)]
        assert {context.abstract_syntax for context in implicit} == set(wanted)
