"""The hardware tests on an emulated machine, with faults planted in it: `make hwtest-qemu`."""
