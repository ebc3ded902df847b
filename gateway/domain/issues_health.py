"""What health finds by traffic, and by looking at the machine. docs/operations/alarms.md says more of each."""

from __future__ import annotations

from typing import Final

from gateway.domain.issue import About, Kind, Owner, Severity

HEALTH: Final = {
    "peer-unresolved": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.IT,
        cause="The name server does not know its name, or does not answer.",
        step="Check the host name of {subject} in the configuration, and the name server of this box.",
    ),
    "peer-black-hole": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.IT,
        cause="Its name has an address, and a connection there is neither taken nor refused: packets vanish"
        " on the way.",
        step="Have it checked that the name of {subject} leads to the address where it really is, that"
        " this machine is on, and that no firewall drops our packets.",
    ),
    "peer-not-listening": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="Its machine refuses the connection: no program listens at that port.",
        step="Have the DICOM service of {subject} started, and compare its port with the configuration.",
    ),
    "peer-encryption": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.IT,
        cause="The encryption could not be agreed on.",
        step="Check the certificates of {subject} and of this box, and that the port is one for TLS.",
    ),
    "peer-silent": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="It takes the connection and then says nothing: its program hangs, or something in between"
        " answers for it.",
        step="Have the DICOM service of {subject} restarted; it only looks as if it ran.",
    ),
    "peer-half-open": Kind(
        about=About.PEER,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="A connection that stood is dead without either side having been told: a firewall forgot it,"
        " or the other machine went away.",
        step="Raise the idle timeout of the firewall between this box and {subject}; what holds"
        " connections open, like HL7 senders, hangs there too.",
    ),
    "peer-rejects": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="It answers, and rejects our association.",
        step="Have our AE title and address allowed at {subject}, and compare its AE title with the configuration.",
    ),
    "peer-fails": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="It takes our association and then fails at what it is asked.",
        step="Have the log of {subject} looked at for our AE title.",
    ),
    "peer-test-store": Kind(
        about=About.PEER,
        severity=Severity.ERROR,
        owner=Owner.PACS,
        cause="It takes our association and does not take the test image.",
        step="Have the storage of {subject} looked at: room, rights of our AE title, and what it says of"
        " the test image.",
    ),
    "selftest-failed": Kind(
        about=About.PART,
        severity=Severity.CRITICAL,
        owner=Owner.BIOMED,
        cause="The synthetic patient did not come through our own doors, at this hop.",
        step="Run `gateway selftest` to see where it stops ({subject}), and look at the log of that part;"
        " if a part hangs, restart it.",
    ),
    "received-late": Kind(
        about=About.BOX,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="Images were received and have been waiting to be checked and routed for more than five minutes.",
        step="Look whether `gateway serve forward` runs, and at its log; restart it if it hangs.",
    ),
    "clock-off": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="The clock of the box is off, or nothing keeps it.",
        step="Check that chrony runs and reaches its time server (`chronyc sources`).",
    ),
    "certificate-ends": Kind(
        about=About.PART,
        severity=Severity.WARNING,
        owner=Owner.IT,
        cause="A certificate ends in less than the days of [health] certificate.",
        step="Have the certificate of {subject} renewed, then restart the gateway.",
    ),
    "certificate-ended": Kind(
        about=About.PART,
        severity=Severity.CRITICAL,
        owner=Owner.IT,
        cause="A certificate has ended, or can't be read: whoever checks it does not talk to us.",
        step="Have the certificate of {subject} renewed now, then restart the gateway.",
    ),
    "too-hot": Kind(
        about=About.BOX,
        severity=Severity.WARNING,
        owner=Owner.BIOMED,
        cause="The machine is hotter than [health] temperature.",
        step="Look at its fans and at what covers it; it slows down, then stops.",
    ),
    "part-stopped": Kind(
        about=About.PART,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="No process is this part of the gateway.",
        step="Look at `systemctl status 'gateway-*'` and at the log of the unit that is {subject}, then start it.",
    ),
    "part-silent": Kind(
        about=About.PART,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="A process is this part of the gateway, and has not proven its work for three minutes: it hangs, or its"
        " disk does.",
        step="Look at the log of the unit that is {subject} for `no sign of life`, which names what hangs, and at the"
        " disk; then restart it.",
    ),
    "port-taken": Kind(
        about=About.PART,
        severity=Severity.WARNING,
        owner=Owner.BIOMED,
        cause="The port of a web page can't be had: another program listens there, or its address is not this"
        " machine's.",
        step="See who has it (`ss -ltnp`), or write another address or port under [{subject}]; it is asked for again"
        " twice a minute.",
    ),
    "unit-failed": Kind(
        about=About.PART,
        severity=Severity.ERROR,
        owner=Owner.BIOMED,
        cause="A unit of the gateway failed, and systemd does not start it again.",
        step="Look at `systemctl status {subject}` and at its log, then start it.",
    ),
}
