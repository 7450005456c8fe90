//! The manual's tables of system calls, printed from the table itself, and how many each thread may make.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::names;
use super::row::{Check, Kind, Library, Row, WithMusl};
use super::table::{all, of};

const BEGIN: &str = "<!-- calls: printed from vmm/src/shield/table.rs -->\n";
const END: &str = "<!-- end of calls -->\n";

const UNSEEN: &str = "
Of these, no run of the tests [was seen to use](#which-calls-are-used) the following, which are there all the same:

| Call | If | Who | May come to it |
|---|---|---|---|
";

fn name(row: &Row) -> &'static str {
    names::name(row.call).expect("each call has a name")
}

/// Different calls that threads of a kind may make in a build with `library`.
fn calls(kind: Kind, library: Library) -> BTreeSet<u32> {
    of(library).filter(|row| row.is_for(kind) && !row.is_absent()).map(|row| row.call).collect()
}

fn condition(check: &Check) -> String {
    match check {
        Check::In(arg, values) => {
            let names: Vec<_> = values.iter().map(|(_, name)| format!("`{name}`")).collect();
            format!("argument {} is {}", arg + 1, names.join(" or "))
        }
        Check::OwnProcess(arg) => format!("argument {} is this process", arg + 1),
        Check::Null(arg) => format!("argument {} is null", arg + 1),
        Check::Absent => "never: answered as by a kernel without it".to_string(),
    }
}

/// When a row lets a call through, in words.
fn conditions(row: &Row) -> String {
    let musl = match row.musl {
        WithMusl::Same => None,
        WithMusl::Calls(call) => {
            let name = names::name(call).expect("each call has a name");
            Some(format!("with musl it is `{name}`"))
        }
        WithMusl::Missing => Some("with glibc".to_string()),
        WithMusl::Alone => Some("with musl".to_string()),
    };
    row.checks.iter().map(condition).chain(musl).collect::<Vec<_>>().join(", ")
}

fn who(kinds: &[Kind]) -> String {
    let all_but = |some: &[Kind]| {
        let missing: Vec<_> = Kind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
        missing.len() == some.len() && some.iter().all(|kind| missing.contains(&kind))
    };
    if all_but(&[]) {
        return "all".into();
    }
    if all_but(&[Kind::Broker]) {
        return "all threads".into();
    }
    let mut names: Vec<_> = kinds.iter().collect();
    names.sort();
    names.into_iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}

fn page() -> String {
    let mut text = String::from("| Thread | Calls | with musl |\n|---|---|---|\n");
    for kind in Kind::ALL {
        let [glibc, musl] = [Library::Glibc, Library::Musl].map(|of| calls(kind, of).len());
        writeln!(text, "| {} | {glibc} | {musl} |", kind.name()).expect("memory");
    }
    text.push_str("\n| Call | If | Who | For |\n|---|---|---|---|\n");
    let mut rows: Vec<_> = all().collect();
    // Stable: alternatives stay in their order.
    rows.sort_by_key(|row| name(row));
    for row in &rows {
        let (name, checks, who) = (name(row), conditions(row), who(row.kinds));
        writeln!(text, "| `{name}` | {checks} | {who} | {} |", row.why).expect("memory");
    }
    text.push_str(UNSEEN);
    for row in rows {
        for (kinds, why) in row.unseen {
            let (name, checks, who) = (name(row), conditions(row), who(kinds));
            writeln!(text, "| `{name}` | {checks} | {who} | {why} |").expect("memory");
        }
    }
    text
}

/// Prints them again with `UPDATE_GENERATED=1` in the environment.
#[test]
fn the_manual_has_the_table_that_is_built_into_filters() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../resources/manual/security.md");
    let there = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = there.split_once(BEGIN).expect("it says where the tables begin");
    let (_, after) = rest.split_once(END).expect("it says where they end");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", page());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, wanted).expect("the source tree can be written");
        return;
    }
    assert!(there == wanted, "{} is old; UPDATE_GENERATED=1 renews it", path.display());
}

/// A row more is a decision: this is where it is seen. Fewer are welcome.
#[test]
fn no_thread_may_make_more_calls_than_it_has_been_counted_to_need() {
    for (kind, most) in [
        (Kind::Main, 41),
        (Kind::Api, 20),
        (Kind::Builder, 44),
        (Kind::Vcpu, 19),
        (Kind::Io, 26),
        (Kind::Capture, 17),
        (Kind::TapLane, 22),
        (Kind::PacketLane, 22),
        (Kind::VhostLane, 17),
        (Kind::DiskLane, 22),
        (Kind::DiskHelper, 21),
        (Kind::Vsock, 25),
        (Kind::Pmem, 22),
        (Kind::Pager, 22),
        (Kind::Broker, 19),
    ] {
        for library in [Library::Glibc, Library::Musl] {
            let calls = calls(kind, library).len();
            assert!(calls <= most, "{}: {calls} calls with {library:?}", kind.name());
        }
    }
}

#[test]
fn no_row_is_there_twice_and_each_says_what_it_is_for() {
    let mut seen = BTreeSet::new();
    for row in all() {
        assert!(!row.kinds.is_empty() && !row.why.is_empty(), "{row:?}");
        for kind in row.kinds {
            let alike = format!("{} {:?} {kind:?}", row.call, row.checks);
            assert!(seen.insert(alike.clone()), "{alike}");
        }
    }
}
