"""Fuzzing of everything that reads bytes of others: `make fuzz`, `make fuzz LONG=1`, `python -m tests.fuzz --help`.

A target (`targets`) takes bytes and holds the code under test to its promises; whatever it raises is a finding.
Inputs are made by mutating seeds (`seeds`) along the structure of their format (`mutate`), by our own seeded
generator, and, where atheris is installed, by libFuzzer with its coverage as guide. A trial (`trial`) is bounded in
time and memory. What was found once lives in `corpus/` and is tried by every `make test`.
"""
