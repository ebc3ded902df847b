"""The eighteen traps of lossless compression that were reproduced with other tools, each as a test.

Numbered as they were found: 4 and 5 sign extension and overlay bits, 6 colour planes, 7 the colour transform, 8
encapsulated input, 9 big endian, 10 YBR_FULL_422, 11 one bit, 32 bits and float, 12 odd frames, 13 the extended offset
table, 14 icons, 15 padding values, 16 objects without pixels, 17 what would grow. 1 (UIDs) holds for every object of
the corpus. 2, 3 and 18 (threads, the GIL, bytearrays) are why codecs live in processes: `test_pool`, and
`tests/journeys/test_compressed.py` for the gateway that calls none itself.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from gateway.domain.compression import DEFLATED, HTJ2K, JPEG_2000, JPEG_LS, RLE
from gateway.net import codec_object
from gateway.net.codec_frames import CODECS, Codec
from gateway.net.codec_object import work
from gateway.net.codec_task import Answer, Left, Made
from tests.codec import corpus, decoders
from tests.codec.objects import as_file, task
from tests.peers import objects

pytestmark = [pytest.mark.filterwarnings("ignore")]

ALL = (JPEG_LS, JPEG_2000, RLE, DEFLATED)


def sent(name: str, folder: Path, accepted: tuple[str, ...], **options: float) -> tuple[Path, Path, Made]:
    """The object as received, as sent, and what was done."""
    path = corpus.made(name, folder)
    asked = task(path, accepted=accepted, **options)
    answer = work(asked)
    assert isinstance(answer, Made), answer
    return path, as_file(asked, answer), answer


def test_1_no_uid_changes(tmp_path: Path) -> None:
    path, out, _ = sent("rgb", tmp_path, (JPEG_2000,))
    before, after = dcmread(path), dcmread(out)
    assert after.SOPInstanceUID == before.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
    assert [one for one in after if one.VR == "UI"] == [one for one in before if one.VR == "UI"]


@pytest.mark.parametrize("name", ["signed-14-of-16", "signed-12-of-16"])
def test_4_sign_extension_survives(name: str, tmp_path: Path) -> None:
    path, out, _ = sent(name, tmp_path, (JPEG_LS,))
    assert decoders.pixels(out, JPEG_LS) == decoders.gdcm(out) == dcmread(path).PixelData


@pytest.mark.parametrize("name", ["overlay-14", "overlay-late"])
def test_5_overlay_bits_survive_and_no_wavelet_has_them(name: str, tmp_path: Path) -> None:
    path, out, made = sent(name, tmp_path, (JPEG_2000, HTJ2K, JPEG_LS))
    assert made.TransferSyntaxUID == JPEG_LS
    assert decoders.pixels(out, JPEG_LS) == dcmread(path).PixelData
    assert work(task(path, accepted=(JPEG_2000, HTJ2K))) == Left(why="nothing accepted")


def test_6_colour_planes_are_interleaved_and_said_to_be(tmp_path: Path) -> None:
    planar = sent("rgb-planar", tmp_path, (JPEG_2000,))
    plain = sent("rgb", tmp_path, (JPEG_2000,))
    assert planar[2].size == pytest.approx(plain[2].size, rel=0.02)
    assert dcmread(planar[1]).PlanarConfiguration == 0
    got = decoders.native(sent("rgb-planar", tmp_path, (JPEG_LS,))[1], JPEG_LS)
    assert np.array_equal(got.pixel_array, dcmread(planar[0]).pixel_array)


def test_7_rgb_is_transformed_and_ybr_is_not(tmp_path: Path) -> None:
    _, out, made = sent("rgb-frames", tmp_path, (JPEG_LS, JPEG_2000), link=1e6)
    assert (made.TransferSyntaxUID, dcmread(out).PhotometricInterpretation) == (JPEG_2000, "YBR_RCT")
    _, out, made = sent("ybr-full-frames", tmp_path, (JPEG_LS, JPEG_2000), link=1e6)
    assert (made.TransferSyntaxUID, dcmread(out).PhotometricInterpretation) == (JPEG_2000, "YBR_FULL")
    style_of = {True: 1, False: 0}
    for name in ("rgb-frames", "ybr-full-frames"):
        stream = dcmread(sent(name, tmp_path, (JPEG_2000,))[1]).PixelData
        transform = stream[stream.index(b"\xff\x52") + 8]  # COD, SGcod: multiple component transformation
        assert transform == style_of[name.startswith("rgb")]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_8_what_is_encapsulated_is_never_compressed_again(syntax: str, tmp_path: Path) -> None:
    ds = corpus.gray("encapsulated")
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "01", "10"
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        made = work(task(objects.write(tmp_path, ds), accepted=(str(syntax),)))
        assert isinstance(made, Made)
        ds = dcmread(as_file(task(tmp_path / f"{ds.SOPInstanceUID}.dcm", accepted=(str(syntax),)), made))
    path = tmp_path / "encapsulated.dcm"
    dcmwrite(path, ds, enforce_file_format=True)
    assert work(task(path, accepted=ALL)) == Left(why="syntax")


def test_9_big_endian_goes_out_as_it_came(tmp_path: Path) -> None:
    assert work(task(corpus.made("big-endian", tmp_path), accepted=ALL)) == Left(why="syntax")


@pytest.mark.parametrize("name", ["ybr-full-422", "segmentation", "dose-32", "float", "double", "report", "pdf"])
def test_10_11_16_what_no_image_codec_may_touch_is_deflated_or_stays(name: str, tmp_path: Path) -> None:
    path = corpus.made(name, tmp_path)
    assert work(task(path, accepted=(JPEG_LS, JPEG_2000, RLE, HTJ2K))) == Left(why="nothing accepted")
    _, out, made = sent(name, tmp_path, ALL)
    assert made.TransferSyntaxUID == DEFLATED
    assert dcmread(out) == dcmread(path)


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000])
def test_12_every_fragment_is_even_and_every_frame_has_its_offset(syntax: str, tmp_path: Path) -> None:
    path, out, _ = sent("odd-frames", tmp_path, (syntax,))
    after = dcmread(out)
    content = after.PixelData
    tag, length = struct.unpack_from("<4sL", content)
    offsets = struct.unpack_from("<5L", content, 8)
    assert (tag, length, offsets[0]) == (b"\xfe\xff\x00\xe0", 20, 0)
    for offset in offsets:
        item, size = struct.unpack_from("<4sL", content, 28 + offset)
        assert (item, size % 2) == (b"\xfe\xff\x00\xe0", 0)
    frames = 5 * 101 * 101
    assert decoders.pixels(out, syntax)[:frames] == dcmread(path).PixelData[:frames]


def test_13_there_is_a_basic_offset_table_and_no_extended_one(tmp_path: Path) -> None:
    _, out, _ = sent("frames", tmp_path, (JPEG_LS,))
    after = dcmread(out)
    assert "ExtendedOffsetTable" not in after
    assert "ExtendedOffsetTableLengths" not in after
    after.ExtendedOffsetTable = struct.pack("<7Q", *struct.unpack_from("<7L", after.PixelData, 8))
    after.ExtendedOffsetTableLengths = bytes(56)
    path = tmp_path / "extended.dcm"
    dcmwrite(path, after, enforce_file_format=True)
    asked = task(path)
    made = work(asked)
    assert isinstance(made, Made)
    assert "ExtendedOffsetTable" not in dcmread(as_file(asked, made))


def test_14_an_icon_stays_native(tmp_path: Path) -> None:
    path, out, _ = sent("icon", tmp_path, (JPEG_LS,))
    assert dcmread(out).IconImageSequence == dcmread(path).IconImageSequence


def test_15_no_element_comes_or_goes(tmp_path: Path) -> None:
    path, out, _ = sent("padding-value", tmp_path, (JPEG_LS,))
    before, after = dcmread(path), dcmread(out)
    del before.PixelData, after.PixelData
    assert after == before
    assert after.LossyImageCompression == "00"


def test_17_what_would_not_shrink_goes_out_as_it_came(tmp_path: Path) -> None:
    ds = objects.ct(1)  # noise
    path = objects.write(tmp_path, ds)
    for syntax in (JPEG_LS, JPEG_2000, RLE):
        answer = work(task(path, accepted=(syntax,)))
        assert isinstance(answer, Left)
        assert answer.why in {"ratio", "codec RuntimeError"}


# -- what is proven about each object --


def broken(monkeypatch: pytest.MonkeyPatch, syntax: str, frame: int) -> None:
    """A codec that changes one bit of the given frame, counted from 0, as it decodes."""
    codec, seen = CODECS[syntax], iter(range(1_000_000))

    def decode(content: bytes, pixel: object) -> bytes:
        whole = bytearray(codec.decode(content, pixel))
        whole[-1] ^= next(seen) == frame
        return bytes(whole)

    monkeypatch.setitem(codec_object.CODECS, syntax, Codec(encode=codec.encode, decode=decode))


@pytest.mark.parametrize("frame", [0, 6])
def test_one_wrong_bit_of_one_frame_is_found_and_named(
    frame: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, JPEG_LS, frame)
    asked = task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,))
    answer = work(asked)
    assert isinstance(answer, Left)
    assert (answer.why, answer.mismatch) == ("mismatch", f"{JPEG_LS} gray 16.12.11.0 None")
    assert list(tmp_path.iterdir()) == [asked.source]
    monkeypatch.undo()
    barred = task(asked.source, accepted=(JPEG_LS, RLE), barred=(answer.mismatch,))
    again = work(barred)
    assert isinstance(again, Made)
    assert again.TransferSyntaxUID == RLE


@pytest.mark.parametrize("place", [900, -4, -3000])
def test_what_is_not_what_was_received_is_not_sent(place: int, tmp_path: Path) -> None:
    path = corpus.made("frames", tmp_path)
    asked = task(path, accepted=(JPEG_LS,))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    answer: Answer = work(asked)
    assert answer in {Left(why="damaged"), Left(why="header")}
    path.write_bytes(content[:-40])
    assert work(asked).__class__ is Left


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    asked = task(corpus.made("frames", tmp_path), accepted=(JPEG_LS,))
    assert work(replace(asked, target=tmp_path / "none" / "x")) == Left(why="disk 2")


# -- an encapsulated object for a destination that takes nothing but native --


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000, RLE, HTJ2K])
@pytest.mark.parametrize("name", ["signed-14-of-16", "odd-frames", "rgb-planar-frames", "unsigned-8-of-16", "trailing"])
def test_what_was_compressed_becomes_native_again(name: str, syntax: str, tmp_path: Path) -> None:
    path = corpus.made(name, tmp_path)
    compressed = work(task(path, accepted=(syntax,)))
    if isinstance(compressed, Left):
        assert syntax == RLE
        return
    middle = as_file(task(path, accepted=(syntax,)), compressed)
    asked = task(middle)
    made = work(asked)
    assert isinstance(made, Made), made
    before, after = dcmread(path), dcmread(as_file(asked, made))
    assert np.array_equal(after.pixel_array, before.pixel_array)
    before.PlanarConfiguration = after.get("PlanarConfiguration")
    del before.PixelData, after.PixelData
    if "PlanarConfiguration" not in after or after.PlanarConfiguration is None:
        del before.PlanarConfiguration
    assert after == before
