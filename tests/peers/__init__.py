"""Foreign DICOM programs as test peers, and the synthetic objects they send.

Every peer is a context manager: it starts a real program on loopback, is ready when it is entered, is stopped by
its own process group when left, and shows its output when the body fails. Nothing here imports the gateway.
"""
