//! The manual against the programs: its commands run as they stand, its tables say what the programs say of themselves.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use tests::machine::Hypervisor;
use tests::manual::facts::{self, Names};
use tests::manual::page::Page;
use tests::manual::{FOLDER, FRONT, pages, rules, session};
use tests::net::Network;
use tests::process::stdout_of;
use tests::{cargo, host, idle, initramfs, programs};

/// A page's commands take no longer.
const SESSION: Duration = Duration::from_secs(120);

/// Programs of the pages' commands.
const PROGRAMS: [programs::Program; 3] = [programs::CURL, programs::JQ, programs::IP];

fn main() {
    let arguments = Arguments::from_args();
    let pages = match pages(&cargo::workspace()) {
        Ok(pages) => pages,
        Err(error) => panic!("{error:#}"),
    };
    let mut trials = vec![
        Trial::test("pages_keep_the_manuals_rules", || said(rules_of_pages())),
        Trial::test("tables_name_what_there_is", || said(tables())),
        Trial::test("options_in_commands_exist", || said(options())),
    ];
    for page in &pages {
        let steps = session::of_page(page).unwrap_or_default();
        if !steps.is_empty() {
            let path = page.path.clone();
            let name = format!("commands_print_what_the_page_says [{path}]");
            trials.push(Trial::ignorable_test(name, move || commands(&path)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// A trial's end from its complaints.
fn said(complaints: Result<Vec<String>>) -> Result<(), Failed> {
    let complaints = complaints.map_err(|error| format!("{error:#}"))?;
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n").into()) }
}

fn rules_of_pages() -> Result<Vec<String>> {
    let root = cargo::workspace();
    let pages = pages(&root)?;
    let exists = |path: &str| root.join(path).exists();
    let front = &pages[0];
    let names = rules::order(front);
    let mut wrong = rules::contents(front, &pages);
    for page in &pages {
        wrong.extend(rules::head(page, &names));
        wrong.extend(rules::fences(page, &exists));
        wrong.extend(rules::links(page, &pages, &exists));
        wrong.extend(rules::paths(page, &exists));
    }
    Ok(wrong)
}

fn vmm() -> Result<PathBuf> {
    match Hypervisor::ours()? {
        Hypervisor::Vmm(path) => Ok(path),
        Hypervisor::Qemu(_) => unreachable!("ours is no QEMU"),
    }
}

fn help(program: impl AsRef<std::ffi::OsStr>, before: &[&str]) -> Result<String> {
    stdout_of(Command::new(program).args(before).arg("--help"))
}

fn page<'a>(pages: &'a [Page], name: &str) -> Result<&'a Page> {
    let path = if name == FRONT { name.to_owned() } else { format!("{FOLDER}/{name}.md") };
    pages.iter().find(|page| page.path == path).with_context(|| format!("there is no page {path}"))
}

fn tables() -> Result<Vec<String>> {
    let root = cargo::workspace();
    let pages = pages(&root)?;
    let (boot, network, ena) =
        (page(&pages, "boot")?, page(&pages, "network")?, page(&pages, "ena")?);
    let disks = page(&pages, "disks")?;
    let (api, observe) = (page(&pages, "api")?, page(&pages, "observe")?);
    let vmm = vmm()?;
    let (usage, ctl) = (help(&vmm, &[])?, help(&vmm, &["ctl"])?);
    let description: Value =
        serde_json::from_slice(&fs::read(root.join("resources/openapi.json"))?)?;

    let mut wrong = Vec::new();
    let written = facts::options_in(&boot.column("Option").join(" "));
    wrong.extend(facts::compare(boot, "option", &shown(&vmm, written)?, &facts::options(&usage)));

    let face = page(&pages, "firecracker")?;
    let written = facts::options_in(&face.column("Option").join(" "));
    let there = facts::options(&help(&vmm, &["firecracker"])?);
    wrong.extend(facts::compare(face, "option", &written, &there));

    let written = facts::in_cells(&boot.column("Code"));
    let written: Names =
        written.iter().flat_map(|code| code.split(' ')).map(str::to_owned).collect();
    wrong.extend(facts::compare(boot, "exit code", &written, &facts::exit_codes(&usage)));

    for (page, option) in [(network, "--net"), (disks, "--disk")] {
        let written = facts::keys(&page.column("Key").join(" "));
        let there = facts::keys(&facts::about(&usage, option));
        wrong.extend(facts::compare(page, "key", &written, &there));
    }

    let written = facts::in_cells(&ena.column("`fault=`"));
    wrong.extend(facts::compare(
        ena,
        "fault",
        &written,
        &facts::faults(&facts::about(&usage, "--net")),
    ));

    wrong.extend(facts::compare(api, "request", &requests_written(api), &requests(&description)?));

    let written = facts::in_cells(&observe.column("Command"));
    let written: Names =
        written.iter().map(|text| text.split(' ').next().unwrap_or_default().to_owned()).collect();
    wrong.extend(facts::compare(observe, "command", &written, &facts::commands(&ctl)));
    Ok(wrong)
}

/// Options without those that `--help` hides, such as second names; each must be taken.
fn shown(vmm: &Path, written: Names) -> Result<Names> {
    let listed = facts::options(&help(vmm, &[])?);
    let mut shown = Names::new();
    for option in written {
        // What is not known is refused before help is given.
        let is_hidden = !listed.contains(&option) && help(vmm, &[&option, "0"]).is_ok();
        if !is_hidden {
            shown.insert(option);
        }
    }
    Ok(shown)
}

/// `GET /vm` and so on, as the API's description has them.
fn requests(description: &Value) -> Result<Names> {
    let paths = description["paths"].as_object().context("the API's description has no paths")?;
    let of_path = |(path, methods): (&String, &Value)| {
        let methods: Vec<_> =
            methods.as_object().into_iter().flat_map(|all| all.keys()).cloned().collect();
        methods
            .into_iter()
            .map(|method| format!("{} {path}", method.to_uppercase()))
            .collect::<Vec<_>>()
    };
    Ok(paths.iter().flat_map(of_path).collect())
}

/// The same from the page's table: a path, then its methods.
fn requests_written(api: &Page) -> Names {
    let tables = api.tables();
    let rows =
        tables.iter().filter(|table| table.rows[0][0] == "Path").flat_map(|table| &table.rows[1..]);
    rows.flat_map(|row| {
        let path = row[0].trim_matches('`');
        row[1].split(", ").map(move |method| format!("{method} {path}"))
    })
    .collect()
}

fn options() -> Result<Vec<String>> {
    let vmm = vmm()?;
    let mut programs = vec![("vmm".to_owned(), facts::options(&help(&vmm, &[])?))];
    // Second names that Firecracker's users know.
    programs[0].1.extend(["--level", "--log-path"].map(str::to_owned));
    let ctl = help(&vmm, &["ctl"])?;
    let mut all = facts::options(&ctl);
    for command in facts::commands(&ctl) {
        all.extend(facts::options(&help(&vmm, &["ctl", "socket", &command])?));
    }
    programs.push(("vmm ctl".to_owned(), all));
    for command in ["jail", "restore", "receive", "snapshot", "disk"] {
        let mut options = facts::options(&help(&vmm, &[command])?);
        let own: &[&[&str]] = match command {
            "snapshot" => &[&["merge"], &["edit-memory", "rebase"]],
            "disk" => &[&["create"], &["info"], &["check"], &["flatten"], &["rebase"]],
            _ => &[],
        };
        for own in own {
            options.extend(facts::options(&help(&vmm, &[&[command], *own].concat())?));
        }
        programs.push((format!("vmm {command}"), options));
    }
    let face = facts::options(&help(&vmm, &["firecracker"])?);
    for name in ["firecracker", "./firecracker", "vmm firecracker"] {
        programs.push((name.to_owned(), face.clone()));
    }
    for (name, program) in [
        ("demo", env!("CARGO_BIN_EXE_demo")),
        ("verify", env!("CARGO_BIN_EXE_verify")),
        ("native-bench", env!("CARGO_BIN_EXE_native-bench")),
        ("testbed", env!("CARGO_BIN_EXE_testbed")),
        ("testbed-bench", env!("CARGO_BIN_EXE_testbed-bench")),
    ] {
        programs.push((format!("cargo {name}"), facts::options(&help(program, &[])?)));
    }
    let pages = pages(&cargo::workspace())?;
    Ok(pages.iter().flat_map(|page| facts::unknown_options(page, &programs)).collect())
}

/// Runs the commands of a page in a folder that has the files they name, and in a network of its own.
fn commands(path: &str) -> Result<Completion, Failed> {
    if host::kvm().is_err() {
        return Ok(Completion::ignored_with("/dev/kvm cannot be opened"));
    }
    let network = match nix::unistd::geteuid().is_root().then(Network::new) {
        Some(Ok(network)) => network,
        Some(Err(error)) => return Ok(Completion::ignored_with(format!("{error:#}"))),
        None => return Ok(Completion::ignored_with("TAPs are made by root only")),
    };
    said(session_of(path, &network)).map(|()| Completion::Completed)
}

fn session_of(path: &str, network: &Network) -> Result<Vec<String>> {
    programs::ensure(&PROGRAMS)?;
    let pages = pages(&cargo::workspace())?;
    let page = pages.iter().find(|page| page.path == path).context("the page has gone")?;
    let steps = session::of_page(page)?;
    ensure!(!steps.is_empty(), "{path} has no commands any more");
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    prepare(folder.path())?;

    let bin = folder.path().join("bin");
    let path_variable = std::env::var("PATH").unwrap_or_default();
    let mut shell = network.command("env");
    shell.arg(format!("PATH={}:{path_variable}:/usr/sbin:/sbin", bin.display())).arg("sh");
    let printed = session::run(shell, &session::script(&steps), folder.path(), SESSION)?;
    let wrong = session::judge(&steps, &printed);
    Ok(wrong.into_iter().map(|(line, text)| format!("{}: {text}", page.at(line))).collect())
}

/// `vmm` on the path, and kernels that halt for ever under the names of the manual.
fn prepare(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("bin"))?;
    symlink(vmm()?, folder.join("bin/vmm"))?;
    fs::rename(idle::kernel(folder)?, folder.join("vmlinux"))?;
    fs::write(folder.join("initramfs.cpio"), initramfs::empty()?)?;
    Ok(())
}
