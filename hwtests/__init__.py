"""The acceptance of a box on the box itself: `gateway commission` runs these tests (pytest) where it is to work.

What is promised: a line is *passed* only by something measured; hardware that is not there is *not present*, and
*failed* where the profile expects it; what could not be tried is *not tested*, with the reason. A line that rests on
one that did not pass is not tried: "not tested: blocked by". Everything a machine differs in is data (`*.toml`); what
is read of the machine goes through `machine.Machine`, whose root may be a described tree instead of `/`.
"""
