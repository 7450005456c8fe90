//! Wrong arguments and files: each row one mistake, its exit code, and one line that names it. No KVM is needed.
#![forbid(unsafe_code)]

#[path = "inputs/disks.rs"]
mod disks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tests::cargo;
use tests::console::Console;
use tests::host;
use tests::machine::Hypervisor;
use tests::net::Network;
use tests::process::{Owned, stdout_of};

/// A mistake and what is said about it.
struct Row {
    name: &'static str,
    /// Arguments; `{file}` stands for files made by `files`.
    arguments: &'static [&'static str],
    /// Each must be in the line: the flag or file, and the reason.
    said: &'static [&'static str],
}

const fn row(
    name: &'static str,
    arguments: &'static [&'static str],
    said: &'static [&'static str],
) -> Row {
    Row { name, arguments, said }
}

/// Files that rows name as `{name}`.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let text = b"#!/bin/sh\necho I am no kernel, however long I am\n".repeat(200);
    vec![
        ("good", kernel(|_| ())),
        ("empty", Vec::new()),
        ("text", text),
        ("gzip", [b"\x1f\x8b\x08\0".as_slice(), &[7; 4096]].concat()),
        ("cut-in-header", kernel(|_| ())[..0x210].to_vec()),
        ("cut-in-setup", kernel(|_| ())[..0x400].to_vec()),
        ("cut-in-code", kernel(|_| ())[..0x2000].to_vec()),
        ("old", kernel(|k| k[0x206..0x208].copy_from_slice(&0x0204u16.to_le_bytes()))),
        ("32-bit", kernel(|k| k[0x236] = 0)),
        ("huge", kernel(|k| k[0x260..0x264].copy_from_slice(&0x4000_0000u32.to_le_bytes()))),
        ("elf-arm", elf(0xb7, 2)),
        ("elf-32-bit", elf(0x03, 1)),
        ("elf-cut", elf(0x3e, 2)[..40].to_vec()),
        ("initrd", vec![b'0'; 4096]),
        ("big-initrd", vec![0; 80 << 20]),
    ]
}

