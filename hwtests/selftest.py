"""`gateway selftest`, as the user whose the spool is: no file of the spool may ever be root's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hwtests.outcome import Fault, NotTested

HOPS: Final = 10
"""More than there are."""


def hops(state: Path, config: Path, patience: float) -> Sequence[dict[str, Any]]:
    """What became of each hop. `patience`: seconds for one. Raises NotTested if it could not be tried."""
    words = ("selftest", "--json", "--patience", str(patience), "--config", str(config))
    owner = state.stat()
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    try:
        done = subprocess.run(  # noqa: S603  our own command
            [sys.executable, "-m", "gateway", *words],
            capture_output=True,
            timeout=patience * HOPS + 60,
            check=False,
            stdin=subprocess.DEVNULL,
            **who,
        )
        return list(json.loads(done.stdout)["hops"])
    except subprocess.TimeoutExpired:
        raise Fault("the gateway's own test does not end; look at its log") from None
    except (ValueError, KeyError, TypeError):
        raise NotTested("the gateway does not run here; start it, then try again") from None
