"""The HL7 reader: nothing dropped, nothing guessed, `Hl7Error` alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.hl7 import Hl7Error, Message, split_batch

HEADER = b"MSH|^~\\&|ORDERS|NORD|EDGEGW|RAD_CT|20260304081500||ORM^O01^ORM_O01|M1|P|2.3.1||||||"


def read(*lines: str, charset: str = "8859/1", codec: str = "latin_1") -> Message:
    return Message.parse("\r".join([HEADER.decode() + charset, *lines, ""]).encode(codec))


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\r\n", b"\n  "])
def test_segments_end_in_many_ways(end: bytes) -> None:
    message = Message.parse(b"\n  " + end.join([HEADER, b"PID|1||7", b"P1D|odd", b"XX", b"ZDS|1.2^A", b"PID|2"]) + end)
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "P1D", "XX", "ZDS", "PID"]
    assert [segment.get("1") for segment in message.named("PID")] == ["1", "2"]
    assert [segment.number for segment in message.named("PID")] == [1, 2]


def test_a_line_feed_inside_a_text_is_text() -> None:
    message = read("NTE|1||first\nsecond line|x\nPID|1")
    assert message.get("NTE-3") == "first\nsecond line"
    assert message.get("NTE-4") == "x"
    assert message.get("PID-1") == "1"


def test_paths() -> None:
    message = read('PID|1||A^B&b^C~D^E&F||""|', "PID|2||second", "OBX|1|ST|x||5 ^ 6 & 7\\T\\8~9")
    assert [message.get(path) for path in ("PID-3", "PID-3.1", "PID-3.1.1", "PID-3.2", "PID-3.2.2", "PID-3.4")] == [
        *("A" * 3), "B", "b", "",
    ]  # fmt: skip
    assert [message.get("PID-3.2.2", rep) for rep in (0, 1, 2)] == ["b", "F", ""]
    assert [message.count(path) for path in ("PID-3", "PID-4", "PID-90", "ZZZ-1")] == [2, 0, 0, 0]
    assert message.get("PID-5") == ""
    assert message.is_null("PID-5")
    assert not message.is_null("PID-4")
    assert not message.is_null("ZZZ-4")
    assert message.segments[3].field("5") == "5 ^ 6 & 7&8"
    assert [message.get(path) for path in ("MSH-1", "MSH-2", "MSH-3", "MSH-9.2")] == ["|", "^~\\&", "ORDERS", "O01"]
    with pytest.raises(ValueError, match="no path"):
        message.get("PID.3")


@given(st.text('AB^&~\\"T. ', max_size=16))
def test_parts_are_what_their_paths_say(text: str) -> None:
    segment = read(f"ZZZ|{text}|").segments[1]
    for rep in range(segment.repetitions(1) + 1):
        assert segment.parts(1, 0, 4, rep) == [segment.get(f"1.{part}", rep) for part in (1, 2, 3, 4)]
        for component in (1, 2):
            paths = [f"1.{component}.{part}" for part in (1, 2, 3)]
            assert segment.parts(1, component, 3, rep) == [segment.get(path, rep) for path in paths]


def test_groups_begin_with_each_order() -> None:
    message = read("PID|1", "ORC|NW|1", "OBR|1", "ZDS|1", "ORC|NW|2", "OBR|2", "ZZ1|x")
    assert [[s.name for s in group] for group in message.groups("ORC")] == [
        ["ORC", "OBR", "ZDS"],
        ["ORC", "OBR", "ZZ1"],
    ]
    assert message.groups("IPC") == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"),
        (r"one\.br\two\.sp\three\.ce\four", "one\r\ntwo\r\nthree\r\nfour"),
        (r"\.in+4\x\.ti-2\y\.fi\\.nf\\.sk 3\z", "xyz"),
        (r"\H\loud\N\ \Zsite\quiet", "loud quiet"),
        (r"\X41\\X0D0A\\xc4\rzte", "A\r\nÄrzte"),
        (r"\C2842\plain", "plain"),
        (r"\M2442\kept", r"\M2442\kept"),
        (r"c:\temp \ end", r"c:\temp \ end"),
        (r"\XZZ\ \X4\ \Q\ \.b\ ", r"\XZZ\ \X4\ \Q\ \.b\ "),
        (r"lone \ then \F\ ", "lone \\ then | "),
        ("open\\", "open\\"),
    ],
)
def test_escapes(written: str, meant: str) -> None:
    assert read(f"NTE|1||{written}").get("NTE-3") == meant


def test_other_separators() -> None:
    raw = b"MSH!$%*@!ORDERS!NORD\rPID!1!!7$$$N@n%8!!*F**S*$b^~\\F\\\r"
    message = Message.parse(raw)
    assert [message.get("PID-3"), message.get("PID-3.4.2"), message.get("PID-3", 1)] == ["7", "n", "8"]
    assert [message.get("PID-5"), message.get("PID-5.2")] == ["!$", "b^~\\F\\"]


@pytest.mark.parametrize("marks", ["", "^", "^~", "^~\\", "^~\\&", "^~\\&#"])
def test_separators_left_out_have_their_usual_meaning(marks: str) -> None:
    message = Message.parse(f"MSH|{marks}|A\rPID|1||x^y&z~w".encode())
    assert [message.get("MSH-3"), message.get("PID-3.2.2"), message.get("PID-3", 1)] == ["A", "z", "w"]


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("8859/1", "latin_1", "Müller"), ("8859/1", "cp1252", "Müller\u2013Strauß"), ("8859/2", "iso8859_2", "Łódź"),
        ("8859/5", "iso8859_5", "Соколова"), ("8859/7", "iso8859_7", "Σωκράτης"), ("8859/15", "iso8859_15", "Œuvre €"),
        ("UNICODE UTF-8", "utf_8", "森川"), ("UNICODE", "utf_8", "Þór"), ("utf8", "utf_8", "Þór"),
        ("", "utf_8", "Þór"), ("", "cp1252", "Müller\u2013Strauß"),
        ("ISO IR14", "shift_jis", "表示ソ"), ("ASCII~ISO IR87", "iso2022_jp", "山田^太郎"),
        ("~ISO IR87", "iso2022_jp", "山田"),
        ("ISO IR87", "iso2022_jp", "森川"), ("ASCII~ISO IR87~ISO IR159", "iso2022_jp_ext", "鷗外"),
        ("GB 18030-2000", "gb18030", "王小东"), ("GBK", "gbk", "乗"), ("KS X 1001", "euc_kr", "김희중"),
        ("BIG-5", "big5", "許功蓋"), ("ISO_IR 166", "iso8859_11", "นามสกุล"), ("ISO_IR 100", "latin_1", "é"),
    ],
)  # fmt: skip
def test_character_sets(declared: str, codec: str, text: str) -> None:
    message = read(f"PID|1||7||{text}^given~second", "ZDS|1.2", charset=declared, codec=codec)
    assert message.segments[1].field("5") == text + "^given"
    assert message.get("PID-5", 1) == "second"
    assert message.get("ZDS-1") == "1.2"


def test_bytes_that_do_not_fit_are_refused_and_never_replaced() -> None:
    for declared in ("ASCII", "UNICODE UTF-8", "CNS 11643-1992", "KLINGON", "ISO IR87"):
        with pytest.raises(Hl7Error) as caught:
            read("PID|1||7||M\xfcller", charset=declared)
        assert caught.value.location == "MSH-18"
        assert "ller" not in str(caught.value)
    assert read("PID|1||7||Mueller", charset="CNS 11643-1992").get("PID-5") == "Mueller"


def test_the_senders_settings_go_before_msh_18() -> None:
    raw = HEADER + b"8859/1\rPID|1||7||" + "Соколова".encode("iso8859_5")
    assert Message.parse(raw, charset="8859/5").get("PID-5") == "Соколова"
    undeclared = HEADER + b"\rPID|1||7||" + "Соколова".encode("iso8859_5")
    assert Message.parse(undeclared, fallback="8859/5").get("PID-5") == "Соколова"


@pytest.mark.parametrize(
    "raw",
    [b"", b"MSH", b"MSH|^~", b"PID|1", b"MSH|^^^^|x", b"MSHA^~\\&|x|y", b"MSH\x80^~\\&|x", b"\0" * 64,
     b"MSH|^~\\&|" + b"\r" * 30_000, b"MSH|^~\\&|x\r" + b"Z|\r" * 30_000],
)  # fmt: skip
def test_what_is_no_message_is_an_error(raw: bytes) -> None:
    with pytest.raises(Hl7Error):
        Message.parse(raw)


def test_a_segment_of_endless_fields_is_an_error() -> None:
    with pytest.raises(Hl7Error):
        read("ZZZ" + "|" * 20_000).get("ZZZ-3")
    with pytest.raises(Hl7Error):
        read("ZZZ|" + "~" * 20_000).count("ZZZ-1")


def test_a_batch_is_split_at_its_messages() -> None:
    one, two = HEADER + b"\rPID|1\rZDS|1", HEADER + b"\rPID|2"
    batch = b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + one + b"\r" + two + b"\rBTS|2\rFTS|1\r"
    assert [part.rstrip() for part in split_batch(batch)] == [one, two]
    assert [part.rstrip() for part in split_batch(batch.replace(b"\r", b"\r\n"))] == [
        one.replace(b"\r", b"\r\n"),
        two.replace(b"\r", b"\r\n"),
    ]
    assert split_batch(one) == [one]
    assert split_batch(b"BHS|^~\\&|A\rBTS|0") == [b"BHS|^~\\&|A\rBTS|0"]
    assert split_batch(b"nonsense") == [b"nonsense"]
    # A frame full of line ends takes no longer than its bytes take: the loop that reads it has scanners to answer
    blank = one + b"\r" * (1 << 20)
    assert split_batch(b"FHS|^~\\&|A\r" + blank + b"FTS|1") == [one.rstrip(b"\r")]
    assert split_batch(b"FHS|^~\\&|A\r" + blank) == [blank]


MUTATED = st.lists(
    st.one_of(
        st.sampled_from([HEADER, b"8859/1", b"\r", b"\n", b"PID|1||7^^^A&B~8||X^Y", b"|", b"^", b"~", b"\\", b"&",
                         b"\\X41\\", b"\\.br\\", b"\x1b$B", b"\x1b(B", b"BHS|^~\\&", b"MSH", b'""', b"UNICODE UTF-8",
                         b"\x00", b"\xff"]),
        st.binary(max_size=12),
    ),
    max_size=30,
)  # fmt: skip


@given(MUTATED, st.booleans())
def test_no_bytes_raise_past_the_reader(parts: list[bytes], begins: bool) -> None:
    raw = (HEADER if begins else b"") + b"".join(parts)
    for piece in split_batch(raw):
        try:
            message = Message.parse(piece)
        except Hl7Error:
            continue
        for segment in message.segments:
            for path in ("1", "2", "3.1", "3.4.2", "5", "18"):
                segment.get(path)
                segment.field(path)
                segment.count(path)
                segment.is_null(path)
