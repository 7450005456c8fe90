//! A Debian from its disk: found, booted by either model, logged in to, written, and told by cloud-init's seed who it is.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use tests::debian::{Debian, Edition, Guest};
use tests::host::PATIENCE;
use tests::machine::{BOOT, DiskModel, Hypervisor, Machine, Model};
use tests::net::{Network, Tap};

use crate::scenario::{Scenario, is_healthy, long, network};

pub fn scenarios() -> Vec<Scenario> {
    let mut all = vec![Scenario::new(
        "debian::what_one_boot_wrote_the_next_finds_by_another_model",
        written_and_found,
    )];
    if long() {
        all.push(Scenario::new("debian::cloud_init_does_what_its_seed_says", cloud_init));
        all.push(Scenario::new(
            "debian::cloud_init_takes_the_machine_for_an_instance",
            cloud_init_of_ec2,
        ));
        all.push(Scenario::new("debian::what_grubs_tools_write_is_booted", grub_mkconfig));
    }
    all
}

/// What takes an emulated guest's time and is not looked at here.
const QUICK: [&str; 3] = ["mitigations=off", "cryptomgr.notests", "norandmaps"];

/// A disk to write, and a network to the guest on it.
struct Scene {
    debian: Debian,
    network: Network,
    tap: Tap,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(edition: Edition) -> Result<Self> {
        let debian = Debian::open(edition)?;
        let mut network = network()?;
        let tap = network.tap(1, 1500)?;
        let folder = tempfile::tempdir()?;
        debian.copy_to(&folder.path().join("disk.raw"))?;
        Ok(Self { debian, network, tap, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn machine(&self, disk: DiskModel, card: Model) -> Result<Machine> {
        let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { bail!("another hypervisor") };
        let machine = Machine::of_disk(vmm, &self.path("disk.raw"), disk).memory(512);
        let machine = machine.card_of(card, &self.tap);
        Ok(QUICK.iter().fold(machine, |machine, word| machine.parameter(word)))
    }

    /// The same with a seed for cloud-init of these files.
    fn seeded(&self, machine: Machine, files: &[(&str, &str)]) -> Result<Machine> {
        let mut seed = Vec::new();
        for (name, text) in files {
            fs::write(self.path(name), text)?;
            seed.push(format!("{name}={}", self.path(name).display()));
        }
        let seed = seed.join(",");
        Ok(machine.argument("--cloud-init").argument(seed).argument("--id").argument("web-1"))
    }

    fn log_in(&self, machine: &Machine) -> Result<Guest<'_>> {
        let running = machine.start(Some(&self.network))?;
        Guest::log_in(running, &self.network, &self.tap, self.debian.key()?)
    }
}

/// Checks that the kernel had no complaint, and powers the guest off.
fn finish(mut guest: Guest) -> Result<()> {
    is_healthy(&mut guest.shell)?;
    guest.power_off()
}

fn written_and_found() -> Result<()> {
    let scene = Scene::new(Edition::Small)?;
    let by_systemd = scene.tap.parameter_of_systemd();

    let user_data = "#cloud-config\nhostname: web\n";
    let machine = scene.machine(DiskModel::Virtio, Model::Virtio)?.parameter(&by_systemd);
    let mut guest = scene.log_in(&scene.seeded(machine, &[("user-data", user_data)])?)?;
    ensure!(guest.shell.sh("findmnt -no SOURCE /")? == "/dev/vda1", "the root is elsewhere");
    let seed =
        guest.shell.sh("blkid -o value -s LABEL -s TYPE /dev/vdb; blockdev --getro /dev/vdb; \
         mount -o ro LABEL=CIDATA /mnt && cat /mnt/user-data /mnt/meta-data; umount /mnt")?;
    let wanted = format!("CIDATA\nvfat\n1\n{user_data}instance-id: web-1\nlocal-hostname: web-1");
    ensure!(seed == wanted, "the seed is {seed:?}");
    let written = guest
        .ssh
        .run_within("head -c 3M /dev/urandom >/root/written && sha256sum /root/written", BOOT)?;
    finish(guest)?;

    let machine = scene.machine(DiskModel::Nvme, Model::Ena)?.parameter(&by_systemd);
    let mut guest = scene.log_in(&machine)?;
    ensure!(guest.shell.sh("findmnt -no SOURCE /")? == "/dev/nvme0n1p1", "the root is elsewhere");
    let link = guest.shell.sh(
        "readlink -f /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$(tr -d ' ' </sys/class/nvme/nvme0/serial)",
    )?;
    ensure!(link == "/dev/nvme0n1", "udev's link by model and serial number leads to {link}");
    let found = guest.ssh.run_within("sha256sum /root/written", BOOT)?;
    ensure!(found == written, "what was written as {written} is found as {found}");
    finish(guest)
}

fn cloud_init() -> Result<()> {
    let scene = Scene::new(Edition::Cloud)?;
    let Tap { mac, guest_ipv4, .. } = &scene.tap;
    let user_data = "#cloud-config\n\
                     write_files:\n\
                     - {path: /root/written, content: by the user}\n\
                     runcmd:\n\
                     - [sh, -c, 'hostname >/root/ran']\n";
    let network_config = format!(
        "version: 2\nethernets:\n  card:\n    match: {{macaddress: '{mac}'}}\n    addresses: [{guest_ipv4}/24]\n"
    );
    let files = [("user-data", user_data), ("network-config", &network_config)];
    let machine = scene.seeded(scene.machine(DiskModel::Nvme, Model::Ena)?, &files)?;
    let mut guest = scene.log_in(&machine)?;
    let said = guest.shell.sh_within("cloud-init status --wait --long", BOOT)?;
    ensure!(said.contains("status: done") && said.contains("NoCloud"), "it says {said}");
    let by_ssh = guest.ssh.run_within("cat /root/written; echo; cat /root/ran", BOOT)?;
    let done: Vec<_> = by_ssh.lines().collect();
    ensure!(done == ["by the user", "web-1"], "it did {done:?}");
    tools_of_ec2(&mut guest)?;
    finish(guest)
}

/// With `--profile ec2`, and no disk for cloud-init: its Ec2 data source knows the SMBIOS, and asks the metadata service,
/// by a network that the guest has by itself.
fn cloud_init_of_ec2() -> Result<()> {
    let scene = Scene::new(Edition::Cloud)?;
    let user_data = "#cloud-config\n\
                     write_files:\n\
                     - {path: /root/written, content: by the user}\n\
                     runcmd:\n\
                     - [sh, -c, 'hostname >/root/ran']\n";
    fs::write(scene.path("user-data"), user_data)?;
    let imds = format!("user-data={},zone=eu-west-1b", scene.path("user-data").display());
    let machine = scene.machine(DiskModel::Nvme, Model::Ena)?;
    let machine = machine.argument("--id").argument("web-1").argument("--profile").argument("ec2");
    let machine = machine.argument(format!("--imds={imds}"));
    // cloud-init would ask by DHCP, which nobody answers.
    let machine = machine.parameter("network-config=disabled");
    let mut guest = scene.log_in(&machine.parameter(&scene.tap.parameter_of_systemd()))?;
    let said = guest.shell.sh_within("cloud-init status --wait --long", BOOT)?;
    ensure!(said.contains("status: done") && said.contains("Ec2"), "it says {said}");
    let asked = ["instance_id", "region", "availability_zone", "cloud_name", "ds.meta_data.mac"];
    let ask = asked.map(|name| format!("cloud-init query {name}")).join("; ");
    let told = guest.shell.sh_within(&ask, BOOT)?;
    let told: Vec<_> = told.lines().map(str::trim).collect();
    let [id, rest @ ..] = &told[..] else { bail!("it tells nothing") };
    ensure!(id.starts_with("i-"), "the instance is {id}");
    ensure!(rest == ["eu-west-1", "eu-west-1b", "aws", &scene.tap.mac], "it tells {rest:?}");
    let by_ssh = guest.ssh.run_within("cat /root/written; echo; cat /root/ran", BOOT)?;
    let done: Vec<_> = by_ssh.lines().collect();
    ensure!(done == ["by the user", "web-1"], "it did {done:?}");
    finish(guest)
}

/// Amazon's own script and udev rules take the disk for a volume of EBS.
fn tools_of_ec2(guest: &mut Guest) -> Result<()> {
    let serial = guest.shell.sh("cat /sys/class/nvme/nvme0/serial")?;
    let volume = serial.trim().replacen("vol", "vol-", 1);
    let said = guest.shell.sh_within("ebsnvme-id /dev/nvme0n1", PATIENCE)?;
    ensure!(said.contains(&volume) && said.contains("disk0"), "ebsnvme-id says {said:?}");
    let links = guest
        .shell
        .sh("readlink -f /dev/disk0 /dev/disk01; cat /sys/block/nvme0n1/queue/io_timeout")?;
    let links: Vec<_> = links.lines().collect();
    ensure!(links == ["/dev/nvme0n1", "/dev/nvme0n1p1", "4294967295"], "udev made {links:?}");
    Ok(())
}

/// The menu that Debian's own tool writes in the guest leads to what is booted next.
fn grub_mkconfig() -> Result<()> {
    let scene = Scene::new(Edition::Cloud)?;
    let machine = || {
        let machine = scene.machine(DiskModel::Virtio, Model::Virtio)?;
        anyhow::Ok(
            machine.parameter("cloud-init=disabled").parameter(&scene.tap.parameter_of_systemd()),
        )
    };
    let mut guest = scene.log_in(&machine()?)?;
    guest.shell.sh("echo 'GRUB_CMDLINE_LINUX=\"net.ifnames=0 console=ttyS0 said=by-its-tool\"' >/etc/default/grub")?;
    guest.shell.sh_within("grub-mkconfig -o /boot/grub/grub.cfg 2>&1", PATIENCE)?;
    finish(guest)?;
    let mut guest = scene.log_in(&machine()?)?;
    let cmdline = guest.shell.sh("cat /proc/cmdline")?;
    ensure!(cmdline.contains(" said=by-its-tool"), "it is told {cmdline}");
    let menu = guest.shell.sh("grep -c '^menuentry\\|^submenu' /boot/grub/grub.cfg")?;
    ensure!(menu.trim() != "0", "there is no menu");
    finish(guest)
}