/// A bzImage as far as its header goes (Linux/x86 boot protocol), changed by `spoil`.
fn kernel(spoil: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut k = vec![0; 5 * 512 + 0x8000];
    k[0x1f1] = 4; // setup_sects
    k[0x1f4..0x1f8].copy_from_slice(&(0x8000u32 / 16).to_le_bytes()); // syssize
    k[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
    k[0x200..0x202].copy_from_slice(&[0xeb, 0x6a]);
    k[0x202..0x206].copy_from_slice(b"HdrS");
    k[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    k[0x211] = 1; // loadflags: LOADED_HIGH
    k[0x214..0x218].copy_from_slice(&0x10_0000u32.to_le_bytes()); // code32_start
    k[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes()); // initrd_addr_max
    k[0x230..0x234].copy_from_slice(&0x20_0000u32.to_le_bytes()); // kernel_alignment
    k[0x234] = 1; // relocatable_kernel
    k[0x236] = 3; // xloadflags: 64-bit entry, above 4 GiB
    k[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes()); // cmdline_size
    k[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes()); // pref_address
    k[0x260..0x264].copy_from_slice(&0x40_0000u32.to_le_bytes()); // init_size
    spoil(&mut k);
    k
}

/// An ELF header of a machine and a class (1: 32-bit, 2: 64-bit).
fn elf(machine: u16, class: u8) -> Vec<u8> {
    let mut e = vec![0; 4096];
    e[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1, 1]);
    e[16..18].copy_from_slice(&2u16.to_le_bytes());
    e[18..20].copy_from_slice(&machine.to_le_bytes());
    e[20] = 1;
    e[32] = 64;
    e[52] = 64;
    e[54] = 56;
    e[56] = 1;
    e
}

const LONG: &str = "--cmdline={long}";

const ROWS: &[Row] = &[
    row("no_arguments", &[], &["--kernel", "--mem", "required"]),
    row("no_kernel", &["--mem", "64M"], &["--kernel", "required"]),
    row("no_memory", &["--kernel", "{good}"], &["--mem", "required"]),
    row("an_unknown_flag", &["--kernel", "{good}", "--mem", "64M", "--floppy", "x"], &["--floppy"]),
    row("a_stray_argument", &["--kernel", "{good}", "--mem", "64M", "stray"], &["stray"]),
    row(
        "memory_without_a_unit",
        &["--kernel", "{good}", "--mem", "512"],
        &["--mem", "512", "unit"],
    ),
    row(
        "memory_that_is_no_number",
        &["--kernel", "{good}", "--mem", "lots"],
        &["--mem", "lots", "size"],
    ),
    row(
        "memory_of_zero",
        &["--kernel", "{good}", "--mem", "0M"],
        &["--mem", "0 bytes is too little"],
    ),
    row(
        "memory_that_is_not_whole_pages",
        &["--kernel", "{good}", "--mem", "65537K"],
        &["--mem", "65537K", "whole pages"],
    ),
    row(
        "memory_that_is_not_whole_huge_pages",
        &["--kernel", "{good}", "--mem", "63M", "--huge-pages"],
        &["--huge-pages", "63M", "whole pages of 2 MiB"],
    ),
    row(
        "more_memory_than_kvm_takes",
        &["--kernel", "{good}", "--mem", "9T"],
        &["--mem", "9T is too much", "8T"],
    ),
    row("negative_memory", &["--kernel", "{good}", "--mem=-5M"], &["--mem", "-5M"]),
    row(
        "more_memory_than_64_bits",
        &["--kernel", "{good}", "--mem", "99999999T"],
        &["--mem", "99999999T", "large"],
    ),
    row(
        "an_identity_with_an_unknown_key",
        &["--kernel", "{good}", "--mem", "64M", "--smbios", "maker=x"],
        &["--smbios", "unknown key \"maker\"; known are vendor"],
    ),
    row(
        "an_identity_that_cannot_be_printed",
        &["--kernel", "{good}", "--mem", "64M", "--smbios", "serial=é"],
        &["--smbios", "serial=é: write 1 to 64 printable ASCII characters"],
    ),
    row(
        "a_bus_that_there_is_not",
        &["--kernel", "{good}", "--mem", "64M", "--bus", "isa"],
        &["--bus", "isa", "pci, mmio"],
    ),
    row(
        "a_pci_card_and_a_kernel_without_pci",
        &[
            "--kernel",
            "{good}",
            "--mem",
            "64M",
            "--net",
            "tap=t,model=ena",
            "--cmdline",
            "console=ttyS0 pci=off",
        ],
        &["--net: card \"eth0\": model=ena is a PCI card", "pci=off in the kernel's command line"],
    ),
    row(
        "a_pci_card_on_a_machine_without_pci",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,model=ena", "--bus", "mmio"],
        &["--net: card \"eth0\": model=ena is a PCI card", "bus mmio"],
    ),
    row("no_cpus", &["--kernel", "{good}", "--mem", "64M", "--cpus", "0"], &["--cpus", "0"]),
    row(
        "too_many_cpus",
        &["--kernel", "{good}", "--mem", "64M", "--cpus", "65"],
        &["--cpus", "65", "64"],
    ),
    row(
        "cpus_in_words",
        &["--kernel", "{good}", "--mem", "64M", "--cpus", "two"],
        &["--cpus", "two"],
    ),
    row(
        "a_missing_kernel",
        &["--kernel", "{missing}", "--mem", "64M"],
        &["{missing}", "does not exist"],
    ),
    row(
        "a_kernel_that_is_a_folder",
        &["--kernel", "{folder}", "--mem", "64M"],
        &["{folder}", "directory"],
    ),
    row("an_empty_kernel", &["--kernel", "{empty}", "--mem", "64M"], &["{empty}", "empty"]),
    row(
        "a_kernel_that_is_a_script",
        &["--kernel", "{text}", "--mem", "64M"],
        &["{text}", "not a kernel"],
    ),
    row("a_packed_kernel", &["--kernel", "{gzip}", "--mem", "64M"], &["{gzip}", "not a kernel"]),
    row(
        "a_kernel_cut_in_its_header",
        &["--kernel", "{cut-in-header}", "--mem", "64M"],
        &["{cut-in-header}", "truncated"],
    ),
    row(
        "a_kernel_cut_in_its_setup",
        &["--kernel", "{cut-in-setup}", "--mem", "64M"],
        &["{cut-in-setup}", "truncated"],
    ),
    row(
        "a_kernel_cut_in_its_code",
        &["--kernel", "{cut-in-code}", "--mem", "64M"],
        &["{cut-in-code}", "truncated"],
    ),
    row("an_old_kernel", &["--kernel", "{old}", "--mem", "64M"], &["{old}", "boot protocol 2.04"]),
    row("a_32_bit_kernel", &["--kernel", "{32-bit}", "--mem", "64M"], &["{32-bit}", "64-bit"]),
    row(
        "a_kernel_too_large_for_the_memory",
        &["--kernel", "{huge}", "--mem", "64M"],
        &["{huge}", "too large", "64 MiB"],
    ),
    row(
        "a_kernel_for_another_processor",
        &["--kernel", "{elf-arm}", "--mem", "64M"],
        &["{elf-arm}", "another processor"],
    ),
    row(
        "a_32_bit_elf_kernel",
        &["--kernel", "{elf-32-bit}", "--mem", "64M"],
        &["{elf-32-bit}", "32-bit"],
    ),
    row(
        "a_cut_elf_kernel",
        &["--kernel", "{elf-cut}", "--mem", "64M"],
        &["{elf-cut}", "truncated"],
    ),
    row(
        "a_missing_initrd",
        &["--kernel", "{good}", "--mem", "64M", "--initrd", "{missing}"],
        &["initrd", "{missing}", "does not exist"],
    ),
    row(
        "an_empty_initrd",
        &["--kernel", "{good}", "--mem", "64M", "--initrd", "{empty}"],
        &["initrd", "{empty}", "empty"],
    ),
    row(
        "an_initrd_that_is_a_folder",
        &["--kernel", "{good}", "--mem", "64M", "--initrd", "{folder}"],
        &["initrd", "{folder}", "directory"],
    ),
    row(
        "an_initrd_too_large_for_the_memory",
        &["--kernel", "{good}", "--mem", "64M", "--initrd", "{big-initrd}"],
        &["{big-initrd}", "too large"],
    ),
    row(
        "a_command_line_longer_than_the_kernel_takes",
        &["--kernel", "{good}", "--mem", "64M", LONG],
        &["command line", "3000", "2047"],
    ),
    row(
        "a_command_line_that_is_not_ascii",
        &["--kernel", "{good}", "--mem", "64M", "--cmdline", "a=ü"],
        &["command line", "ASCII"],
    ),
    row(
        "a_card_without_a_tap",
        &["--kernel", "{good}", "--mem", "64M", "--net", "queues=2"],
        &["--net", "tap"],
    ),
    row(
        "a_card_without_words",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap0"],
        &["--net", "tap0", "key=value"],
    ),
    row(
        "an_unknown_word_for_a_card",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,speed=9"],
        &["--net", "speed"],
    ),
    row(
        "a_word_given_twice",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,tap=u"],
        &["--net", "twice"],
    ),
    row(
        "an_unknown_model",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,model=ne2000"],
        &["--net", "ne2000"],
    ),
    row(
        "a_bad_mac",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,mac=02:00"],
        &["--net", "mac", "02:00"],
    ),
    row(
        "a_multicast_mac",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,mac=01:00:00:00:00:01"],
        &["--net", "mac", "01:00:00:00:00:01"],
    ),
    row(
        "no_queues",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,queues=0"],
        &["--net", "queues", "0"],
    ),
    row(
        "too_many_queues",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,queues=65"],
        &["--net", "queues", "65"],
    ),
    row(
        "a_tiny_mtu",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,mtu=20"],
        &["--net", "mtu", "20"],
    ),
    row(
        "a_tap_name_too_long_for_the_kernel",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=sixteen-letters-"],
        &["--net", "sixteen-letters-"],
    ),
    row(
        "tap_and_descriptor",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,fd=9"],
        &["--net", "tap", "fd"],
    ),
    row(
        "descriptors_that_are_not_the_queues",
        &["--kernel", "{good}", "--mem", "64M", "--net", "fd=8:9,queues=3"],
        &["--net", "fd", "queues"],
    ),
    row(
        "two_cards_with_one_id",
        &["--kernel", "{good}", "--mem", "64M", "--net", "tap=t,id=a", "--net", "tap=u,id=a"],
        &["--net", "id", "\"a\"", "twice"],
    ),
    row(
        "an_unknown_console",
        &["--kernel", "{good}", "--mem", "64M", "--serial", "printer"],
        &["--serial", "printer"],
    ),
    row(
        "a_console_file_without_a_name",
        &["--kernel", "{good}", "--mem", "64M", "--serial", "file="],
        &["--serial", "path"],
    ),
    row(
        "a_console_file_in_a_missing_folder",
        &["--kernel", "{good}", "--mem", "64M", "--serial", "file={missing}/log"],
        &["--serial", "{missing}/log"],
    ),
    row(
        "a_console_socket_over_a_file",
        &["--kernel", "{good}", "--mem", "64M", "--serial", "socket={text}"],
        &["--serial", "{text}", "not a socket"],
    ),
    row(
        "a_grace_in_words",
        &["--kernel", "{good}", "--mem", "64M", "--grace", "long"],
        &["--grace", "long"],
    ),
    row(
        "an_unknown_log_level",
        &["--kernel", "{good}", "--mem", "64M", "--log-level", "loud"],
        &["--log-level", "loud"],
    ),
    row(
        "a_log_file_in_a_missing_folder",
        &["--kernel", "{good}", "--mem", "64M", "--log-file", "{missing}/log"],
        &["log", "{missing}/log"],
    ),
];

/// Mistakes that only the host can find, exit code 1: (name, argument of `--net`, said).
/// There are a single-queue TAP `tap0`, a multi-queue TAP `tap1` and the loopback `lo`.
const INTERFACE_ROWS: &[(&str, &str, &[&str])] = &[
    ("two_queues_on_a_single_queue_tap", "tap=tap0,queues=2", &["tap0", "queue"]),
    ("a_descriptor_that_is_not_open", "fd=77", &["77", "not open"]),
    ("an_interface_that_is_no_tap", "tap=lo", &["lo"]),
];

fn main() {
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, bytes) in files() {
        fs::write(folder.path().join(name), bytes).expect("files can be written");
    }
    fs::create_dir(folder.path().join("folder")).expect("a folder can be made");

    let in_use = disks::files(folder.path()).expect("images can be made and locked");

    let mut trials = Vec::new();
    for row in ROWS {
        let folder = folder.path().to_owned();
        trials.push(Trial::test(row.name, move || told(refused(row, &folder))));
    }
    for row in disks::ROWS {
        let folder = folder.path().to_owned();
        trials.push(Trial::test(row.0, move || told(refused_disk(row, &folder))));
    }
    for &(name, spec, said) in INTERFACE_ROWS {
        let folder = folder.path().to_owned();
        trials.push(Trial::ignorable_test(name, move || {
            if !nix::unistd::geteuid().is_root() {
                return Ok(Completion::ignored_with("TAPs are made by root"));
            }
            if host::kvm().is_err() {
                return Ok(Completion::ignored_with(
                    "TAPs are opened after /dev/kvm, which cannot be",
                ));
            }
            told(refused_interface(spec, said, &folder)).map(|()| Completion::Completed)
        }));
    }
    trials.push(Trial::test("the version tells the commit", || told(version_tells_the_commit())));
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop((folder, in_use));
    conclusion.exit();
}

