"""The hardware tests, tested: on a described machine, with real peers, and each fault planted."""
