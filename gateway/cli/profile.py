"""A scanner profile by its name or its scanner, for commands that need one (promises: see the package)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.failures import CommandFailed

if TYPE_CHECKING:
    from gateway.cli.opening import Reading
    from gateway.domain.profile import Profile


def profile_named(folder: Path, name: str, *, key: str = "profile") -> Profile:
    """The shipped or the site's profile. Raises CommandFailed that names `key`, with what there is."""
    from gateway.config import load_profiles
    from gateway.config.values import suggestion

    known = load_profiles(folder)
    if name not in known:
        near = suggestion(name, sorted(known))
        raise CommandFailed(f"{key}: there is none of this name; {near}known here: {', '.join(sorted(known))}")
    return known[name]


def profile_of(books: Reading, aet: str) -> Profile:
    """The profile by which this scanner is answered: the configuration's, or that of `gateway peers add`."""
    from gateway.config import load_profiles
    from gateway.domain.admission import same_ae
    from gateway.domain.profile import GENERIC
    from gateway.spool.peers import scanners

    known = load_profiles(books.config.worklist.profiles)
    named = [one.profile for one in books.config.scanner if same_ae(one.ae, aet)]
    named += [one.profile for one in scanners(books.c) if same_ae(one.ae, aet)]
    return known.get(named[0] if named else GENERIC, known[GENERIC])