/// Of a checkout; an archive has none to tell, unless `$VMM_COMMIT` says it.
fn version_tells_the_commit() -> Result<()> {
    let Hypervisor::Vmm(vmm) = Hypervisor::ours()? else { bail!("no vmm") };
    let said = stdout_of(Command::new(vmm).arg("--version"))?;
    let git = |arguments: &[&str]| {
        stdout_of(Command::new("git").args(arguments).current_dir(cargo::workspace()))
    };
    let commit = match std::env::var("VMM_COMMIT") {
        Ok(given) => format!(" ({given})"),
        Err(_) if !cargo::workspace().join(".git").exists() => String::new(),
        Err(_) => format!(" ({:.12})", git(&["rev-parse", "HEAD"])?),
    };
    let expected = format!("vmm {}{commit}\n", env!("CARGO_PKG_VERSION"));
    ensure!(said == expected, "it says {said:?}, not {expected:?}");
    Ok(())
}

fn told(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| Failed::from(format!("{error:#}")))
}

/// Replaces `{name}` by the path of that file.
fn filled(text: &str, folder: &Path) -> String {
    if text == LONG {
        return text.replace("{long}", &"x".repeat(3000));
    }
    match (text.find('{'), text.find('}')) {
        (Some(from), Some(to)) if from < to => {
            let path = folder.join(&text[from + 1..to]);
            format!("{}{}{}", &text[..from], path.display(), &text[to + 1..])
        }
        _ => text.to_owned(),
    }
}

