"""A second holder of our address, and a path that swallows large packets, on two real interfaces of the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# sysfs shows the interfaces of the namespace it was mounted in. The far end has a name instead of a process in it: a
# process that has just started is still in our own namespace, and would get the wire there
_WIRES = """
set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
ip netns add far
ip link add near type veth peer name far netns far
for wire in "near 1500 192.0.2.1" "far 1400 192.0.2.2"; do
  set -- $wire
  in=ip; [ $1 = far ] && in="ip -n far"
  $in address add $3/24 dev $1
  $in link set $1 mtu $2 up
done
ip -n far address add 192.0.2.9/32 dev far
"$PYTHON" -c "$LOOK"
"""
_LOOK = """
import json, subprocess
from pathlib import Path
from hwtests import network
mac = Path("/sys/class/net/near/address").read_text().strip()
found = {
    "ours": sorted(network.other_holders("near", mac, "192.0.2.1", wait=0.3)),
    "theirs": len(network.other_holders("near", mac, "192.0.2.9", wait=0.3)),
    "path": network.largest_packet("192.0.2.2", 1500, wait=0.2),
    "small": network.largest_packet("192.0.2.2", 1300, wait=0.2),
}
subprocess.run(["ip", "link", "set", "near", "mtu", "1280"], check=True)
found["ourselves"] = network.largest_packet("192.0.2.2", 1500, wait=0.2)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_on_two_wires(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make network namespaces (run as root)")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", _WIRES],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,
        env={"PYTHON": sys.executable, "LOOK": _LOOK, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["ours"], found["theirs"], found["small"]) == ([], 1, 1300)
    assert found["ourselves"] == 1280, "nothing is sent in fragments"
    assert 1400 <= found["path"] < 1500, "a veth lets a few bytes more pass than its MTU"
