"""The worklist role behind a real port, over the books and the clock of a site."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta

from gateway.dicom.associate import UserInformation
from gateway.domain.admission import KnownCaller
from gateway.domain.model import SourceName
from gateway.domain.profile import Profile
from gateway.domain.worklist import DataSet
from gateway.net.dicom_server import DicomServer
from gateway.roles.reception import Reception
from gateway.roles.worklist import Policy, Retention, Upstream, Worklist
from gateway.roles.worklist.rows import validated
from gateway.spool import worklist as copy
from tests.cli.site import Site
from tests.net.wire import limits

MAIN = SourceName("main")


class Front:
    """A simulator of `gateway.simulate.acceptor.hosted`: CT1 may call BOX at `port`."""

    def __init__(
        self, site: Site, *, upstreams: Sequence[Upstream] = (), profile: Profile | None = None, live: bool = False
    ) -> None:
        self.site = site
        self.worklist = Worklist(
            site.spool,
            upstreams,
            policy_of=lambda _: Policy(
                ask=bool(upstreams),
                live=live,
                deadline=timedelta(seconds=30),
                fresh_for=timedelta(seconds=20),
                max_stale=timedelta(hours=24),
                hide_performed=timedelta(hours=12),
                profile=profile or Profile(),
            ),
            today=lambda: site.clock().date(),
            now=site.clock,
            random=lambda: 0.5,
            retention=Retention(queries=timedelta(days=7), served=timedelta(days=7)),
            entries_for=timedelta(days=30),
            zone=UTC,
        )
        self.port = 0
        self._server = DicomServer(limits())

    async def start(self) -> None:
        reception = Reception(
            self.site.spool,
            titles=["BOX"],
            scanners=[KnownCaller(ae="CT1")],
            own_peers=[],
            store=None,
            find=self.worklist.find,
            commitment=None,
            mpps=None,
            standard_only=False,
            us=UserInformation(max_pdu=16384, implementation_class_uid="1.2.3"),
            now=self.site.clock,
        )
        self.port = await self._server.listen(reception, "127.0.0.1", 0)

    async def stop(self) -> None:
        await self._server.drain(0)


def answered(site: Site, *rows: DataSet, source: SourceName = MAIN, whole: bool = True) -> None:
    """A RIS answered these rows now; `whole`: for a year, completely."""
    kept = [one for row in rows for one in validated(source, row)[0].values()]
    window = ("20200101", "20991231") if whole else None
    site.write(lambda c: copy.replace_source(c, source, rows=kept, now=site.clock(), window=window))