fn vmm() -> Result<PathBuf> {
    match Hypervisor::ours()? {
        Hypervisor::Vmm(path) => Ok(path),
        Hypervisor::Qemu(_) => unreachable!("ours is not QEMU"),
    }
}

fn refused(row: &Row, folder: &Path) -> Result<()> {
    let mut command = Command::new(vmm()?);
    command.args(row.arguments.iter().map(|argument| filled(argument, folder)));
    let said: Vec<_> = row.said.iter().map(|part| filled(part, folder)).collect();
    one_line(&mut command, 2, &said)
}

fn refused_disk(row: &disks::Row, folder: &Path) -> Result<()> {
    let disks::Row(_, specs, said) = row;
    let mut command = Command::new(vmm()?);
    command.args(["--kernel", &filled("{good}", folder), "--mem", "64M"]);
    for spec in *specs {
        command.args(["--disk", &filled(spec, folder)]);
    }
    let said = said.iter().chain(&["--disk"]).map(|part| filled(part, folder)).collect::<Vec<_>>();
    one_line(&mut command, 2, &said)
}

fn refused_interface(spec: &str, said: &[&str], folder: &Path) -> Result<()> {
    let mut network = Network::new()?;
    network.tap(1, 1500)?;
    network.tap(2, 1500)?;
    let mut command = network.command(vmm()?);
    command.args(["--kernel", &filled("{good}", folder), "--mem", "64M", "--net", spec]);
    one_line(&mut command, 1, &said.iter().map(|&part| part.to_owned()).collect::<Vec<_>>())
}

/// The command must end with `code` and say all of `said` in a single line, on standard error only.
fn one_line(command: &mut Command, code: i32, said: &[String]) -> Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Owned::spawn(command)?;
    let output =
        Console::collect("standard output", process.child().stdout.take().context("no output")?);
    let errors =
        Console::collect("standard error", process.child().stderr.take().context("no errors")?);
    let limit = Duration::from_secs(20);
    let status = process.ended(limit)?;
    let (output, errors) = (output.wait_for_end(limit)?, errors.wait_for_end(limit)?);
    ensure!(status.code() == Some(code), "{status}, not exit code {code}: {errors}");
    ensure!(
        errors.lines().count() == 1 && errors.starts_with("vmm: error: "),
        "not one error line: {errors:?}"
    );
    ensure!(output.is_empty(), "something on standard output: {output:?}");
    for part in said {
        ensure!(errors.contains(part.as_str()), "{part:?} is not said in: {errors}");
    }
    Ok(())
}
