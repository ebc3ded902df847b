"""Data sets as the books keep them, read again.

What is promised: nothing here raises for what a data set contains. One that can't be read is empty, so that a
question about all of them is still answered.
"""

from __future__ import annotations

import functools

from gateway.dicom import charset, elements
from gateway.domain.worklist import SPECIFIC_CHARACTER_SET, DataSet, Decode


def read(dataset: bytes, transfer_syntax: str = elements.EXPLICIT_LITTLE) -> DataSet:
    """The data set; empty if it can't be read."""
    try:
        return elements.parse(dataset, transfer_syntax)
    except elements.ElementError:
        return {}


def character_sets(dataset: DataSet) -> list[str]:
    """The Specific Character Set that it declares (PS3.3 C.12.1.1.2)."""
    element = dataset.get(SPECIFIC_CHARACTER_SET)
    return charset.character_sets(element[1]) if element and isinstance(element[1], bytes) else []


def decoder(dataset: DataSet) -> Decode:
    """How to read its text."""
    return functools.partial(charset.decode, specific_character_set=character_sets(dataset))
