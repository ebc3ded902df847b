"""The first page says what `gateway status` says, and names no patient; a study is told hop by hop."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from functools import partial

from gateway.spool import query_log
from tests.cli.site import Site
from tests.console.box import (
    NAME,
    PATIENT,
    STRANGER,
    STUDY,
    Served,
    bad_night,
    deferred,
    images,
    scheduled,
    stranger,
    unanswered,
)
from tests.spool.test_query_log import QUERY


def words(page: str) -> str:
    """What a person reads: no markup, one space between words."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.partition("<main")[2])).split())


def headline(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.partition("<h1>")[2].partition("</h1>")[0])).split())


def test_the_first_line_is_the_sentence_of_the_command_line(site: Site, console: Served) -> None:
    bad_night(site)
    said = site.run("status").stdout.splitlines()[0]
    assert said == "1 image was refused by pacs: look at `gateway queue --refused`."
    assert headline(console.text("/")) == said.replace("`", "")


def test_an_empty_box_does_not_boast(console: Served) -> None:
    page = console.text("/")
    assert headline(page) == "No image has been received yet."
    assert "What to do now" not in page


def test_fresh_and_safe(site: Site, console: Served) -> None:
    scheduled(site)
    site.route(*images(site, b"a", b"b"))
    site.send_all(confirm=True)
    site.clock.pass_(seconds=12)
    told = words(console.text("/"))
    assert "All is well All 2 images are safe at their destinations." in told
    assert "main: list is 12 s old, 1 row" in told
    assert re.search(r"✓ Safe \d\d:\d\d:\d\d, CT1 2 images, id [0-9a-f]{6} Worklist", told)
    assert "pacs: nothing waits" in told


def test_what_waits_says_how_long_and_why(site: Site, console: Served) -> None:
    site.route(*images(site, b"a", b"b"))
    deferred(site)
    site.clock.pass_(hours=3, minutes=1)
    told = words(console.text("/"))
    assert "pacs: 2 images waiting The oldest for 3 h connect: no connection; check address" in told
    assert "→ On its way" in told


def test_each_alarm_has_its_next_step_and_its_page(site: Site, console: Served) -> None:
    bad_night(site)
    told = words(console.text("/"))
    assert "when the cause is gone, gateway retry --refused --destination pacs" in told
    assert "docs/operations/alarms.md#delivery-refused" in told
    assert "Check that main runs and can be reached" in told
    assert told.count("! Needs a person") == 4  # the box, the refused study, the differing copy, the destination


def test_a_hundred_alarms_do_not_push_the_rest_away(site: Site, console: Served) -> None:
    for number in range(100):
        site.alarm("file-missing", f"{number:022x}")
    told = words(console.text("/"))
    assert told.count("docs/operations/alarms.md") == 4
    assert "96 more alarms: gateway status" in told


def test_a_list_that_never_came(site: Site, console: Served) -> None:
    unanswered(site)
    told = words(console.text("/"))
    assert "The worklist of main never came." in told
    assert "main: no list ever came Asked 0 s ago, connect" in told


def test_no_patient_and_no_uid_on_the_first_page(site: Site, console: Served) -> None:
    bad_night(site)
    page = console.text("/")
    assert "40 images" in words(page)
    for secret in (NAME, NAME.split("^", maxsplit=1)[0], PATIENT, "774411", STUDY, "2.25."):
        assert secret not in page


def test_a_stranger_can_write_no_markup_and_no_command(site: Site, console: Served) -> None:
    stranger(site)
    stranger(site, "\x1b[2J\udcff")
    page = console.text("/")
    assert STRANGER not in page
    assert "&lt;b&gt;&#39;x;#</span>" in page
    assert "\x1b" not in page
    assert "gateway peers add '<b>'\"'\"'x;#'" in words(page)
    assert words(page).count("gateway peers add") == 1  # nothing is offered for a title that is none


def test_a_study_hop_by_hop_by_uid_and_by_our_id(site: Site, console: Served) -> None:
    site.route(*images(site, b"a", b"b"))
    site.send_all(confirm=True)
    site.route(*images(site, b"c"))
    site.refuse_all("0122")
    by_uid = words(console.text(f"/study/{STUDY}"))
    assert "Needs a person 3 images from CT1, 2 confirmed at every destination." in by_uid
    assert "Received 3 images" in by_uid
    assert "✓ Confirmed pacs: 2 images" in by_uid
    assert "! Refused pacs: 1 image" in by_uid
    assert "0122: SOP class not supported" in by_uid
    link = re.search(r'href="(/study/[0-9a-f]+)"', console.text("/"))
    assert link is not None
    assert words(console.text(link[1])) == by_uid


def test_an_unknown_study_and_a_hostile_one(console: Served) -> None:
    for key in ("1.2.3", "'%20OR%201=1--", "..%2f..%2fetc", "%00", "<b>", "%FF"):
        status, headers, body = console.ask(f"/study/{key}")
        assert (status, headers["content-type"]) == (404, "text/html; charset=utf-8"), key
        assert b"No image of that study was received" in body or b"nothing at this address" in body
    assert console.ask(f"/study/{'1' * 65}")[0] == 422


def test_images_without_a_study_are_a_study_of_their_own(site: Site, console: Served) -> None:
    images(site, b"a", study="")
    link = re.search(r'href="(/study/[0-9a-f]+)"', console.text("/"))
    assert link is not None
    assert "Study Instance UID none" in words(console.text(link[1]))


def test_a_spool_that_cannot_be_read_is_said_plainly(site: Site, console: Served) -> None:
    site.write(lambda c: c.execute("DROP TABLE alarm"))
    status, headers, body = console.ask("/")
    assert (status, headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "The spool can't be read; check the disk." in words(body.decode())


def test_the_page_tells_what_each_scanner_was_answered(site: Site, console: Served) -> None:
    scheduled(site)
    asked = replace(QUERY, first_asked=site.clock(), last_asked=site.clock())
    site.write(partial(query_log.record, queries=[asked, replace(asked, calling_ae="<b>", answered=0)], tally={}))
    site.clock.pass_(seconds=12)
    shown = words(console.text("/"))
    assert "CT1 asked 12 s ago: 3 rows Left out: station 5, status 1" in shown
    assert "<b> asked 12 s ago: 0 rows, empty" in shown
    assert "gateway worklist explain --aet SCANNER --accession NUMBER" in shown
