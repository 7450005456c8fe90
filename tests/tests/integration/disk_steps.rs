//! What may happen to a disk of Linux's: our own list of what blktests' groups `block` and `nvme` do to a device that is
//! there, as lines of shell.

use anyhow::{Context, Result};
use tests::guest::Shell;
use tests::host::PATIENCE;

use crate::scenario::long;

/// On which disks a step is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Each,
    Virtio,
    Nvme,
    /// Once, for the machine.
    All,
}

/// A thing to do; in the line `$d` is the disk's name in the guest, `$c` an NVMe disk's controller, `$p` its folder among
/// PCI's devices, and `$places` are first sectors and counts of them.
pub struct Step {
    pub what: &'static str,
    of: Of,
    line: &'static str,
}

impl Step {
    /// Takes it on each disk that it is for; each line must end well.
    pub fn take(&self, shell: &mut Shell, disks: &[&str]) -> Result<()> {
        let (what, line) = (self.what, self.line);
        let is_meant = |disk: &&&str| match self.of {
            Of::Each => true,
            Of::Virtio => disk.starts_with("vd"),
            Of::Nvme => disk.starts_with("nvme"),
            Of::All => **disk == disks[0],
        };
        let disks: Vec<_> = disks.iter().filter(is_meant).copied().collect();
        let places = if long() { "9 8 9 512 4095 8 4095 512" } else { "9 512 4095 8" };
        // In functions, as `exit` would end the shell.
        let script = format!(
            "places='{places}'; step() {{ {line}; }}; r=0; for d in {}; do c=${{d%n1}}; \
             p=$(readlink -f /sys/block/$d/device/device); \
             step || {{ r=$?; echo \"$d: status $r\"; break; }}; done; [ $r = 0 ]",
            disks.join(" ")
        );
        shell.sh_within(&script, PATIENCE).map(drop).with_context(|| format!("disks, {what}"))
    }
}

const fn step(what: &'static str, of: Of, line: &'static str) -> Step {
    Step { what, of, line }
}

/// While fio writes, reads and compares on all of them: it must notice nothing.
pub const MEANWHILE: &[Step] = &[
    step(
        "their schedulers change",
        Of::Each,
        "f=/sys/block/$d/queue/scheduler; for s in $(tr -d '[]' <$f); do echo $s >$f || return; done; \
         echo none >$f",
    ),
    step(
        "their queues become short and long",
        Of::Each,
        "f=/sys/block/$d/queue/nr_requests; o=$(cat $f); for n in 8 32 $o; do echo $n >$f || return; done",
    ),
    step(
        "their caches go off and on",
        Of::Virtio,
        "f=/sys/block/$d/cache_type; echo 'write through' >$f && grep -q through $f && \
         grep -q through /sys/block/$d/queue/write_cache && echo 'write back' >$f && grep -q back $f",
    ),
    step(
        "a CPU goes and comes",
        Of::All,
        "f=/sys/devices/system/cpu/cpu1/online; echo 0 >$f && sleep 0.2 && echo 1 >$f && grep -q 1 $f",
    ),
    step("controllers are reset", Of::Nvme, "nvme reset /dev/$c && nvme reset /dev/$c"),
    step("functions are reset", Of::Nvme, "echo 1 >$p/reset && [ -e $p/reset ]"),
    step("namespaces are looked for", Of::Nvme, "nvme ns-rescan /dev/$c && [ -b /dev/$d ]"),
    step(
        "a controller may not use memory for a moment",
        Of::Nvme,
        "w() { printf $1 | dd of=$p/config bs=1 seek=4 conv=notrunc 2>/dev/null; }; \
         w '\\002' && sleep 0.1 && w '\\006'",
    ),
    step("all is flushed", Of::Each, "dd if=/dev/null of=/dev/$d conv=fsync,notrunc 2>/dev/null"),
    step(
        "all that controllers tell is asked for",
        Of::Nvme,
        "for q in smart-log error-log fw-log effects-log; do nvme $q /dev/$c >/dev/null || return; done",
    ),
    step(
        "the log of statistics is asked for",
        Of::Nvme,
        "nvme get-log /dev/$c --log-id=0xd0 --log-len=4096 -b | wc -c | grep -qx 4096",
    ),
];

