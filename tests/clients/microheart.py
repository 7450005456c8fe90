"""A whole life by microheart: a machine from its configuration file, on PCI, with a TAP, until it is cleaned up.

Its shell into the guest is taken for one that answers, and nothing is said to the host's packet filter.
"""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

program, kernel, disk, site = sys.argv[1:]
sys.path.insert(0, site)
os.environ["MICROHEART_HOME"] = home = os.path.abspath("home")
os.makedirs(home)
os.symlink(program, os.path.join(home, "firecracker"))
os.symlink(kernel, os.path.join(home, "vmlinux-9.9.9"))

from microheart import net  # noqa: E402
from microheart.vm import MicroVM  # noqa: E402

run = net._run


def run_here(*command, check=True, capture=False):
    if command[0] in ("iptables", "sysctl"):
        return SimpleNamespace(returncode=0, stdout="")
    return run(*command, check=check, capture=capture)


net._run = run_here
net.host_iface = lambda: "lo"


class Machine(MicroVM):
    def ssh(self, command, check=True, timeout=30):
        if command == "reboot":
            # As if it took the guest too long.
            os.kill(self.pid(), signal.SIGTERM)
            assert os.waitpid(self.pid(), 0)[1] == signal.SIGTERM
            return SimpleNamespace(returncode=0, stdout="", stderr="")
        # It is up once its API answers.
        up = os.path.exists(self.sock) and self.machine_config()["vcpu_count"] == 1
        return SimpleNamespace(returncode=0 if up else 255, stdout="", stderr="")


machine = Machine("one", rootfs=disk, key=disk, vcpu=1, mem_mib=128)
assert machine.start(wait=60) is not None, "it ran already"
assert machine.running() and machine.rec["state"] == "running", machine.rec
assert machine.machine_config()["mem_size_mib"] == 128
try:
    taps = subprocess.run(["ip", "link", "show", machine.tap], capture_output=True, text=True)
    assert "LOWER_UP" in taps.stdout, taps
    machine.stop()
    assert not os.path.exists(machine.sock)
finally:
    machine.clean()
