//! Whole disks: what is booted, from where, and what is said where nothing can be.

use proptest::prelude::*;

use super::samples::{self as disks, Content, ESP, LINUX, Mapping, UUID, partuuid};
use super::*;
use crate::boot::samples::bzimage;
use Content::{File, Hole, Link};

const NAME: &str = "disk.raw";

fn root(files: &[(&str, Content)]) -> Vec<u8> {
    disks::ext4(files, Mapping::Extents)
}

fn find(disk: &[u8]) -> Result<DiskBoot, String> {
    DiskBoot::find(&disk.to_vec(), NAME).map_err(|error| error.to_string())
}

fn bytes(disk: &[u8], file: &DiskFile) -> Vec<u8> {
    let mut out = Vec::new();
    file.copy(&disk.to_vec(), &mut out).unwrap();
    assert_eq!(out.len() as u64, file.size);
    out
}

const GRUB: &str =
    "menuentry Linux { linux /boot/vmlinuz-6 root=LABEL=x quiet\ninitrd /boot/initrd.img-6\n}";

fn with_grub(grub: &str) -> Vec<u8> {
    let kernel = bzimage();
    root(&[
        ("/boot/grub/grub.cfg", File(grub.as_bytes())),
        ("/boot/vmlinuz-6", File(&kernel)),
        ("/boot/initrd.img-6", File(&[7; 3000])),
    ])
}

#[test]
fn a_disk_with_grub_boots_what_its_menu_says() {
    let volume = with_grub(GRUB);
    let tables = [
        (disks::gpt(&[(LINUX, 1, &volume)]), "partition 1"),
        (disks::mbr(&[(0x82, &[0; 512]), (0x83, &volume)]), "partition 2"),
        (volume.clone(), "the disk"),
    ];
    for (disk, place) in tables {
        let boot = find(&disk).unwrap();
        assert_eq!(bytes(&disk, &boot.kernel), bzimage());
        assert_eq!(bytes(&disk, &boot.initrds[0]), [7; 3000]);
        assert_eq!(boot.cmdline, "root=LABEL=x quiet console=ttyS0");
        assert_eq!(
            boot.origin,
            format!(
                "kernel /boot/vmlinuz-6 of {place} with initrd /boot/initrd.img-6 of {place}, by entry \
                 \"Linux\" of /boot/grub/grub.cfg on {place}"
            )
        );
    }
}

#[test]
fn firmwares_configuration_leads_to_the_boot_partition() {
    let kernel = bzimage();
    let boot = root(&[
        ("/grub2/grub.cfg", File(b"set boot=$root\nblscfg")),
        ("/loader/entries/a.conf", File(b"linux /vmlinuz-6\noptions root=UUID=btrfs")),
        ("/vmlinuz-6", File(&kernel)),
    ]);
    let stub = format!(
        "search --no-floppy --fs-uuid --set=dev {UUID}\nset prefix=($dev)/grub2\nexport $prefix\n\
         set root=$dev\nconfigfile $prefix/grub.cfg\n"
    );
    let esp = root(&[("/EFI/fedora/grub.cfg", File(stub.as_bytes()))]);
    // The other file system has the same UUID, so it comes behind.
    let disk = disks::gpt(&[(LINUX, 2, &boot), (ESP, 15, &esp)]);
    let found = find(&disk).unwrap();
    assert_eq!(found.kernel.name, "/vmlinuz-6 of partition 2");
    assert!(found.origin.ends_with("of /EFI/fedora/grub.cfg on partition 15"), "{}", found.origin);
}

#[test]
fn an_initrd_beside_the_kernel_is_taken_along() {
    let disk = with_grub("menuentry a { linux /boot/vmlinuz-6 root=PARTUUID=1 }");
    assert_eq!(find(&disk).unwrap().initrds.len(), 1);
}

#[test]
fn systemd_boots_entries_are_booted_where_there_is_no_grub() {
    let kernel = bzimage();
    let disk = disks::gpt(&[(
        ESP,
        1,
        &root(&[
            (
                "/loader/entries/a.conf",
                File(b"linux /a/linux\ninitrd /a/ucode\ninitrd /a/initrd\noptions x=1"),
            ),
            ("/a/linux", File(&kernel)),
            ("/a/ucode", File(b"micro")),
            ("/a/initrd", File(b"initrd")),
        ]),
    )]);
    let boot = find(&disk).unwrap();
    assert_eq!(
        boot.initrds.iter().map(|file| bytes(&disk, file)).collect::<Vec<_>>(),
        [b"micro".to_vec(), b"initrd".to_vec()]
    );
    assert_eq!(boot.cmdline, "x=1 console=ttyS0");
}

