"""A patch and the object it is for, put together: the data set as it is to leave.

Promises: the received bytes are only read; what leaves is new bytes for the header and extents of the source for the
rest. The same patch gives the same bytes each time. An object that can't be patched raises `Unpatchable`, and nothing
of it was made: its finding is for the check, which tries every patch once before it is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import cast

from gateway.dicom import charset
from gateway.dicom.convert import MAX_INFLATED, Segment
from gateway.dicom.elements import Element, ElementError
from gateway.dicom.patching import Head
from gateway.dicom.patching import Patched as PatchedObject
from gateway.domain.applying import NotApplicable, changes_of
from gateway.domain.edits import Patch, from_json
from gateway.domain.model import PermanentFailure

stored_patch = lru_cache(maxsize=64)(from_json)
"""A patch as the books keep it: the images of a study share theirs."""


class Unpatchable(PermanentFailure):
    """The object is not one that this patch can be applied to. The message names the attribute, never a value."""


def patched(
    source: bytes | memoryview,
    transfer_syntax: str,
    patch: Patch,
    *,
    target: str = "",
    max_inflated: int = MAX_INFLATED,
) -> list[Segment]:
    """The whole data set of `source` after the patch: bytes, and extents of the source. Raises Unpatchable.

    `target` is the transfer syntax to leave in: the object's own, which is the default, or for a native one Explicit or
    Implicit VR LE.
    """
    with _patched(source, transfer_syntax, patch, max_inflated) as made:
        return made.segments(target or transfer_syntax)


def attempt(
    source: bytes | memoryview, transfer_syntax: str, patch: Patch, *, max_inflated: int = MAX_INFLATED
) -> None:
    """Find out whether `patched` can do it, for less. Raises Unpatchable."""
    with _patched(source, transfer_syntax, patch, max_inflated):
        pass


@contextmanager
def _patched(
    source: bytes | memoryview, transfer_syntax: str, patch: Patch, max_inflated: int
) -> Iterator[PatchedObject]:
    try:
        with Head(source, transfer_syntax, max_inflated=max_inflated) as head:
            changes = changes_of(patch, head, charset, behind=head.behind)
            yield head.patched(cast("Mapping[int, Element | None]", changes))
    except NotApplicable as error:
        raise Unpatchable(str(error), code=f"patch-{error.code}") from error
    except ElementError as error:
        raise Unpatchable(str(error), code="patch-odd-object") from error
