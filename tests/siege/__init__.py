"""The gateway under siege: every kind of hostile peer at once, and a listed scanner that must not notice.

`attackers.py` is the hostile crowd in a process of its own, `words.py` what it says, `scanner.py` the honest scanner,
`fortress.py` the gateway in a folder of its own, watched from outside. GATEWAY_SIEGE=full is the whole size.
"""