#[test]
fn a_unified_kernel_image_is_taken_apart() {
    let mut image = vec![0; 0x400];
    disks::put(&mut image, 0, b"MZ");
    disks::put(&mut image, 60, &[64]);
    disks::put(&mut image, 64, b"PE\0\0\x64\x86\x02\0");
    disks::put(&mut image, 88, b".linux\0\0\x05\0\0\0\0\0\0\0\x05\0\0\0\0\x02\0\0");
    disks::put(&mut image, 128, b".cmdline\x05\0\0\0\0\0\0\0\x05\0\0\0\0\x03\0\0");
    disks::put(&mut image, 0x200, b"linux");
    disks::put(&mut image, 0x300, b"quiet");
    let disk = disks::gpt(&[(ESP, 1, &root(&[("/EFI/Linux/os.efi", File(&image))]))]);
    let boot = find(&disk).unwrap();
    assert_eq!(bytes(&disk, &boot.kernel), b"linux");
    assert_eq!(boot.kernel.name, ".linux in /EFI/Linux/os.efi of partition 1");
    assert_eq!((&*boot.cmdline, boot.initrds.len()), ("quiet console=ttyS0", 0));
    assert_eq!(boot.origin, "the unified kernel image /EFI/Linux/os.efi of partition 1");
}

#[test]
fn without_a_boot_loader_the_newest_kernel_is_booted_with_its_root_named() {
    let kernel = bzimage();
    let files = [
        ("/etc/fstab", File(b"#")),
        ("/boot/vmlinuz-6.1.0-9-amd64", File(b"old".as_slice())),
        ("/boot/vmlinuz-6.1.0-13-amd64", File(&kernel)),
        ("/boot/vmlinuz-7.0-gone", Link("nowhere")),
        ("/boot/initrd.img-6.1.0-13-amd64", File(b"initrd")),
        ("/boot/initrd.img-6.1.0-9-amd64", File(b"other")),
        ("/vmlinuz", Link("boot/vmlinuz-6.1.0-9-amd64")),
    ];
    let volume = root(&files);
    let disk = disks::gpt(&[(LINUX, 3, &volume)]);
    let boot = find(&disk).unwrap();
    assert_eq!(bytes(&disk, &boot.kernel), kernel);
    assert_eq!(bytes(&disk, &boot.initrds[0]), b"initrd");
    let root = partuuid(3);
    assert_eq!(boot.cmdline, format!("root=PARTUUID={root} ro rootwait console=ttyS0"));
    assert!(boot.origin.contains("the newest kernel"));
    let boot = find(&volume).unwrap();
    assert_eq!(boot.cmdline, format!("root=UUID={UUID} ro rootwait console=ttyS0"));
}

#[test]
fn the_serial_port_is_named_once_and_before_words_for_init() {
    for (said, line) in [
        ("", "console=ttyS0"),
        ("quiet", "quiet console=ttyS0"),
        ("console=tty0 console=ttyS0,115200n8", "console=tty0 console=ttyS0,115200n8"),
        ("console=ttyS0 console=tty0", "console=ttyS0 console=tty0"),
        ("console=ttyS01", "console=ttyS01 console=ttyS0"),
        ("console=ttyS1", "console=ttyS1 console=ttyS0"),
        ("quiet -- single", "quiet console=ttyS0 -- single"),
    ] {
        assert_eq!(with_console(said), line);
    }
}

#[test]
fn what_cannot_be_read_is_told_by_its_name() {
    let closed = |at: usize, magic: &[u8]| {
        let mut bytes = vec![0; 0x1_1000];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        disks::gpt(&[(LINUX, 1, &bytes)])
    };
    for (disk, kind) in [
        (closed(0, b"XFSB"), "XFS"),
        (closed(0x1_0040, b"_BHRfS_M"), "btrfs"),
        (closed(0, b"LUKS\xBA\xBE"), "LUKS (encrypted)"),
        (closed(0x200, b"LABELONE"), "LVM"),
    ] {
        assert_eq!(
            find(&disk).unwrap_err(),
            format!(
                "disk disk.raw has no kernel that was found: partition 1 is {kind}, which cannot be read here; \
                 give a kernel and its command line"
            )
        );
    }
}

