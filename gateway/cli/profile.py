"""A scanner profile by its name, for commands that take one (promises: see the package)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.failures import CommandFailed

if TYPE_CHECKING:
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
