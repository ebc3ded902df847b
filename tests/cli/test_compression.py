"""`gateway compression`: what is barred, allowing it again, and the images that show that forms are viewable."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from gateway.domain.compression import DEFLATED, JPEG_2000, JPEG_LS, RLE
from gateway.spool import audit, compression
from tests.cli.site import TOML, Site
from tests.codec import decoders
from tests.peers.dcmtk import received_files, storescp
from tests.peers.processes import free_port


def test_what_is_barred_is_listed_and_allowed_again(site: Site) -> None:
    now = site.clock()
    site.write(partial(compression.bar, destination="pacs", subject="1.2.840.10008.5.1.4.1.1.2", why="A900", now=now))
    site.write(partial(compression.bar, destination="", subject=f"{JPEG_LS} gray", why="mismatch", now=now))
    shown = site.json("compression")
    assert [(one["destination"], one["why"]) for one in shown["barred"]] == [("", "mismatch"), ("pacs", "A900")]
    assert "1.2.840.10008.5.1.4.1.1.2" in site.run("compression").stdout
    assert site.run("compression", "allow", "pacs").exit_code == 0
    assert site.run("compression", "allow", "pacs").exit_code == 1
    assert site.run("compression", "allow").exit_code != 0
    assert site.run("compression", "allow", "--codecs").exit_code == 0
    assert site.json("compression")["barred"] == []
    assert {one.code for one in audit.active_alarms(site.spool.db.read())} == set()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_test_image_goes_in_every_form_that_is_accepted(site: Site, tmp_path: Path) -> None:
    port = free_port()
    site.config.write_text(
        TOML.replace('host = "pacs.example"\nae = "PACS"', f'host = "127.0.0.1"\nport = {port}\nae = "STORESCP"')
    )
    with storescp(tmp_path, port):
        shown = site.json("compression", "test", "pacs")
    assert {one["form"] for one in shown["images"] if one["outcome"] == "stored"} == {
        "as it is", "JPEG-LS", "JPEG 2000", "RLE", "deflated",
    }  # fmt: skip
    assert [one["outcome"] for one in shown["images"] if one["form"] == "HTJ2K"] == ["not accepted"] * 2
    by_form = {dcmread(path).file_meta.TransferSyntaxUID: path for path in received_files(tmp_path)}
    assert {JPEG_LS, JPEG_2000, RLE, DEFLATED} <= by_form.keys()
    pictures: dict[int, list[np.ndarray]] = {}
    for path in received_files(tmp_path):
        image = dcmread(path)
        assert image.StudyInstanceUID == shown["study"]
        if image.file_meta.TransferSyntaxUID in (JPEG_LS, RLE, DEFLATED):
            image = decoders.native(path, image.file_meta.TransferSyntaxUID)
        if image.file_meta.TransferSyntaxUID != JPEG_2000:
            pictures.setdefault(image.SamplesPerPixel, []).append(image.pixel_array)
    for alike in pictures.values():
        assert len(alike) == 4
        assert all(np.array_equal(alike[0], one) for one in alike)


@pytest.mark.slow
def test_a_destination_that_takes_nothing_compressed_is_told(site: Site, tmp_path: Path) -> None:
    port = free_port()
    site.config.write_text(
        TOML.replace('host = "pacs.example"\nae = "PACS"', f'host = "127.0.0.1"\nport = {port}\nae = "STORESCP"')
    )
    with storescp(tmp_path, port, transfer_syntaxes="+xi"):
        done = site.run("compression", "test", "pacs")
    assert done.exit_code == 1
    assert "not accepted" in done.stdout
    assert site.run("compression", "test", "nowhere").exit_code != 0
