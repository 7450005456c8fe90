//! The house rules that a machine can keep: who may use whom, and what every file looks like.
#![forbid(unsafe_code)]

#[path = "house/knots.rs"]
mod knots;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tests::cargo;
use tests::process::stdout_of;

/// Our crates, and those of ours that each may use. Layers go upwards; neighbours do not know each other.
const ARROWS: &[(&str, &[&str])] = &[
    ("arch", &[]),
    ("device-core", &[]),
    ("pci", &["device-core"]),
    ("legacy", &["device-core"]),
    ("net", &["device-core"]),
    ("block", &["device-core"]),
    ("virtio", &["device-core", "pci", "net", "block"]),
    ("nvme", &["device-core", "pci", "block"]),
    ("ena", &["device-core", "pci", "net"]),
    ("devices", &["device-core", "pci", "legacy", "net", "block", "virtio", "ena", "nvme"]),
    ("vmm", &["arch", "devices", "device-core", "pci"]),
    ("tests", &[]),
];

/// Crates without a line of unsafe code.
const SAFE: &[&str] = &["arch", "pci", "virtio", "ena", "nvme", "devices", "tests"];

/// Crates with unsafe code in named files only, behind `#![deny(unsafe_code)]`.
const SAFE_BUT: &[(&str, &[&str])] = &[
    (
        "block",
        &[
            "src/engine/calls.rs",
            "src/engine/uring.rs",
            "src/engine/uring_test.rs",
            "src/image/host.rs",
            "src/image/lock.rs",
            "src/port/fallback_test.rs",
            "src/task.rs",
        ],
    ),
    ("legacy", &["src/console/tty.rs", "src/console/testing.rs"]),
];

/// Where code may depend on the processor's architecture.
const ARCHITECTURES: &[&str] = &["arch/src/lib.rs", "vmm/src/kvm.rs", "vmm/src/kvm/"];

/// Code lines a file may have without saying why it has more.
const MOST_LINES: usize = 800;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

fn packages() -> Vec<Package> {
    let text = stdout_of(cargo::command().args(["metadata", "--no-deps", "--format-version", "1"]))
        .unwrap();
    serde_json::from_str::<Metadata>(&text).unwrap().packages
}

/// A source file: its path from the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("_test.rs")
            || self.path.starts_with("tests/")
            || ["/tests/", "/testing/", "/benches/"].iter().any(|part| self.path.contains(part))
    }

    /// Lines of code, without those of a test module at the end.
    fn code(&self) -> impl Iterator<Item = &str> {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let root = cargo::workspace();
    let mut found = Vec::new();
    for package in packages() {
        let folder = package.manifest_path.parent().unwrap();
        for part in ["src", "tests", "benches", "fuzz"] {
            collect(&root, &folder.join(part), &mut found);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push(Source { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

/// Fails with all offenders, one to a line.
fn nobody(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n{}", offenders.join("\n"));
}

#[test]
fn crates_use_only_layers_below() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut offenders = Vec::new();
    for package in packages() {
        let Some(allowed) = allowed.get(package.name.as_str()) else {
            offenders.push(format!("{} is not in the table", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let in_product = dependency.kind.as_deref() != Some("dev");
            let itself = dependency.name == package.name;
            if in_product && !itself && !allowed.contains(&dependency.name.as_str()) {
                offenders.push(format!("{} uses {}", package.name, dependency.name));
            }
        }
    }
    nobody("arrows that are not in the table", offenders);
}

#[test]
fn no_files_of_a_crate_import_each_other() {
    let mut offenders = Vec::new();
    for package in packages() {
        let folder = package.manifest_path.parent().unwrap().join("src");
        let (mut sources, mut files) = (Vec::new(), knots::Crate::default());
        collect(&folder, &folder, &mut sources);
        for source in sources.iter().filter(|source| !source.path.ends_with("_test.rs")) {
            files.add(&source.path, &source.text);
        }
        offenders.extend(files.knots().iter().map(|knot| format!("{}: {knot}", package.name)));
    }
    nobody("files that import each other; what both share belongs below both", offenders);
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    nobody("files that do not begin with //!", silent.map(|source| source.path).collect());
}

#[test]
fn no_file_is_long_without_a_reason() {
    let long = sources().into_iter().filter(|source| !source.text.contains("\n//! long because"));
    let long = long
        .map(|source| (source.code().count(), source.path))
        .filter(|(lines, _)| *lines > MOST_LINES);
    nobody(
        "files with too much code",
        long.map(|(lines, path)| format!("{path}: {lines} lines")).collect(),
    );
}

#[test]
fn crates_that_promise_safety_forbid_unsafe_code() {
    let mut offenders = Vec::new();
    for package in packages().into_iter().filter(|package| SAFE.contains(&package.name.as_str())) {
        let root = package.manifest_path.with_file_name("src").join("lib.rs");
        if !fs::read_to_string(&root).unwrap().contains("#![forbid(unsafe_code)]") {
            offenders.push(package.name);
        }
    }
    nobody("crates without #![forbid(unsafe_code)]", offenders);
}

#[test]
fn unsafe_code_stays_in_the_files_named_for_it() {
    let mut offenders = Vec::new();
    for package in packages() {
        let Some((_, files)) = SAFE_BUT.iter().find(|(name, _)| *name == package.name) else {
            continue;
        };
        let folder = package.manifest_path.parent().unwrap();
        let root = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
        if !root.contains("#![deny(unsafe_code)]") {
            offenders.push(package.name.clone());
        }
        let mut found = Vec::new();
        collect(folder, &folder.join("src"), &mut found);
        found.retain(|source| {
            source.text.contains("allow(unsafe_code)") && !files.contains(&source.path.as_str())
        });
        offenders
            .extend(found.into_iter().map(|source| format!("{}: {}", package.name, source.path)));
    }
    nobody("unsafe code elsewhere", offenders);
}

#[test]
fn architectures_are_told_apart_in_two_places() {
    let offenders = sources().into_iter().filter(|source| {
        !ARCHITECTURES.iter().any(|place| source.path.starts_with(place))
            && !source.is_test()
            && source.code().any(|line| line.contains("target_arch"))
    });
    nobody("files that look at the architecture", offenders.map(|source| source.path).collect());
}

#[test]
fn nothing_unfinished_is_left() {
    let marks = ["todo!", "unimplemented!", "dbg!"];
    let offenders = sources().into_iter().filter(|source| {
        !source.is_test()
            && source.code().any(|line| marks.iter().any(|mark| line.contains(&format!("{mark}("))))
    });
    nobody(
        "files with todo!, unimplemented! or dbg!",
        offenders.map(|source| source.path).collect(),
    );
}

/// They panic where what they write to is full or closed.
#[test]
fn nothing_that_ships_prints_by_macro() {
    let macros = ["print!(", "println!(", "eprint!(", "eprintln!("];
    let prints = |line: &str| {
        macros.iter().any(|name| {
            line.match_indices(name).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            })
        })
    };
    assert!(prints("_ => eprintln!(\"x\"),") && !prints("blueprint!(x)"));
    let offenders =
        sources().into_iter().filter(|source| !source.is_test() && source.code().any(prints));
    nobody("files that print by macro", offenders.map(|source| source.path).collect());
}

#[test]
fn no_module_is_called_mod() {
    let offenders = sources().into_iter().filter(|source| source.path.ends_with("/mod.rs"));
    nobody(
        "a module with parts is name.rs beside the folder name",
        offenders.map(|source| source.path).collect(),
    );
}
