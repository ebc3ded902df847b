"""What is asked of QEMU itself, by its monitor (QMP)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Final

_SECONDS: Final = 30.0


def ask(place: Path, execute: str, **arguments: Any) -> Any:
    """Have the machine whose monitor is at `place` do something; its answer. Raises RuntimeError if it refuses."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(_SECONDS)
        monitor.connect(str(place))
        with monitor.makefile("rwb") as file:
            file.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                file.write(json.dumps(request).encode())
                file.flush()
                while "event" in (answer := json.loads(file.readline())):
                    pass
                if "error" in answer:
                    raise RuntimeError(f"{execute}: {answer['error']['desc']}")
    return answer["return"]
