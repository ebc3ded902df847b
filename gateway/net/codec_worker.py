"""A codec process: `python -m gateway.net.codec_worker BYTES`, tasks in by lines, answers out, one at a time.

It tells first which transfer syntaxes passed the self-test. It is polite (nice), may use BYTES of address space and
leaves no core dump, for that would hold patients' images. It ends when its parent is gone, and not by a signal that
was meant for the parent. A task that fails is answered; one that takes the process with it is the parent's to count.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Final

from gateway.net.codec_object import work
from gateway.net.codec_selftest import passed
from gateway.net.codec_task import Task, answer_line

_NICE: Final = 10


def main() -> None:
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)  # what a library prints must not stand between answers
        answers.write(json.dumps(sorted(passed())).encode() + b"\n")
        for line in sys.stdin.buffer:
            answers.write(answer_line(work(Task.read(line))))


if __name__ == "__main__":
    main()
