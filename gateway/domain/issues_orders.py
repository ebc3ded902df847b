"""The issues of worklists, orders and performed steps. docs/operations/alarms.md says more of each."""

from __future__ import annotations

from typing import Final

from gateway.domain.issue import About, Kind, Owner, Severity

ORDERS: Final = {
    "desk-unreconciled": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RADIOLOGY,
        cause="An entry of the downtime desk ended, and its order has not come.",
        step="The order of desk entry {subject} has not come: look at `gateway desk suggest {subject}`,"
        " then `gateway desk reconcile {subject} --to ACCESSION`, or `gateway desk cancel {subject}`.",
    ),
    "desk-doubt": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RADIOLOGY,
        cause="An order carries a number that was made for a desk entry, and may be another patient's.",
        step="An order carries a number of desk entry {subject} and may be another patient's: compare them"
        " with `gateway desk suggest {subject}`, then `gateway desk reconcile {subject} --to"
        " ACCESSION`, or correct the order.",
    ),
    "orders-stale": Kind(
        about=About.BOX,
        severity=Severity.ERROR,
        owner=Owner.IT,
        cause="No source of orders was heard for a day.",
        step="No source of orders was heard for a day, {subject} among them, so nothing is corrected: look"
        " at their connections; it ends by itself.",
    ),
    "worklist-stale": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.RIS,
        cause="The RIS has not answered wholly for more than 10 minutes, or three refreshes.",
        step="Check that {subject} runs and can be reached; meanwhile scanners are answered from the copy,"
        " as `gateway worklist` shows it.",
    ),
    "worklist-conflict": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="Two sources have the same scheduled step for two patients.",
        step="{subject} have the same step for two patients: compare the order in both and correct the one"
        " that is wrong; until then no image is corrected by it.",
    ),
    "worklist-capped": Kind(
        about=About.SCANNER,
        severity=Severity.WARNING,
        owner=Owner.BIOMED,
        cause="The scanner's day list holds more steps than its profile lets it take.",
        step="{subject} asks for more steps than its profile lets it take, so it is shown those nearest to"
        " now: narrow what it asks for by station or modality, or raise max_answers in a profile of"
        " its own.",
    ),
    "mpps-late": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="A performed procedure step has waited for it for more than 15 minutes.",
        step="Check that {subject} runs, can be reached and takes performed procedure steps from our AE"
        " title; they are sent by themselves when it does. If it never will, set mpps = false in its"
        " section and run `gateway mpps dismiss --to {subject}`.",
    ),
    "mpps-refused": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.RIS,
        cause="It refused a performed procedure step.",
        step="Look at `gateway mpps --refused`; when the cause is gone, `gateway mpps retry --to {subject}`.",
    ),
    "orders-out-late": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="What is to be told of an order has waited for the RIS for more than 15 minutes.",
        step="Check that {subject} takes HL7 messages at the host and port of its orders_out; what waits"
        " is sent by itself when it can, as `gateway orders out list` shows.",
    ),
    "orders-out-refused": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.RIS,
        cause="The RIS will not take what it is told of an order, or that lacks what its structure requires.",
        step="Look at `gateway orders out list`; when the cause is gone, `gateway orders out retry --to"
        " {subject}`, or book it there by hand and `gateway orders out dismiss --to {subject}`.",
    ),
    "order-identity-conflict": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.RIS,
        cause="An order uses a number that we know, and names another patient.",
        step="An order of {subject} names another patient than the one we know, and was set aside: look at"
        " `gateway orders conflicts`, correct it in the RIS, then settle it there.",
    ),
    "hl7-not-understood": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="Messages of the sender were kept and could not be used, whole or in part.",
        step="Messages of {subject} were kept and not used: look at `gateway messages list --waiting`, act"
        " on each or have it corrected and sent again, then `gateway messages seen`.",
    ),
    "folder-refused": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="Files of orders were answered AE or AR, or were no files of messages.",
        step="Files of orders were refused: look into `failed` of the folder of [orders], correct what"
        " sent them, then take them away there.",
    ),
    "folder-away": Kind(
        about=About.BOX,
        severity=Severity.ERROR,
        owner=Owner.IT,
        cause="The folder of [orders] can't be read or written.",
        step="The folder of [orders] can't be read or written: check that it is mounted, and its owner.",
    ),
    "worklist-files": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="Worklist files are not believed, and their last rows stay on the worklist.",
        step="Worklist files in the folder of [orders] can't be read, or all went at once, so their last"
        " rows stay on the worklist: look into the folder and at what writes it.",
    ),
    "cancelled-but-performed": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RADIOLOGY,
        cause="The RIS ended an order of which we have images.",
        step="The RIS ended {subject} whose images are here: look at it with `gateway orders show` and"
        " tell the RIS what was done.",
    ),
    "order-changed-after-start": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RADIOLOGY,
        cause="The RIS changed an order whose examination had begun.",
        step="The RIS changed {subject} that is under way: look at `gateway orders show`; its steps were"
        " left as they are.",
    ),
    "order-identifier-changed": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.RIS,
        cause="The RIS gave an order another identifier after a scanner had been shown it.",
        step="The RIS gave {subject} another identifier after a scanner had it: look at it with `gateway"
        " orders show`; the scanner's identifier was kept.",
    ),
}
