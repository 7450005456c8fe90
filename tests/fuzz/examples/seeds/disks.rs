//! Disks that boot by each of the ways, and some that are nearly one.

use Content::{File, Hole, Link};
use arch::seed::{Seed as CloudSeed, meta_data};
use fuzz::disks::{Content, ESP, LINUX, Mapping, UUID, ext4, gpt, mbr};

use crate::Seed;

const KERNEL: (&str, Content) = ("/boot/vmlinuz-6.1", File(b"kernel"));
const INITRD: (&str, Content) = ("/boot/initrd.img-6.1", File(b"initrd"));
const MENU: &[u8] = b"set default=0\nmenuentry 'a' --id a {\n linux /boot/vmlinuz-6.1 root=/dev/vda1 ro\n initrd /boot/initrd.img-6.1\n}\n";
const ENTRY: (&str, Content) =
    ("/loader/entries/a-6.1.conf", File(b"title A\nlinux /boot/vmlinuz-6.1\noptions quiet\n"));

pub fn all() -> Vec<Seed> {
    let root = |mapping| ext4(&[("/boot/grub/grub.cfg", File(MENU)), KERNEL, INITRD], mapping);
    let stub = format!(
        "search.fs_uuid {UUID} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    );
    let esp = ext4(&[("/EFI/debian/grub.cfg", File(stub.as_bytes()))], Mapping::Extents);
    let links = [
        ("/boot/grub2/grub.cfg", Link("../grub.cfg")),
        ("/boot/grub.cfg", File(b"blscfg")),
        ENTRY,
        KERNEL,
        ("/boot/vmlinuz", Link("vmlinuz-6.1")),
        ("/loop", Link("loop")),
        ("/boot/hole", Hole(1 << 40)),
    ];
    let bare = [("/etc/fstab", File(b"")), KERNEL, INITRD];
    let extents = root(Mapping::Extents);
    let mut backup = gpt(&[(LINUX, 1, &extents)]);
    backup[512] = 0;
    let script = |text: &str| [b"grub.cfg:", text.as_bytes()].concat();
    vec![
        ("gpt", gpt(&[(LINUX, 1, &extents), (ESP, 15, &esp)])),
        ("gpt-backup", backup),
        ("mbr", mbr(&[(0x83, &root(Mapping::Blocks))])),
        ("mbr-logical", mbr(&[(0x82, &[0; 512]), (0, &[]), (0, &[]), (0, &[]), (0x83, &extents)])),
        ("whole", extents),
        ("bls", ext4(&[ENTRY, KERNEL], Mapping::Extents)),
        ("links", ext4(&links, Mapping::Extents)),
        ("newest", mbr(&[(0x83, &ext4(&bare, Mapping::Blocks))])),
        (
            "fat",
            CloudSeed {
                user_data: b"#cloud-config\n".to_vec(),
                meta_data: meta_data("a"),
                network_config: Some(b"version: 2\n".to_vec()),
            }
            .to_disk()
            .expect("it is small"),
        ),
        (
            "script-debian",
            script(
                "if [ -s $prefix/grubenv ]; then\n set have=true\n load_env\nfi\nif [ \"${next}\" ] ; then set \
                 default=\"${next}\"; else set default=\"0\"; fi\nfunction load_video { insmod all_video; }\n\
                 menuentry 'A' --class a --id 'x' {\n load_video\n search --no-floppy --fs-uuid --set=root 0\n \
                 linux /boot/vmlinuz-1 root=PARTUUID=1 ro $quiet\n initrd /boot/initrd.img-1\n}\nsubmenu 'B' {\n \
                 menuentry 'C' { linux /boot/vmlinuz-1; }\n}\n",
            ),
        ),
        ("script-bls", script("set default=\"${saved_entry}\"\nset kernelopts=\"a b\"\nblscfg\n")),
        (
            "script-loops",
            script(
                "for a in 1 2 'c d'; do set b=\"$b$a\"; done\nwhile [ $n != xx ]; do set n=${n}x; done\nlinux /boot/vmlinuz-1 $b",
            ),
        ),
        (
            "script-function",
            script(
                "function f { set a=$1; return; }\nf x y\nif ! [ $# -gt 0 -o -e /no ]; then linux /boot/vmlinuz-1 $a; fi",
            ),
        ),
        ("script-endless", script("function f { f; }\nf")),
    ]
}
