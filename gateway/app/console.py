"""The wiring of the console: what its pages name of the configuration, and whom they wake."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.app.peers import now
from gateway.app.proofs import port_had, serving
from gateway.app.watchdog import Started
from gateway.config import Config, WorklistPolicy, load_profiles
from gateway.config.mappings import program_sender
from gateway.domain.profile import GENERIC
from gateway.net.wake import Bell
from gateway.roles.console import ConfiguredScanner, Console, Place, ServedBy
from gateway.spool import Spool


async def start_console(config: Config, spool: Spool, stop: asyncio.Event) -> Started:
    console = await asyncio.to_thread(_console, config, spool)  # its pages and models take half a second to be made
    proof = serving("pages", console.server, address=config.console.address, page="/api/v1/status")
    return Started(tasks=[asyncio.create_task(console.run(stop))], proofs=[proof])


def _console(config: Config, spool: Spool) -> Console:
    profiles = load_profiles(config.worklist.profiles)

    def served_by(policy: WorklistPolicy, profile: str) -> ServedBy:
        return ServedBy(
            mode=policy.mode,
            fresh_for=policy.fresh_for,
            max_stale=policy.max_stale,
            hide_performed=policy.hide_performed,
            romanised=profiles.get(profile, profiles[GENERIC]).romanised,
        )

    return Console(
        spool,
        address=config.console.address,
        port=config.console.port,
        place=Place(site=config.site.name, box=config.box.id, zone=config.site.timezone),
        configured=config.configured,
        scanners=[
            ConfiguredScanner(
                ae=scanner.ae,
                addresses=tuple(map(str, scanner.address)),
                profile=scanner.profile,
                worklist=served_by(scanner.worklist, scanner.profile),
            )
            for scanner in config.scanner
        ],
        added=partial(served_by, WorklistPolicy()),
        desk=config.desk.policy,
        orders=program_sender(config),
        port_had=partial(port_had, spool, "console"),
        woken=Bell(config.box.runtime_folder / "forward.sock").ring,
        now=now,
    )
