"""The power-cut rig: a real ext4 on a disk that forgets what was never flushed, and proof that the rig tells.

`rig.py` is the disk and its cut, `disk.py` the nbdkit plug-in behind it, `writer.py` the control writers,
`ledger.py` the list of acknowledged objects, kept outside the disk, and its comparison with what survived.
"""
