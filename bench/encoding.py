"""`python -m bench.encoding FOLDER FILE...`: compress as a codec process does, without decoding what was encoded.

Prints the bytes of the results, the CPU seconds of the objects and the peak of memory in KiB.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

from gateway.domain.compression import JPEG_2000, JPEG_LS, ImagePixel
from gateway.net import codec_object
from gateway.net.codec_frames import CODECS, Codec
from gateway.net.codec_task import Made
from tests.codec.objects import task

SLOW_LINK = 1.25e6


class _Believed:
    """A codec whose decoder gives back what its encoder was given."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._frame = b""

    def encode(self, frame: bytes, pixel: ImagePixel, precision: int) -> bytes:
        self._frame = frame
        return self._codec.encode(frame, pixel, precision)

    def decode(self, _content: bytes, _pixel: ImagePixel) -> bytes:
        return self._frame


def main() -> None:
    folder, *files = map(Path, sys.argv[1:])
    for syntax, codec in list(CODECS.items()):
        believed = _Believed(codec)
        codec_object.CODECS[syntax] = Codec(encode=believed.encode, decode=believed.decode)
    tasks = [
        (path, task(path, accepted=(JPEG_LS, JPEG_2000), link=SLOW_LINK, target=folder / f"{number}.dataset"))
        for number, path in enumerate(files)
    ]
    total, began = 0, time.process_time()
    for path, asked in tasks:
        made = codec_object.work(asked)
        assert isinstance(made, Made)
        total += made.size + path.stat().st_size - asked.size
    print(total, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
