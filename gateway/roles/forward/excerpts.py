"""The headers of received files, as far as the check reads them.

What is promised: nothing raises for what a file contains, or if it is gone: then its header is empty, the image goes
on as one that says nothing, and who sends it finds the fault. Pixels are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import structlog

from gateway.dicom import elements
from gateway.domain.edits import Patch
from gateway.domain.header import LAST, excerpt, marks
from gateway.domain.model import Instance
from gateway.roles.forward.patching import Unpatchable, attempt
from gateway.spool.checks import Excerpt
from gateway.spool.mapping import mapped

_FUNCTIONAL_GROUPS: Final = 0x52000000
"""Where the tens of thousands of elements of an enhanced multi-frame image begin."""
_ELEMENTS: Final = 20_000

log = structlog.get_logger()


def fault_of(instance: Instance, path: Path, patch: Patch) -> str:
    """Why the patch can't be made in that file; empty if it can."""
    try:
        with mapped(path) as view, view[max(len(view) - instance.size, 0) :] as dataset:
            attempt(dataset, instance.TransferSyntaxUID, patch)
    except Unpatchable as error:
        return error.code
    except (OSError, ValueError):
        return "file-unreadable"
    return ""


def excerpt_of(instance: Instance, path: Path) -> Excerpt:
    """What is kept of the image's header."""
    try:
        with mapped(path) as view, view[max(len(view) - instance.size, 0) :] as dataset:
            header = _parsed(dataset, instance.TransferSyntaxUID)
    except (OSError, ValueError) as error:
        log.warning("header not read", instance=instance.id, error=type(error).__name__)
        header = {}
    marked = marks(header, sop_class=instance.SOPClassUID, sop_instance=instance.SOPInstanceUID)
    kept = cast("elements.DataSet", excerpt(header))
    return Excerpt(elements=elements.encode(kept, elements.EXPLICIT_LITTLE), marks=marked)


def _parsed(dataset: memoryview, transfer_syntax: str) -> elements.DataSet:
    """The elements before the pixels, or as far as they can be read."""
    for before in (LAST, _FUNCTIONAL_GROUPS):
        try:
            return elements.parse(dataset, transfer_syntax, before=before, max_elements=_ELEMENTS)
        except elements.ElementError:
            continue
    return {}
