"""Compression: a corpus of everything that breaks encoders, read back by decoders that are not ours."""
