"""Codec processes: they die, hang and run out of memory, and the object goes out all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.domain.compression import JPEG_2000, JPEG_LS, RLE
from gateway.net import codec
from gateway.net.codec import Codecs
from gateway.net.codec_task import Left, Made
from tests.codec import corpus
from tests.codec.objects import task

pytestmark = [pytest.mark.slow]

MEMORY = 1 << 31
WAIT = 100.0
"""Seconds for one object, on any machine."""
FAULTY = """
import os, signal, sys, time
sys.stdout.write("[]\\n"); sys.stdout.flush()
for line in sys.stdin:
    with open({book!r}, "a") as book:
        book.write("x")
    {fault}
"""

NOTING = """
import os, sys, threading
import jpeg_ls, openjpeg.utils, rle.utils
from gateway.net import codec_worker

book = os.open({book!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def noting(call):
    def noted(content, *rest, **named):
        where = threading.current_thread() is threading.main_thread()
        os.write(book, f"{{os.getpid()}} begin {{where}} {{type(content).__name__}} {{call.__name__}}\\n".encode())
        try:
            return call(content, *rest, **named)
        finally:
            os.write(book, f"{{os.getpid()}} end\\n".encode())
    return noted

for library, names in (
    (jpeg_ls, ("encode_buffer", "decode_pixel_data")),
    (openjpeg.utils, ("encode_buffer", "decode_pixel_data")),
    (rle.utils, ("encode_pixel_data", "decode_pixel_data")),
):
    for name in names:
        setattr(library, name, noting(getattr(library, name)))
codec_worker.main()
"""
"""A codec process that writes down each call of a library."""


@contextmanager
def codecs(*, workers: int = 1, memory: int = MEMORY, tasks: int = 500, **options: object) -> Iterator[Codecs]:
    pool = Codecs(**{"workers": workers, "memory": memory, "timeout": WAIT, "tasks": tasks, **options})  # type: ignore[arg-type]
    try:
        yield pool
    finally:
        pool.close()


def faulty(folder: Path, fault: str) -> tuple[tuple[str, ...], Path]:
    """A codec process that notes each task and then does this; and the book."""
    script, book = folder / "faulty.py", folder / "book"
    script.write_text(FAULTY.format(book=str(book), fault=fault))
    return (sys.executable, str(script)), book


def test_objects_go_in_and_come_out_smaller(tmp_path: Path) -> None:
    with codecs(workers=2, tasks=2) as pool:
        assert {JPEG_LS, JPEG_2000, RLE} <= pool.syntaxes
        asked = [
            task(corpus.made(name, tmp_path), accepted=(JPEG_LS,)) for name in ("frames", "rgb", "icon", "private")
        ]
        answers = [future.result(WAIT) for future in [pool.submit(one, urgency=1) for one in asked]]
    assert [type(one) for one in answers] == [Made, Made, Made, Left]
    assert [one.target.exists() for one in asked] == [True, True, True, False]


def test_the_gateway_itself_has_no_way_to_a_codec() -> None:
    """pydicom imports the libraries where it finds them; what calls them is in the codec processes alone."""
    script = "import sys, gateway.app; print([one for one in sys.modules if one.startswith('gateway.net.codec_')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "codec_frames" not in done.stdout


def test_2_18_a_process_calls_one_codec_at_a_time_in_its_main_thread_and_with_bytes(tmp_path: Path) -> None:
    """openjpeg has crashed in threads and with a bytearray: neither ever happens, however much waits."""
    script, book = tmp_path / "noting.py", tmp_path / "book"
    script.write_text(NOTING.format(book=str(book)))
    names = ("frames", "rgb-frames", "rgb-planar-frames", "signed-14-of-16")
    with codecs(workers=2, command=(sys.executable, str(script))) as pool:
        asked = [
            task(corpus.made(name, tmp_path), accepted=(syntax,), target=tmp_path / f"{name}{number}")
            for name in names
            for number, syntax in enumerate((JPEG_2000, JPEG_LS, RLE))
        ]
        answers = [future.result(WAIT) for future in [pool.submit(one, urgency=1) for one in asked]]
    assert sum(isinstance(one, Made) for one in answers) >= len(names)
    lines = [line.split() for line in book.read_text().splitlines()]
    for process in {pid for pid, *_ in lines}:
        steps = [rest for pid, *rest in lines if pid == process]
        assert [step[0] for step in steps] == ["begin", "end"] * (len(steps) // 2)
    begun = [rest for _, what, *rest in lines if what == "begin"]
    assert {tuple(one[:2]) for one in begun} == {("True", "bytes")}
    assert {one[2] for one in begun} == {"encode_buffer", "encode_pixel_data", "decode_pixel_data"}


def test_a_process_that_dies_costs_two_attempts_and_then_the_object_stays_as_it_is(tmp_path: Path) -> None:
    command, book = faulty(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
    with codecs(command=command) as pool:
        answer = pool.submit(task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,)), urgency=1).result(WAIT)
    assert (answer, book.read_text()) == (Left(why="codec crashed"), "x" * codec.ATTEMPTS)


def test_a_process_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    once = tmp_path / "once"
    fault = (
        f"if not os.path.exists({str(once)!r}):\n        open({str(once)!r}, 'w')\n        os._exit(1)\n"
        '    print(\'{"made": false, "why": "ratio", "mismatch": ""}\', flush=True)'
    )
    command, book = faulty(tmp_path, fault)
    with codecs(command=command) as pool:
        answer = pool.submit(task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,)), urgency=1).result(WAIT)
    assert (answer, book.read_text()) == (Left(why="ratio"), "xx")


def test_one_that_hangs_is_killed_and_its_object_is_not_tried_again(tmp_path: Path) -> None:
    command, book = faulty(tmp_path, "signal.pause()")
    book.touch()  # one that is starved may be killed before it has noted its task
    with codecs(command=command, timeout=1.0) as pool:
        answer = pool.submit(task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,)), urgency=1).result(WAIT)
    assert answer == Left(why="codec too slow")
    assert len(book.read_text()) <= 1


def test_one_that_cannot_start_leaves_every_object_as_it_is(tmp_path: Path) -> None:
    with codecs(command=(sys.executable, "-c", "raise SystemExit(1)")) as pool:
        assert pool.syntaxes == frozenset()
        answer = pool.submit(task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,)), urgency=1).result(WAIT)
    assert answer == Left(why="no codec process")


def test_what_is_urgent_goes_first(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fault = (
        f"open({str(tmp_path / 'order')!r}, 'a').write(line)\n    open({str(gate)!r}).read()\n"
        '    print(\'{"made": false, "why": "ratio", "mismatch": ""}\', flush=True)'
    )
    command, _ = faulty(tmp_path, fault)
    path = corpus.made("frames", tmp_path)
    with codecs(command=command) as pool:
        first = pool.submit(task(path, target=tmp_path / "first"), urgency=2)
        gate_keeper = os.open(gate, os.O_WRONLY)  # returns once the first is under way
        rest = [pool.submit(task(path, target=tmp_path / name), urgency=u) for name, u in (("bulk", 3), ("stat", 1))]
        os.close(gate_keeper)
        for future in (first, *reversed(rest)):
            if future is not first:
                os.close(os.open(gate, os.O_WRONLY))
            future.result(WAIT)
    lines = (tmp_path / "order").read_text().splitlines()
    assert [name for line in lines for name in ("first", "stat", "bulk") if f'/{name}"' in line] == [
        "first",
        "stat",
        "bulk",
    ]


def test_memory_is_bounded(tmp_path: Path) -> None:
    """An object of one huge frame does not fit into the process: it stays, and the process lives on."""
    path = tmp_path / "huge.dcm"
    huge = corpus.gray("huge", allocated=8, stored=8, rows=8000, columns=9000)
    huge.save_as(path, enforce_file_format=True)
    with codecs(memory=400 << 20) as pool:
        answer = pool.submit(task(path, accepted=(JPEG_2000,)), urgency=1).result(WAIT)
        small = pool.submit(task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,)), urgency=1).result(WAIT)
    assert isinstance(answer, Left)
    assert isinstance(small, Made)


def test_closing_does_not_wait_for_what_is_under_way(tmp_path: Path) -> None:
    command, _ = faulty(tmp_path, "signal.pause()")
    pool = Codecs(workers=1, memory=MEMORY, timeout=600.0, tasks=1, command=command)
    path = corpus.made("frames", tmp_path)
    under_way, waiting = (pool.submit(task(path, accepted=(JPEG_LS,)), urgency=1) for _ in range(2))
    pool.close()
    assert under_way.cancelled() or under_way.result() == Left(why="codec crashed")
    assert waiting.cancelled()
