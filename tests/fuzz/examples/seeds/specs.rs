//! Command lines, one argument a line.

use crate::Seed;

pub fn all() -> Vec<Seed> {
    let full = "--kernel\nbzImage\n--mem\n512M\n--initrd\ninitrd\n--cmdline\nquiet\n--cpus\n4\n\
        --net\ntap=tap0,model=virtio,mac=06:00:00:00:00:01,queues=2,mtu=1500,id=lan\n\
        --serial\nsocket=/tmp/s\n--grace\n5\n--log-level\ndebug\n--log-file\nlog";
    let seeds = [
        ("least", "--kernel=bzImage\n--mem=128M"),
        ("full", full),
        ("two-cards", "--kernel=k\n--mem=2G\n--net=tap=a\n--net=fd=3:4,queues=2"),
        (
            "identity",
            "--kernel=k\n--mem=64M\n--smbios=vendor=A,,B,serial=1,uuid=ec2e1916-9099-7c05-8a4b-00a0c93ec93b",
        ),
        ("help", "--help"),
        ("version", "--version"),
        ("unknown-flag", "--kernle=k"),
        ("no-memory", "--kernel=k"),
        ("tap", "tap=tap0"),
        ("tap-no-name", "tap="),
        ("dev", "dev=veth0,queues=2"),
        ("tap-long-name", "tap=a234567890123456"),
        ("tap-blank", "tap=a b"),
        ("fds", "fd=3:4:5,queues=3"),
        ("fds-without-queues", "fd=3:4"),
        ("fd-low", "fd=2"),
        ("fd-negative", "fd=-1"),
        ("fd-twice", "fd=3:3"),
        ("two-backends", "tap=a,fd=3"),
        ("model", "tap=a,model=ena"),
        ("limits", "tap=a,model=ena,bw-in=2.5G,bw-out=500M,pps=100k,conntrack=65536"),
        ("faults", "tap=a,model=ena,llq=off,fault=swallow-tx:300@5,fault=request-reset"),
        ("fault-unknown", "tap=a,model=ena,fault=no-anwser@1"),
        ("fault-of-virtio", "tap=a,fault=no-answer@4294967296"),
        ("mac", "02:00:00:12:34:56"),
        ("mac-group", "tap=a,mac=01:00:00:00:00:00"),
        ("mac-short", "tap=a,mac=02:00"),
        ("queues", "tap=a,queues=65536"),
        ("mtu", "tap=a,mtu=67"),
        ("id", "tap=a,id=net-0_1.x"),
        ("id-bad", "tap=a,id=a/b"),
        ("key-twice", "tap=a,tap=b"),
        ("no-value", "tap"),
        ("unknown-key", "tap=a,speed=1"),
        ("stdio", "stdio"),
        ("none", "none"),
        ("file", "file=console.log"),
        ("file-no-path", "file="),
        ("size-bytes", "--kernel=k\n--mem=4096"),
        ("size-unit", "--kernel=k\n--mem=64KiB"),
        ("size-large", "--kernel=k\n--mem=99999999999T"),
        ("cpus-none", "--kernel=k\n--mem=1G\n--cpus=0"),
        ("not-ascii", "--kernel=ö\n--mem=½G\n--net=tap=日本"),
    ];
    seeds.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect()
}
