//! What runs of the tests have used of the table, and what they have not, for each of which the table has a reason.
//!
//! `seen.txt` has a line for each call that a kind of thread was seen to make, with the values of the arguments that its row
//! checks. The recorder wrote them; `VMM_ROWS=FOLDER UPDATE_GENERATED=1` takes in what it has written to a folder, and drops what
//! is in no row any more.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::names;
use super::row::{Check, Kind, Library, Row};
use super::table::all;

/// Where the recorder has written.
const FOLDER: &str = "VMM_ROWS";

/// Values of arguments, of rows that are used, which no run has used, and where they are.
const UNUSED: [(&str, &str); 10] = [
    ("AF_INET6", "a machine goes to an address of IPv6"),
    ("IORING_UNREGISTER_FILES", "an image goes, and none takes its place"),
    ("KVM_GET_XSAVE2", "a host whose vCPUs have more state than a page"),
    ("PROT_READ", "persistent memory that is only read comes"),
    ("SECCOMP_FILTER_FLAG_LOG", "--seccomp log"),
    ("SIOCSIFFLAGS", "a TAP that was not there comes up"),
    ("SIOCSIFMTU", "a TAP is to have another MTU"),
    ("TCGETS2", "a newer C library"),
    ("TCSETS2", "a newer C library"),
    ("UFFDIO_WAKE", "two vCPUs wait for one page, or the guest has given it back meanwhile"),
];

/// Words of each line: kind of thread, call, values.
type Seen = BTreeSet<Vec<String>>;

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shield/seen.txt")
}

fn read(file: &Path, seen: &mut Seen) {
    let text = std::fs::read_to_string(file).expect("a file of lines");
    seen.extend(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()));
}

fn name(row: &Row) -> &'static str {
    names::name(row.call).expect("each call has a name")
}

/// What each argument that is checked may be.
fn values(row: &Row) -> Vec<Vec<&'static str>> {
    let checked = row.checks.iter().filter_map(|check| match check {
        Check::In(_, values) => Some(values.iter().map(|(_, name)| *name).collect()),
        _ => None,
    });
    checked.collect()
}

/// Whether a line is of a row.
fn is_of(row: &Row, line: &[String]) -> bool {
    let [_, call, said @ ..] = line else { return false };
    let values = values(row);
    let fits = |(said, values): (&String, &Vec<&str>)| values.contains(&said.as_str());
    call == name(row) && said.len() == values.len() && said.iter().zip(&values).all(fits)
}

/// The row with its call, as it is with each C library that has it.
fn variants(row: &'static Row) -> impl Iterator<Item = Row> {
    [Library::Glibc, Library::Musl].into_iter().filter_map(|library| row.with(library))
}

fn was_seen(seen: &Seen, row: &'static Row, kind: Kind) -> bool {
    let mut lines = seen.iter().filter(|line| line.first().is_some_and(|who| who == kind.name()));
    lines.any(|line| variants(row).any(|row| is_of(&row, line)))
}

fn words(row: &Row) -> String {
    let mut words = name(row).to_owned();
    for values in values(row) {
        write!(words, " {}", values.join("|")).expect("memory");
    }
    words
}

/// Takes in what was recorded, if it is asked for.
fn seen() -> Seen {
    let mut seen = Seen::new();
    read(&kept(), &mut seen);
    if let Some(folder) = std::env::var_os(FOLDER) {
        for file in std::fs::read_dir(folder).expect("the folder of VMM_ROWS") {
            read(&file.expect("a file").path(), &mut seen);
        }
        let is_known = |line: &Vec<String>| {
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| line.first().is_some_and(|who| who == kind.name()));
            kind.is_some_and(|kind| {
                let mut rows = all().filter(|row| row.is_for(kind)).flat_map(variants);
                rows.any(|row| is_of(&row, line))
            })
        };
        seen.retain(is_known);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            let lines: String = seen.iter().map(|line| line.join("\t") + "\n").collect();
            std::fs::write(kept(), lines).expect("the source tree can be written");
        }
    }
    seen
}

#[test]
fn each_row_was_seen_in_use_by_each_of_its_threads_or_says_why_it_is_there() {
    let seen = seen();
    let mut lacking = String::new();
    for row in all().filter(|row| !row.is_absent()) {
        let is_excused = |kind: &Kind| row.unseen.iter().any(|(kinds, _)| kinds.contains(kind));
        let mut missing = Vec::new();
        for kind in row.kinds {
            if !was_seen(&seen, row, *kind) && !is_excused(kind) {
                missing.push(kind.name());
            }
        }
        if !missing.is_empty() {
            writeln!(lacking, "{}: {}", words(row), missing.join(", ")).expect("memory");
        }
    }
    assert!(lacking.is_empty(), "never used, without a reason in the table:\n{lacking}");
}

#[test]
fn a_reason_is_given_for_what_was_not_seen_and_for_nothing_else() {
    let seen = seen();
    for row in all() {
        for (kinds, why) in row.unseen {
            assert!(!why.is_empty() && !kinds.is_empty(), "{}", words(row));
            for kind in *kinds {
                assert!(row.kinds.contains(kind), "{}: {} has it not", words(row), kind.name());
                assert!(!was_seen(&seen, row, *kind), "{}: {} uses it", words(row), kind.name());
            }
        }
    }
}

#[test]
fn each_value_of_an_argument_was_seen_or_is_known_for_a_reason() {
    let seen = seen();
    let mut unused = BTreeSet::new();
    for row in all().filter(|row| row.kinds.iter().any(|kind| was_seen(&seen, row, *kind))) {
        for value in values(row).into_iter().flatten() {
            let has_it = |line: &&Vec<String>| line.iter().skip(2).any(|said| said == value);
            if !seen.iter().filter(has_it).any(|line| is_of(row, line)) {
                unused.insert(value);
            }
        }
    }
    let known: BTreeSet<_> = UNUSED.iter().map(|(value, _)| *value).collect();
    assert_eq!(unused, known, "what nobody uses, and what is known for that");
}