#[test]
fn a_boot_loader_that_leads_nowhere_is_told_with_what_it_looked_for() {
    let esp = root(&[(
        "/EFI/amzn/grub.cfg",
        File(b"search --fs-uuid --set=root 77\nconfigfile /boot/grub2/grub.cfg"),
    )]);
    let mut xfs = vec![0; 4096];
    xfs[..4].copy_from_slice(b"XFSB");
    let disk = disks::gpt(&[(LINUX, 1, &xfs), (ESP, 2, &esp)]);
    assert_eq!(
        find(&disk).unwrap_err(),
        "disk disk.raw has no kernel that was found: partition 1 is XFS, which cannot be read here, \
         /EFI/amzn/grub.cfg on partition 2: it has no entries: no file system that can be read has the uuid \
         \"77\"; give a kernel and its command line"
    );
}

#[test]
fn missing_and_foreign_files_are_told_with_who_wants_them() {
    let entry = |files: &[(&str, Content)]| {
        let mut all = vec![("/loader/entries/a.conf", File(b"linux /k\ninitrd /i".as_slice()))];
        all.extend(files.iter().map(|(path, content)| match content {
            File(bytes) => (*path, File(bytes)),
            Hole(len) => (*path, Hole(*len)),
            Link(to) => (*path, Link(to)),
        }));
        find(&root(&all)).unwrap_err()
    };
    let by = "disk disk.raw: /loader/entries/a.conf on the disk boots";
    assert_eq!(entry(&[]), format!("{by} /k of the disk, but it is not there"));
    assert_eq!(entry(&[("/k", File(b""))]), format!("{by} /k of the disk, but it is empty"));
    assert_eq!(entry(&[("/k", File(b"k"))]), format!("{by} /i of the disk, but it is not there"));
    assert_eq!(
        entry(&[("/k", Hole(1 << 40))]),
        format!("{by} /k of the disk, but it has 1099511627776 bytes, at most 536870912 are taken")
    );
    let mut image = vec![0; 100];
    image[56..60].copy_from_slice(b"ARM\x64");
    let line = "disk disk.raw is for another processor: /k of the disk is a kernel for aarch64; x86-64 is needed";
    assert_eq!(entry(&[("/k", File(&image))]), line);
    assert_eq!(entry(&[("/k", File(b"MZ\0\0zimg\0\0\0\0"))]), line);
}

#[test]
fn other_formats_are_told_from_raw_images() {
    let line = find(b"QFI\xFB and more").unwrap_err();
    assert_eq!(
        line,
        "disk disk.raw is no raw image: it is a qcow2 image; convert it: qemu-img convert -O raw IMAGE disk.raw"
    );
    assert!(find(b"\xFD7zXZ\0").unwrap_err().contains("compressed by xz"));
    for nothing in [&[][..], &[0; 100], &[0; 1 << 20]] {
        assert_eq!(
            find(nothing).unwrap_err(),
            "disk disk.raw has no kernel that was found: there is neither a partition nor a file system that is \
             known here; give a kernel and its command line"
        );
    }
}

#[test]
fn a_backup_of_the_table_is_told() {
    let mut disk = disks::gpt(&[(LINUX, 1, &with_grub(GRUB))]);
    disk[512] = 0;
    assert!(
        find(&disk)
            .unwrap()
            .origin
            .ends_with("; its partition table is damaged, the copy was taken")
    );
}

#[test]
fn holes_of_a_file_are_written_as_zeros() {
    let disk = root(&[("/loader/entries/a.conf", File(b"linux /k")), ("/k", Hole((1 << 20) + 5))]);
    let boot = find(&disk).unwrap();
    assert_eq!(bytes(&disk, &boot.kernel), vec![0; (1 << 20) + 5]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_change_of_a_disk_makes_it_lead_outside(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut disk = disks::gpt(&[(LINUX, 1, &with_grub(GRUB))]);
        for (at, value) in changes {
            let at = at.index(disk.len());
            disk[at] = value;
        }
        if let Ok(boot) = find(&disk) {
            for file in std::iter::once(&boot.kernel).chain(&boot.initrds) {
                let mut out = Vec::new();
                prop_assert!(file.copy(&disk, &mut out).is_ok());
                prop_assert_eq!(out.len() as u64, file.size);
            }
        }
    }
}
