"""The issues of images: kept, sent, confirmed, checked. docs/operations/alarms.md says more of each."""

from __future__ import annotations

from typing import Final

from gateway.domain.issue import About, Kind, Owner, Severity

IMAGES: Final = {
    "duplicate-differs": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.MODALITY,
        cause="Two different objects came under one SOP Instance UID; the second waits in quarantine.",
        step="Another object came under a UID that we hold; this copy waits. Compare them, then send it on"
        " with `gateway release {subject}`, or leave it.",
    ),
    "file-missing": Kind(
        about=About.BOX,
        severity=Severity.CRITICAL,
        owner=Owner.BIOMED,
        cause="The books hold an image whose file is gone from the disk.",
        step="An image is gone from the disk: send its study again from the scanner, and check the disk.",
    ),
    "object-unreadable": Kind(
        about=About.BOX,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="A file of the spool is no object of ours, or the disk can't read it.",
        step="A file that is no whole image lies in the quarantine folder of the spool: send what was"
        " lately interrupted again from the scanner, and check the disk.",
    ),
    "spool-damaged": Kind(
        about=About.BOX,
        severity=Severity.CRITICAL,
        owner=Owner.BIOMED,
        cause="A stored image is no longer what was received: the disk changed it.",
        step="A stored file is not what was received: send its study again from the scanner, and check the disk.",
    ),
    "delivery-refused": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="The destination will not take an image: its SOP class, its transfer syntax or its content.",
        step="Look at `gateway queue --refused`; when the cause is gone, `gateway retry --refused"
        " --destination {subject}`.",
    ),
    "destination-unreachable": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="No association could be opened twice in a row.",
        step="Check that {subject} runs, that it can be reached at its address and port, and that it knows"
        " our AE title; we try again by ourselves.",
    ),
    "delivery-late": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="An image has waited for the destination for more than 15 minutes.",
        step="Check that {subject} runs and can be reached; the images are sent by themselves when it can.",
    ),
    "compression-refused": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.PACS,
        cause="The destination took an image as it came that it had not taken compressed.",
        step="{subject} took images as they came that it did not take compressed, and gets their class so"
        " since: look at `gateway compression`; when the cause is gone, `gateway compression allow"
        " {subject}`.",
    ),
    "compression-mismatch": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.MAKER,
        cause="A codec did not give back what went in: a fault of its library or of the memory.",
        step="A codec did not give back what went in, and such images go out as they came: have the memory"
        " of the machine checked, install the newest release, then `gateway compression allow"
        " --codecs`.",
    ),
    "codecs-unavailable": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.BIOMED,
        cause="No codec process could be started, or none passed its self-test.",
        step="No codec process starts, so everything goes out as it came: look for `codec` in the log, and"
        " at [compression] memory; then restart the gateway.",
    ),
    "no-route": Kind(
        about=About.BOX,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="Images came in, and [routing] default names no destination.",
        step="Images have nowhere to go: name a destination in [routing] default, then restart the gateway.",
    ),
    "routing-rules": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.BIOMED,
        cause="The routing rules could not look at an image.",
        step="The routing rules could not look at an image, and it went to the default destinations: see"
        " the log for `routed by default`, then `gateway route test INSTANCE_ID`.",
    ),
    "disk-high": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.PACS,
        cause="More of the disk is in use than [disk] high, and nothing that is confirmed is left to go.",
        step="The disk of the spool is above its high mark, and all that is confirmed was let go: bring"
        " back the destination that is behind (`gateway queue`), or give the spool a larger disk.",
    ),
    "disk-full": Kind(
        about=About.BOX,
        severity=Severity.CRITICAL,
        owner=Owner.PACS,
        cause="The reserve of the disk is reached, so new images are answered A700.",
        step="New images are refused (A700) as the disk's reserve is reached; nothing is lost, scanners"
        " send again: bring back the destination that is behind (`gateway queue`), or give the spool a"
        " larger disk.",
    ),
    "disk-short": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.PACS,
        cause="At the rate that images come, there is room for less than [disk] warning.",
        step="There is room for less than [disk] warning at the rate that images come, should destinations"
        " confirm nothing more: see `gateway status`, and bring back the destination that is behind"
        " (`gateway queue`).",
    ),
    "availability-refused": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="The RIS refused to be told that a study can be had.",
        step="{subject} does not take notifications of what is available: allow them there, or set ian ="
        " false in its [[ris]] section.",
    ),
    "not-committed": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause='The destination answered "stored" and then said that it does not hold an image.',
        step="{subject} did not promise to keep images, so they are sent again: look at its log for"
        " storage commitment.",
    ),
    "confirmation-refused": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="The destination does not let us ask for proof that it holds an image.",
        step="{subject} does not answer for what it holds: allow it there, or set another confirm in its"
        " [[destination]] section.",
    ),
    "correction-rate": Kind(
        about=About.SCANNER,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="The scanner's studies are corrected far more often than before.",
        step="{subject} is corrected far more often than before, so nothing of it is corrected any more:"
        " look at its settings and at `gateway tasks`, then `gateway check resume`.",
    ),
    "corrections-to-one-patient": Kind(
        about=About.BOX,
        severity=Severity.ERROR,
        owner=Owner.RADIOLOGY,
        cause="More than five studies within an hour were corrected to one patient.",
        step="One patient got correction after correction, so nothing is corrected any more: look at"
        " `gateway check summary` and at the orders, then `gateway check resume`.",
    ),
    "study-held": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RADIOLOGY,
        cause="Images of a study have waited for a person for too long.",
        step="Images wait for a person, as {subject} says: look at it with `gateway tasks`, then `gateway"
        " decide`, `gateway release` or `gateway reject` it.",
    ),
}
