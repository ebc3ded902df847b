"""The bench: the gateway beside DCMTK, Orthanc and pynetdicom on this machine, written into docs/performance.md.

What is promised: variants are interleaved in shuffled order, each cell has a fresh server and a disk without
dirty pages, and a table that was made while the machine was busy says so and gives no verdict. Only ratios
inside one table mean anything: absolute figures depend on the machine and the hour.
"""
