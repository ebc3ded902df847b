"""rsyslog as the syslog server of a hospital: RFC 5425 by its OpenSSL driver, each message a line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.net.wire import Certificate
from tests.peers.processes import Program, program

RSYSLOGD = Path("/usr/sbin/rsyslogd")
_CONFIGURATION = """
global(
    workDirectory="{folder}"
    defaultNetstreamDriver="ossl"
    defaultNetstreamDriverCAFile="{certificate}"
    defaultNetstreamDriverCertFile="{certificate}"
    defaultNetstreamDriverKeyFile="{key}"
)
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="line" type="list" option.jsonf="on") {{
    property(outname="pri" name="pri" format="jsonf")
    property(outname="version" name="protocol-version" format="jsonf")
    property(outname="host" name="hostname" format="jsonf")
    property(outname="app" name="app-name" format="jsonf")
    property(outname="msgid" name="msgid" format="jsonf")
    property(outname="data" name="structured-data" format="jsonf")
    property(outname="said" name="msg" format="jsonf")
    property(outname="raw" name="rawmsg" format="jsonf")
}}
ruleset(name="take") {{ action(type="omfile" file="{out}" template="line" flushInterval="1" asyncWriting="off") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="take")
"""


@contextmanager
def rsyslog(folder: Path, certificate: Certificate, port: int) -> Iterator[tuple[Program, Path]]:
    """The server, and the file that its messages come to."""
    folder.mkdir(parents=True, exist_ok=True)
    out, settings = folder / "messages.json", folder / "rsyslog.conf"
    values = {"folder": folder, "certificate": certificate.path, "key": certificate.key, "out": out, "port": port}
    settings.write_text(_CONFIGURATION.format(**values))
    command = [RSYSLOGD, "-n", "-f", settings, "-i", folder / "pid"]
    with program(command, port=port, folder=folder) as running:
        yield running, out


def messages(out: Path) -> list[dict[str, Any]]:
    """What it has written whole."""
    lines = out.read_text().splitlines(keepends=True) if out.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
