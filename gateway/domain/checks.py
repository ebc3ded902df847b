"""The catalogue of checks: what can be wrong with a study, each with a stable code, its weight and what to do.

A code never changes its meaning; the numbers are those of the reference catalogue. Sentences are for the person who
looks at the task. They name no value: the values are in the `Finding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from gateway.domain.identity_model import Finding, Severity


class Code(StrEnum):
    """Stable names of findings, for programs too."""

    ACCESSION_MISSING = "accession-missing"
    GROUP_CASE = "group-case"
    ACCESSION_UNKNOWN = "accession-unknown"
    ACCESSION_OTHER_PATIENT = "accession-other-patient"
    ACCESSION_AMBIGUOUS = "accession-ambiguous"
    ACCESSION_FORM = "accession-form"
    ACCESSION_ALIAS = "accession-alias"
    ACCESSION_DIFFERS = "accession-differs"
    PATIENT_ID_MISSING = "patient-id-missing"
    PATIENT_ID_FORM = "patient-id-form"
    PATIENT_ID_ALIAS = "patient-id-alias"
    PATIENT_ID_SLIP = "patient-id-slip"
    PATIENT_ID_DIFFERS = "patient-id-differs"
    PATIENT_ID_AMBIGUOUS = "patient-id-ambiguous"
    ISSUER_MISSING = "patient-id-issuer-missing"
    NAME_MISSING = "name-missing"
    NAME_SLIP = "name-slip"
    NAME_DIFFERS = "name-differs"
    BIRTH_DATE_MISSING = "birth-date-missing"
    BIRTH_DATE_SLIP = "birth-date-slip"
    BIRTH_DATE_DIFFERS = "birth-date-differs"
    SEX_MISSING = "sex-missing"
    SEX_DIFFERS = "sex-differs"
    STUDY_NOT_ORDERED = "study-not-ordered"
    TWO_PATIENTS_IN_STUDY = "two-patients-in-study"
    KEYS_OF_TWO_PATIENTS = "keys-of-two-patients"
    MODALITY_DIFFERS = "modality-differs"
    STEP_DIFFERS = "step-differs"
    STEP_DONE = "step-done"
    WRONG_ENTRY_REPORTED = "wrong-entry-reported"
    PERFORMED_STEP_DIFFERS = "performed-step-differs"
    WRONG_ROW_SUSPECTED = "wrong-row-suspected"
    LATERALITY_DIFFERS = "laterality-differs"
    CLOCK_WRONG = "clock-wrong"
    CHARACTER_SET_WRONG = "character-set-wrong"
    NAME_DAMAGED = "name-damaged"
    VALUE_INVALID = "value-invalid"
    TYPE_1_MISSING = "type-1-missing"
    UIDS_DISAGREE = "uids-disagree"
    PIXELS_DISAGREE = "pixels-disagree"
    CONSTANT_DIFFERS = "constant-differs"
    AGE_IMPLAUSIBLE = "age-implausible"
    MEASURES_OF_PREVIOUS = "measures-of-previous-patient"
    OTHER_IDENTITY_INSIDE = "other-identity-inside"
    IDENTITY_IN_IMAGE = "identity-in-image"
    IDENTITY_IN_TEXT = "identity-in-text"
    IDENTITY_CHANGES = "identity-changes-inside"
    ORDER_ENDED = "order-ended"
    TEST_PATIENT = "test-patient"
    DEIDENTIFIED = "deidentified"
    SIGNED = "signed"
    EMERGENCY = "emergency"
    ORDER_PROVISIONAL = "order-provisional"
    ORDER_CONTRADICTED = "order-contradicted"
    ORDER_STALE = "order-stale"
    ORDER_TAKEN = "order-taken"
    ORDERS_DISAGREE = "orders-disagree"


class Check(NamedTuple):
    """One entry of the catalogue."""

    number: int
    """Of the reference catalogue; 0: beside it."""
    severity: Severity
    sentence: str


_N, _F, _C, _W, _H, _B = (
    Severity.NOTE,
    Severity.NORMALISE,
    Severity.CORRECT,
    Severity.WARN,
    Severity.HOLD,
    Severity.BLOCK,
)
CATALOGUE: Final[Mapping[Code, Check]] = MappingProxyType({
    Code.ACCESSION_MISSING: Check(1, _C,
        "The images have no accession number, and another key names an order: compare, and link them."),
    Code.GROUP_CASE: Check(2, _N,
        "The images are of several orders at once, so their accession number is rightly empty."),
    Code.ACCESSION_UNKNOWN: Check(3, _W,
        "No order with this accession number is known: look whether it was mistyped, or its order is still to come."),
    Code.ACCESSION_OTHER_PATIENT: Check(4, _B,
        "The accession number is an order of another patient than the PatientID: find out who was examined."),
    Code.ACCESSION_AMBIGUOUS: Check(5, _W,
        "Several patients have an order with this accession number: it proves nothing; ask the RIS which is valid."),
    Code.ACCESSION_FORM: Check(6, _F,
        "The accession number is the order's, written in another form."),
    Code.ACCESSION_ALIAS: Check(6, _F,
        "The accession number is a former, provisional or shortened one of this order."),
    Code.ACCESSION_DIFFERS: Check(3, _C,
        "The accession number is not that of the order that the other keys name: compare both."),
    Code.PATIENT_ID_MISSING: Check(7, _C,
        "The images have no PatientID: compare name and birth date, and link the order."),
    Code.PATIENT_ID_FORM: Check(7, _F,
        "The PatientID is the order's, written in another form."),
    Code.PATIENT_ID_ALIAS: Check(7, _C,
        "The PatientID is another number of the same patient, by a merge or a link."),
    Code.PATIENT_ID_SLIP: Check(7, _C,
        "The PatientID differs from the order's by one character: compare name and birth date."),
    Code.PATIENT_ID_DIFFERS: Check(7, _H,
        "The PatientID is not that of the order: find out who was examined."),
    Code.PATIENT_ID_AMBIGUOUS: Check(7, _W,
        "Two issuers gave this PatientID to two patients, and the images name no issuer: find out who was examined."),
    Code.ISSUER_MISSING: Check(8, _F,
        "The images do not say who issued the PatientID; the order does."),
    Code.NAME_MISSING: Check(9, _C,
        "The images name nobody; the order does."),
    Code.NAME_SLIP: Check(9, _C,
        "The name differs from the order's as typing or a short field makes it differ."),
    Code.NAME_DIFFERS: Check(9, _H,
        "The name is not that of the order's patient: find out who was examined."),
    Code.BIRTH_DATE_MISSING: Check(10, _C,
        "The images have no birth date; the order has."),
    Code.BIRTH_DATE_SLIP: Check(10, _C,
        "The birth date differs from the order's by one digit, or day and month are swapped."),
    Code.BIRTH_DATE_DIFFERS: Check(10, _H,
        "The birth date is not that of the order's patient: find out who was examined."),
    Code.SEX_MISSING: Check(11, _C,
        "The images do not say the patient's sex; the order does."),
    Code.SEX_DIFFERS: Check(11, _W,
        "The patient's sex is not that of the order: compare, it is never changed by itself."),
    Code.STUDY_NOT_ORDERED: Check(12, _W,
        "The images have a Study Instance UID of their own: the RIS should be told it; it is never changed here."),
    Code.TWO_PATIENTS_IN_STUDY: Check(13, _B,
        "Images of one study name two patients: find out whose each series is before anything leaves."),
    Code.KEYS_OF_TWO_PATIENTS: Check(13, _B,
        "Two keys of the images name two patients: find out who was examined before anything leaves."),
    Code.MODALITY_DIFFERS: Check(14, _H,
        "The order is for another kind of examination: look whether the wrong row was picked."),
    Code.STEP_DIFFERS: Check(15, _H,
        "Procedure or step are not those of the order that the other keys name: look which order it was."),
    Code.STEP_DONE: Check(15, _W,
        "The scheduled step was already completed by another examination: look whether the wrong row was picked."),
    Code.WRONG_ENTRY_REPORTED: Check(15, _H,
        "The scanner reported that the wrong worklist entry was selected: find out who was examined."),
    Code.PERFORMED_STEP_DIFFERS: Check(15, _H,
        "The performed procedure step names another patient than the images: find out who was examined."),
    Code.WRONG_ROW_SUSPECTED: Check(16, _H,
        "Everything agrees with the order, but more speaks for another one: look whether the wrong row was picked."),
    Code.LATERALITY_DIFFERS: Check(17, _H,
        "The images are of the other side than the order: look at them; the side is never changed here."),
    Code.CLOCK_WRONG: Check(18, _W,
        "Dates of the images do not fit when they came: set the scanner's clock; the dates are never changed here."),
    Code.CHARACTER_SET_WRONG: Check(19, _W,
        "Text of the images does not fit the character set they declare: correct the scanner's setting."),
    Code.NAME_DAMAGED: Check(19, _C,
        "The name is the order's, damaged by a character set that could not hold it."),
    Code.VALUE_INVALID: Check(20, _F,
        "A value breaks the rules of its type (PS3.5 6.2)."),
    Code.TYPE_1_MISSING: Check(21, _W,
        "A value that every image must have is missing: correct the scanner's setting."),
    Code.UIDS_DISAGREE: Check(22, _H,
        "The UIDs in the image are not those it was sent under: send it anew from the scanner."),
    Code.PIXELS_DISAGREE: Check(22, _B,
        "Another image came under the same UID before: find out which is valid."),
    Code.CONSTANT_DIFFERS: Check(23, _F,
        "The scanner says another institution, department or station than this site wrote down for it."),
    Code.AGE_IMPLAUSIBLE: Check(24, _W,
        "Age and birth date contradict each other: look whether one is of another patient."),
    Code.MEASURES_OF_PREVIOUS: Check(24, _W,
        "Weight and height are those of the patient before: look whether they were typed for this one."),
    Code.OTHER_IDENTITY_INSIDE: Check(25, _W,
        "Another patient or order is named elsewhere in the images: compare."),
    Code.IDENTITY_IN_IMAGE: Check(26, _W,
        "The picture may show a name that can't be corrected: look at it before its header is changed."),
    Code.IDENTITY_IN_TEXT: Check(26, _W,
        "A description or a private element repeats the patient's number or name."),
    Code.IDENTITY_CHANGES: Check(27, _H,
        "Images of one study differ in name, birth date or order: look when it changed."),
    Code.ORDER_ENDED: Check(28, _W,
        "The order was cancelled, or done long ago: tell the RIS that it was performed, or find the valid one."),
    Code.TEST_PATIENT: Check(29, _N,
        "This is a phantom, a quality check or a test: it is left as it is."),
    Code.DEIDENTIFIED: Check(30, _N,
        "The images are de-identified: nobody is named in them again."),
    Code.SIGNED: Check(0, _W,
        "The images are digitally signed: a change would break the signature, so they are left as they are."),
    Code.EMERGENCY: Check(0, _N,
        "The scanner is one for emergencies: the images leave at once, and are looked at again when an order comes."),
    Code.ORDER_PROVISIONAL: Check(0, _W,
        "The order is an entry of the downtime desk: the real order is still to come."),
    Code.ORDER_CONTRADICTED: Check(0, _W,
        "Sources contradict each other about this order's patient: settle that first (`gateway orders conflicts`)."),
    Code.ORDER_STALE: Check(0, _W,
        "The source of this order has been silent for too long to rely on it: look at its connection."),
    Code.ORDER_TAKEN: Check(0, _H,
        "Images of another patient were linked to this order before: find out whose it is."),
    Code.ORDERS_DISAGREE: Check(0, _H,
        "The keys of the images name different orders of one patient: look which it was."),
})  # fmt: skip


def finding(code: Code, attribute: str = "", *, has: str = "", expected: str = "") -> Finding:
    """A finding with the weight that the catalogue gives it."""
    severity = CATALOGUE[code].severity
    return Finding(code=code, severity=severity, attribute=attribute, has=has, expected=expected)


def sentence_of(code: str) -> str:
    """What a finding with that code says to a person; empty for a code of another release."""
    return CATALOGUE[Code(code)].sentence if code in set(Code) else ""
