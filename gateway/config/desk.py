"""The downtime desk: what its entries are called, and how long they are served."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.config.section import Section, spelled
from gateway.config.values import Count, Duration, invalid, shape
from gateway.domain.desk import CODE_LENGTH, SH_LENGTH, DeskPolicy

_PREFIX_LENGTH = SH_LENGTH - CODE_LENGTH


def _prefix(value: str) -> str:
    if value.isascii() and value.isalnum() and value == value.upper() and len(value) <= _PREFIX_LENGTH:
        return value
    remedy = f'write 1 to {_PREFIX_LENGTH} capital letters and digits that begin no number of the hospital\'s, "DT"'
    raise invalid(f"is {shape(value)}, not a prefix", remedy)


def _pattern(value: str) -> str:
    if value.strip("^ ") and value.isprintable() and not set(value) & set("\\,*?"):
        return value
    raise invalid(f"is {shape(value)}, not a person name", 'write FAMILY^GIVEN, "UNKNOWN^<accession>"')


Prefix = Annotated[str, AfterValidator(_prefix)]


class Desk(Section):
    accession_prefix: Prefix = spelled("DT")
    """What the accession numbers made here begin with: reserved for this box."""
    patient_id_prefix: Prefix = spelled("DTP")
    """What the patient ids made here begin with; their issuer is EDGE."""
    unknown_name: Annotated[str, Field(max_length=48), AfterValidator(_pattern)] = spelled("UNKNOWN^<accession>")
    """The name of a patient nobody knows; <accession> stands for the accession number."""
    expires: Duration = spelled("24h")
    """How long an entry is served if its order does not come."""
    open: Count = spelled(200)
    """Entries that may stand open at a time."""

    @property
    def policy(self) -> DeskPolicy:
        """The same as the domain knows it."""
        return DeskPolicy(
            accession_prefix=self.accession_prefix,
            patient_id_prefix=self.patient_id_prefix,
            unknown_name=self.unknown_name,
            expires=self.expires,
            most_open=self.open,
        )
