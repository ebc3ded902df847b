"""A hospital that does everything wrong, and four ways to put its headers right: how often each gets it wrong.

`site` makes patients, orders and what the books know of them; `dirt` makes the studies, with what goes wrong in the
room; `policies` are ours and three rivals; `measure` counts. All of it follows from a seed.
"""
