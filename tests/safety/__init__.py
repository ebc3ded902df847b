"""What the gateway promised, after it was killed, lost its power or met a full or failing disk (invariant 1).

`box.py` runs the gateway and reads its books, `sender.py` is the independent scanner with its ledger outside the
spool, `site.py` puts both beside a PACS that misbehaves and judges the end, `weak.py` is the control that must lose.

GATEWAY_KILLS and GATEWAY_CUTS say how many; `make safety` sets them, `make test` runs the short round.
"""
