//! Wrong disks: rows of `--disk` options, and files that are no images.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::stat::Mode;

/// A mistake: what each `--disk` says, and what must be said about it besides `--disk`.
pub struct Row(pub &'static str, pub &'static [&'static str], pub &'static [&'static str]);

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    Row("a_disk_without_an_image", &["ro,id=x"], &["path is not given", "path=disk.raw"]),
    Row("a_disk_of_nothing", &[""], &["path", "it is empty"]),
    Row("an_empty_path", &["path=,ro"], &["path", "it is empty", "raw image"]),
    Row("an_unknown_word_for_a_disk", &["path=d,speed=9"], &["unknown key \"speed\"", "known are path, base, id, ro"]),
    Row("a_file_whose_name_looks_like_a_word", &["a=b.raw"], &["unknown key \"a\""]),
    Row("a_path_with_a_comma", &["path=a,b.raw"], &["\"b.raw\" has no '='", "a comma of a value twice"]),
    Row("a_word_of_a_disk_given_twice", &["path=d,id=a,id=b"], &["id is given twice"]),
    Row("two_paths", &["d,path=e"], &["path is given twice"]),
    Row("a_word_that_is_for_another_option", &["path=d,mac=02:00:00:00:00:01"], &["unknown key \"mac\""]),
    Row("rw_instead_of_ro", &["path=d,rw"], &["\"rw\" has no '='"]),
    Row("ro_in_another_way", &["path=d,ro=true"], &["ro=true", "on, off"]),
    Row("direct_in_another_way", &["path=d,direct=yes"], &["direct=yes", "on, off"]),
    Row("a_device_name_as_root", &["path=d,root=vda1"], &["root=vda1", "on, off"]),
    Row("a_root_that_is_none", &["path=d,root=off,partuuid=1"], &["root=off", "partuuid"]),
    Row("a_partition_without_a_uuid", &["path=d,partuuid="], &["partuuid", "\"\" is not usable"]),
    Row("a_partition_that_ends_the_words_of_the_kernel", &["path=d,partuuid=1 init=/x"], &["partuuid", "\"1 init=/x\" is not usable"]),
    Row("an_unknown_model_of_disk", &["path=d,model=scsi"], &["model=scsi", "virtio, nvme, nvme-instance"]),
    Row("a_disk_without_queues", &["path={disk},queues=0"], &["queues", "0 queues; a disk has 1 to 64"]),
    Row("a_disk_with_too_many_queues", &["path={disk},queues=65"], &["queues", "65 queues"]),
    Row("queues_of_a_disk_in_words", &["path=d,queues=many"], &["queues=many", "write a number"]),
    Row("an_unknown_cache_mode", &["path=d,cache=none"], &["cache=none", "writeback, writethrough, unsafe"]),
    Row("an_unknown_engine", &["path=d,engine=aio"], &["engine=aio", "auto, uring, threads"]),
    Row("an_empty_serial_number", &["path={disk},serial="], &["serial", "\"\" is not usable"]),
    Row("a_serial_number_that_is_too_long", &["path={disk},serial=123456789012345678901"], &["serial", "1 to 20"]),
    Row("a_serial_number_in_no_ascii", &["path={disk},serial=ü"], &["serial", "printable ASCII"]),
    Row("a_bandwidth_of_nothing", &["path={disk},bw=0"], &["bw", "0 would let nothing through"]),
    Row("a_bandwidth_in_words", &["path=d,bw=fast"], &["bw=fast", "such as 2.5G"]),
    Row("a_bandwidth_in_binary_units", &["path=d,bw=1Gi"], &["bw=1Gi", "such as 2.5G"]),
    Row("negative_requests", &["path=d,iops=-1"], &["iops=-1"]),
    Row("requests_of_nothing", &["path={disk},iops=0"], &["iops", "leave it out for no limit"]),
    Row("more_requests_than_64_bits", &["path=d,iops=99999999999T"], &["iops", "too large"]),
    Row("an_unknown_fault_of_a_disk", &["path=d,fault=explode"], &["fault=explode", "swallow, error, slow"]),
    Row("a_fault_that_only_nvme_has", &["path={disk},fault=vanish"], &["fault", "only a disk of model nvme"]),
    Row("an_id_with_a_slash", &["path={disk},id=a/b"], &["id", "\"a/b\" is not usable"]),
    Row("two_disks_of_one_id", &["{disk},id=a", "{other},id=a"], &["disk \"a\": id", "given twice"]),
    Row("an_id_that_is_given_to_another_by_default", &["{disk},id=disk1", "{other}"], &["\"disk1\" is given twice"]),
    Row("two_disks_of_one_serial_number", &["{disk},serial=s", "{other},serial=s"], &["disk \"disk1\": serial", "belongs to disk \"disk0\""]),
    Row("two_roots", &["{disk},root", "{other},root"], &["disk \"disk1\": root", "disk \"disk0\" is the root already"]),
    Row("one_image_written_by_two_disks", &["{disk}", "{disk}"], &["disk \"disk1\": path", "{disk} is in use by disk \"disk0\""]),
    Row("one_image_read_by_one_disk_and_written_by_another", &["{disk},ro", "{disk}"], &["{disk}", "both are read-only"]),
    Row("one_image_by_two_paths", &["{disk}", "{link}"], &["{link} is in use by disk \"disk0\""]),
    Row("more_disks_than_places", &["{disk},ro"; 32], &["disk \"disk31\"", "at most 31 cards, disks and other devices"]),
    Row("a_missing_image", &["{missing}"], &["disk \"disk0\": path", "{missing}", "No such file"]),
    Row("an_image_in_a_missing_folder", &["{missing}/d"], &["{missing}/d", "No such file"]),
    Row("an_image_below_a_file", &["{disk}/d"], &["{disk}/d", "Not a directory"]),
    Row("a_link_that_leads_nowhere", &["{dangling}"], &["{dangling}", "No such file"]),
    Row("a_link_that_leads_to_itself", &["{loop}"], &["{loop}", "symbolic links"]),
    Row("an_image_that_is_a_folder", &["{folder}"], &["{folder}", "neither a regular file nor a block device"]),
    Row("an_image_that_is_a_pipe", &["{fifo}"], &["{fifo}", "neither a regular file nor a block device"]),
    Row("an_image_that_is_a_socket", &["{socket}"], &["{socket}", "neither a regular file nor a block device"]),
    Row("a_device_that_is_no_disk", &["/dev/null"], &["/dev/null", "neither a regular file nor a block device"]),
    Row("a_terminal", &["/dev/tty,ro"], &["/dev/tty", "neither a regular file nor a block device"]),
    Row("a_program_that_runs", &["/proc/self/exe"], &["/proc/self/exe", "Text file busy"]),
    Row("an_image_of_less_than_a_sector", &["{small}"], &["{small}", "100 bytes", "truncate -s"]),
    Row("a_qcow2_image", &["{qcow2}"], &["{qcow2}", "qcow2", "qemu-img convert -O raw"]),
    Row("a_qcow2_image_that_is_not_written", &["{qcow2},ro"], &["{qcow2}", "qcow2"]),
    Row("a_vmdk_image", &["{vmdk}"], &["{vmdk}", "VMDK"]),
    Row("a_vhdx_image", &["{vhdx}"], &["{vhdx}", "VHDX"]),
    Row("an_image_that_another_process_writes", &["{taken}"], &["{taken} is in use by another process", "lock"]),
    Row("an_image_that_another_process_writes_read_only", &["{taken},ro"], &["{taken} is in use by another process"]),
    Row("an_image_that_another_process_reads", &["{read}"], &["{read} is in use by another process", "read-only"]),
];

/// What the rows name, in `folder`; images are in use as long as what is returned lives.
pub fn files(folder: &Path) -> Result<Vec<File>> {
    let image = |head: &[u8]| [head, &[0; 8192]].concat();
    for (name, bytes) in [
        ("disk", image(b"")),
        ("other", image(b"")),
        ("small", vec![0; 100]),
        ("qcow2", image(b"QFI\xfb\0\0\0\x03")),
        ("vmdk", image(b"KDMV\x01")),
        ("vhdx", image(b"vhdxfile")),
        ("taken", image(b"")),
        ("read", image(b"")),
    ] {
        fs::write(folder.join(name), bytes)?;
    }
    symlink("disk", folder.join("link"))?;
    symlink("nowhere", folder.join("dangling"))?;
    symlink("loop", folder.join("loop"))?;
    nix::unistd::mkfifo(&folder.join("fifo"), Mode::S_IRWXU)?;
    // Its listener is not needed, only its place.
    drop(UnixListener::bind(folder.join("socket"))?);
    ensure!(fs::metadata(folder.join("socket"))?.file_type().is_socket());
    let locked = |name, kind| lock(&folder.join(name), kind);
    Ok(vec![locked("taken", libc::F_WRLCK)?, locked("read", libc::F_RDLCK)?])
}

/// Opens a file and locks it as hypervisors do: by its open file description.
fn lock(path: &Path, kind: libc::c_int) -> Result<File> {
    let file = File::options().read(true).write(true).open(path)?;
    let (l_type, l_whence) = (i16::try_from(kind)?, i16::try_from(libc::SEEK_SET)?);
    let whole = libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&whole))
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
