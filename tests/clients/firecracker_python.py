"""A whole life by the API's client of firecracker-python, with the requests that its MicroVM makes in their order.

Its packages for containers and shells into guests are left out, so the package is not imported as a whole.
"""

import os
import subprocess
import sys
import time
import types

program, kernel, disk, site = sys.argv[1:]
# Of a Linux; the kernel halts for ever if there is none.
initrd = os.environ.get("CLIENTS_INITRD")
package = types.ModuleType("firecracker")
package.__path__ = [os.path.join(site, "firecracker")]
sys.modules["firecracker"] = package

from firecracker.api import Api  # noqa: E402
from firecracker.exceptions import APIError  # noqa: E402

arguments = ["--api-sock", "firecracker.socket", "--id", "a1b2c3", "--log-path", "a1b2c3.log"]
process = subprocess.Popen(
    [program, *arguments], stdin=subprocess.DEVNULL, stdout=open("firecracker.log", "w")
)
while not os.path.exists("firecracker.socket"):
    assert process.poll() is None, "it ended at once"
    time.sleep(0.01)

try:
    # Relative: what stands for a host in its addresses knows no capital letters.
    api = Api("firecracker.socket")
    boot = {"kernel_image_path": kernel, "boot_args": "console=ttyS0 reboot=k pci=off panic=1"}
    if initrd:
        boot["initrd_path"] = initrd
        boot["boot_args"] += " loglevel=4 mitigations=off cryptomgr.notests norandmaps"
    api.boot.put(**boot)
    api.drive.put(drive_id="rootfs", path_on_host=disk, is_root_device=True, is_read_only=False)
    api.machine_config.put(vcpu_count=1, mem_size_mib=256 if initrd else 128)
    try:
        api.drive.put(drive_id="other", path_on_host="/nowhere", is_root_device=False)
        raise SystemExit("a disk that is not there was taken")
    except APIError as error:
        assert "API fault: Drive config error: " in str(error), error
    api.actions.put(action_type="InstanceStart")
    assert api.describe.get().json()["state"] == "Running"
    begun = time.monotonic()
    while initrd and b"user space reached" not in open(os.environ["CLIENTS_CONSOLE"], "rb").read():
        assert time.monotonic() - begun < 300, "Linux is not up"
        time.sleep(0.1)
    for wanted, state in [("Paused", "Paused"), ("Resumed", "Running")]:
        api.vm.patch(state=wanted)
        assert api.describe.get().json()["state"] == state
    config = api.vm_config.get().json()
    assert config["network-interfaces"] == [] and config["drives"][0]["drive_id"] == "rootfs", config
    assert api.version.get().json()["firecracker_version"].startswith("1."), "no version"
    api.close()
    process.terminate()
    assert process.wait(60) == -15, process.returncode
    assert not os.path.exists("firecracker.socket")
finally:
    process.kill()
