"""What a person types: `gateway` and its commands, one module per noun.

What is promised: exit status 0 only when what was asked holds; 1 when it does not; 2 when it could not be
asked (usage, configuration, spool). An expected error is one line on stderr that says what, where and the
remedy, never a traceback and never patient data. A reading command changes nothing and makes nothing.
JSON times are UTC ISO 8601; shown times are in the site's zone. A command imports what it runs when it runs.
"""

from gateway.cli.commands import main

__all__ = ["main"]