/// With nothing else under way.
pub const AFTERWARDS: &[Step] = &[
    step(
        "what is discarded reads as zeroes, and what is around it does not",
        Of::Each,
        "set -- $places; while [ $# -gt 0 ]; do at=$1 n=$2; shift 2; \
         tr '\\0' x </dev/zero | dd of=/dev/$d bs=512 seek=$((at-8)) count=$((n+16)) iflag=fullblock \
         conv=fsync 2>/dev/null && blkdiscard -o $((at/8*8*512)) -l $((n*512)) /dev/$d && \
         echo 3 >/proc/sys/vm/drop_caches && \
         [ $(dd if=/dev/$d bs=512 skip=$((at/8*8)) count=$n 2>/dev/null | tr -d '\\0' | wc -c) = 0 ] && \
         [ $(dd if=/dev/$d bs=512 skip=$((at/8*8+n)) count=4 2>/dev/null | tr -d x | wc -c) = 0 ] || return; \
         done",
    ),
    step(
        "zeroes are written without data",
        Of::Nvme,
        "tr '\\0' x </dev/zero | dd of=/dev/$d bs=4k count=4 iflag=fullblock conv=fsync 2>/dev/null && \
         nvme write-zeroes /dev/$d --start-block=3 --block-count=8 && echo 3 >/proc/sys/vm/drop_caches && \
         [ $(dd if=/dev/$d bs=512 skip=3 count=9 2>/dev/null | tr -d '\\0' | wc -c) = 0 ] && \
         [ $(dd if=/dev/$d bs=512 count=3 2>/dev/null | tr -d x | wc -c) = 0 ] && \
         [ $(dd if=/dev/$d bs=512 skip=12 count=20 2>/dev/null | tr -d x | wc -c) = 0 ]",
    ),
    step(
        "blocks are compared, and told apart",
        Of::Nvme,
        "dd if=/dev/urandom of=/tmp/some bs=4k count=1 2>/dev/null && \
         nvme write /dev/$d -s 64 -c 7 -z 4096 -d /tmp/some && \
         nvme read /dev/$d -s 64 -c 7 -z 4096 -d /tmp/same && cmp /tmp/some /tmp/same && \
         nvme compare /dev/$d -s 64 -c 7 -z 4096 -d /tmp/some && printf x >>/tmp/some && \
         tail -c 4096 /tmp/some >/tmp/other && \
         ! nvme compare /dev/$d -s 64 -c 7 -z 4096 -d /tmp/other 2>/dev/null",
    ),
    step(
        "commands pass by the kernel's block layer through rings",
        Of::Nvme,
        "fio --name=x --thread=1 --filename=/dev/ng${c#nvme}n1 --ioengine=io_uring_cmd --cmd_type=nvme --rw=randrw \
         --bs=4k --size=1m --iodepth=8 --output=/tmp/x.log || { cat /tmp/x.log; return 1; }",
    ),
    step(
        "what is beyond the end is refused",
        Of::Each,
        "n=$(cat /sys/block/$d/size); dd if=/dev/$d of=/dev/null bs=512 skip=$((n-1)) 2>/dev/null && \
         ! dd if=/tmp/some of=/dev/$d bs=512 seek=$n 2>/dev/null",
    ),
    step(
        "commands are refused as they have to be",
        Of::Nvme,
        "s() { nvme $* 2>&1 | grep -q 'NVMe status' || { echo \"not refused: $*\"; return 1; }; }; \
         s admin-passthru /dev/$c --opcode=0x7f && s admin-passthru /dev/$c --opcode=0x80 && \
         s io-passthru /dev/$d --opcode=0x7f --namespace-id=1 && \
         s get-feature /dev/$c -f 0x7f && s get-log /dev/$c --log-id=0x7f --log-len=512 && \
         s read /dev/$d -s $(cat /sys/block/$d/size) -c 0 -z 512 -d /tmp/none && s id-ns /dev/$c -n 2",
    ),
    step(
        "their drivers go and come",
        Of::Virtio,
        "p=$(readlink -f /sys/block/$d/device); p=${p##*/}; f=/sys/bus/virtio/drivers/virtio_blk; \
         echo $p >$f/unbind && [ ! -e /sys/block/$d ] && echo $p >$f/bind && [ -b /dev/$d ]",
    ),
    step(
        "a controller's driver goes and comes",
        Of::Nvme,
        "p=${p##*/}; f=/sys/bus/pci/drivers/nvme; echo $p >$f/unbind && [ ! -e /sys/block/$d ] && \
         echo $p >$f/bind && for n in $(seq 100); do [ -b /dev/$d ] && break; sleep 0.1; done; [ -b /dev/$d ]",
    ),
    step(
        "a controller is removed while it is read, and found again",
        Of::Nvme,
        "(while dd if=/dev/$d of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null; do :; done) & sleep 0.3; \
         echo 1 >$p/remove; wait; [ ! -e $p ] && echo 1 >/sys/bus/pci/rescan && \
         for n in $(seq 100); do [ -b /dev/$d ] && break; sleep 0.1; done; [ -b /dev/$d ]",
    ),
];
