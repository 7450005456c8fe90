//! Tests of the rules that the manual is held against: each is shown to fail on bad input.

use std::process::Command;
use std::time::Duration;

use super::facts::{self, Names};
use super::page::Page;
use super::{FOLDER, FRONT, rules, session};

fn page(text: &str) -> Page {
    Page::new(format!("{FOLDER}/a.md"), text)
}

fn names(names: &[&str]) -> Names {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn order() -> Vec<String> {
    ["a", "b"].map(str::to_owned).to_vec()
}

/// A block of a kind after a paragraph.
fn fenced(before: &str, kind: &str, content: &str) -> Page {
    page(&format!("{before}\n\n```{kind}\n{content}\n```\n"))
}

fn nothing_exists(_: &str) -> bool {
    false
}

fn all_exists(_: &str) -> bool {
    true
}

/// The only complaint.
#[track_caller]
fn only(complaints: Vec<String>) -> String {
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    complaints.concat()
}

const HEAD: &str =
    "# A\n\nWhat is here.\n\n[vmm](../../README.md) · **a** · [b](b.md)\n\nA word.\n";

#[test]
fn a_page_with_the_uniform_head_passes() {
    assert!(rules::head(&page(HEAD), &order()).is_empty());
}

#[test]
fn each_line_of_the_head_is_looked_at() {
    for (right, wrong, said) in [
        ("# A", "A", "title"),
        ("What is here.", "What is here", "one sentence"),
        ("What is here.", "One. Two.", "one sentence"),
        ("[b](b.md)", "[c](c.md)", "links to all pages"),
        ("**a**", "[a](a.md)", "links to all pages"),
    ] {
        let text = HEAD.replacen(right, wrong, 1);
        let complaint = only(rules::head(&page(&text), &order()));
        assert!(complaint.contains(said), "{complaint}");
    }
}

#[test]
fn the_front_stays_short() {
    let long = format!("# vmm\n\n{}", "x\n".repeat(199));
    assert!(only(rules::head(&Page::new(FRONT, &long), &[])).contains("more than 200"));
}

#[test]
fn a_page_that_the_front_does_not_name_is_told() {
    let text = "[b](resources/manual/b.md#x) [c](resources/manual/c.md) [b](resources/manual/b.md)";
    let front = Page::new(FRONT, text);
    assert_eq!(rules::order(&front), ["b", "c"]);
    let pages = [page(HEAD), Page::new(format!("{FOLDER}/b.md"), HEAD)];
    assert!(only(rules::contents(&front, &pages)).ends_with("resources/manual/a.md"));
}

#[test]
fn blocks_that_are_what_their_fence_says_pass() {
    for (before, kind, content) in [
        ("Text.", "console", "$ true"),
        ("In the testbed:", "console testbed", "$ uname -r\n6.12\nguest# uname -r\n6.1"),
        ("In the testbed:", "text testbed", "anything"),
        ("Text.", "sh", "cargo demo   # boots\n# a word"),
        ("Text.", "json", "{\n \"a\": 1 }"),
        ("Text.", "text tree", "arch/   facts\n  x86_64/  more"),
    ] {
        let page = fenced(before, kind, content);
        assert!(rules::fences(&page, &all_exists).is_empty(), "{kind}");
    }
}

#[test]
fn a_block_that_is_not_what_its_fence_says_is_told() {
    for (kind, content, said) in [
        ("", "x", "is not one of"),
        ("bash", "true", "is not one of"),
        ("text", "x", "is not one of"),
        ("console", "output", "before the first command"),
        ("console", "guest# uname -r", "before the first command"),
        ("console testbed", "$ uname -r", "from the testbed"),
        ("text testbed", "x", "from the testbed"),
        ("json", "{ \"a\": }", "no JSON"),
        ("sh", "cargo demo\nvmm --help", "`vmm` stands in a block that is not run"),
        ("text tree", "arch/  facts", "there is no arch/"),
    ] {
        let complaint = only(rules::fences(&fenced("Text.", kind, content), &nothing_exists));
        assert!(complaint.contains(said) && complaint.contains("a.md:3"), "{kind}: {complaint}");
    }
    let open = page("```console\n$ true\n");
    assert!(only(rules::fences(&open, &all_exists)).contains("does not end"));
}

#[test]
fn a_tree_is_read_with_its_folders() {
    let known = |path: &str| ["arch/", "devices/", "devices/core/"].contains(&path);
    let tree = "arch/    facts\ndevices/   kinds\n  core/   words\n  net/    frames";
    let complaint = only(rules::fences(&fenced("x", "text tree", tree), &known));
    assert!(complaint.ends_with("there is no devices/net/"), "{complaint}");
}

#[test]
fn links_lead_to_files_and_headings() {
    let other = Page::new(format!("{FOLDER}/b.md"), "# B\n\n## What `it` is\n");
    let front = Page::new(FRONT, "# vmm");
    let text = "[b](b.md#what-it-is) [up](../../README.md#vmm) [out](https://x.org) `[no](link)`\n\n# A\n\n[me](#a)";
    let pages = [page(text), other, front];
    let exists = |path: &str| path.starts_with(FOLDER) || path == FRONT;
    assert_eq!(rules::links(&pages[0], &pages, &exists), Vec::<String>::new());

    for (text, said) in [
        ("[c](nowhere/../../x.md)", "leads to no file"),
        ("[b](b.md#missing)", "no heading for #missing"),
        ("[me](#missing)", "no heading for #missing"),
    ] {
        let complaint = only(rules::links(&page(text), &pages, &exists));
        assert!(complaint.contains(said), "{complaint}");
    }
}

#[test]
fn files_that_are_named_must_be_there() {
    let text = page("`vmm/src/cli.rs`, `vmm --help`, `tests/*.rs` and `resources/{man}`");
    assert!(rules::paths(&text, &all_exists).is_empty());
    assert!(only(rules::paths(&text, &nothing_exists)).ends_with("vmm/src/cli.rs"));
}

#[test]
fn anything_stands_for_lines_and_for_parts_of_one() {
    let matches = |expected: &[&str], got: &[&str]| {
        let expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
        session::matches(&expected, got)
    };
    assert!(matches(&[], &[]));
    assert!(matches(&["..."], &[]));
    assert!(matches(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(matches(&["took ... us, ... ms"], &["took 5 us, 7 ms"]));
    assert!(matches(&["a..."], &["a"]));
    assert!(!matches(&[], &["a"]));
    assert!(!matches(&["a"], &[]));
    assert!(!matches(&["a", "..."], &["b"]));
    assert!(!matches(&["took ... us"], &["took 5 ms"]));
    assert!(!matches(&["a", "...", "d"], &["a", "d", "e"]));
}

/// Runs the commands of a page, and tells what is wrong.
fn run(text: &str) -> Vec<(usize, String)> {
    let page = fenced("Text.", "console", text);
    let steps = session::of_page(&page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = session::script(&steps);
    let limit = Duration::from_secs(2);
    let printed = session::run(Command::new("sh"), &script, folder.path(), limit).unwrap();
    session::judge(&steps, &printed)
}

#[test]
fn commands_that_do_as_the_page_says_pass() {
    let text = "$ echo a; echo b >&2\na\nb\n$ x=1\n$ cat > file <<end\n> one\n> end\n$ cat file; echo $x\n...\n1\n$ false\n...\n$ echo $?\n1\n$ printf 'no line end'\nno line end";
    assert_eq!(run(text), []);
}

#[test]
fn commands_that_do_otherwise_are_told_with_their_line() {
    for (text, line, said) in [
        ("$ true\n$ echo a\nb", 5, "`echo a` printed:\na\nand not:\nb"),
        ("$ echo a", 4, "printed:\na"),
        ("$ true\nsilence was expected", 4, "and not:\nsilence"),
        ("$ false", 4, "failed with status 1"),
        ("$ no-such-program\n$ true", 4, "not found"),
        ("$ exit 3\n$ true", 4, "did not end"),
        ("$ echo a; sleep 60", 4, "did not end; it printed:\na"),
    ] {
        let wrong = run(text);
        assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        assert!(wrong[0].0 == line && wrong[0].1.contains(said), "{text}: {wrong:?}");
    }
}

#[test]
fn nothing_that_a_page_starts_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let script = "sleep 1000 & echo $!\n";
    let limit = Duration::from_secs(10);
    let printed = session::run(Command::new("sh"), script, folder.path(), limit).unwrap();
    let process = format!("/proc/{}/stat", printed.trim());
    // A killed process that nobody has reaped yet is a zombie.
    let is_gone = || {
        std::fs::read_to_string(&process).is_ok_and(|s| s.contains(") Z "))
            || !std::path::Path::new(&process).exists()
    };
    let begin = std::time::Instant::now();
    while !is_gone() {
        assert!(begin.elapsed() < limit, "{process} is there");
        std::thread::yield_now();
    }
}

const HELP: &str = "\
Does things

Usage: vmm [OPTIONS]

Commands:
  start    Start what there is
           to start
  kill     End it
  help     Print this message

Options:
      --net <SPEC>   Card: tap=NAME or
                     fd=N, then [,mac=MAC][,bw-in=2G]
  -h, --help         Print help, see --net

Exit codes:
  0 fine    2 not
  130 stopped

More --words.";

#[test]
fn a_help_text_is_read() {
    assert_eq!(facts::options(HELP), names(&["--net", "--help"]));
    assert_eq!(facts::commands(HELP), names(&["start", "kill"]));
    assert_eq!(facts::keys(&facts::about(HELP, "--net")), names(&["tap", "fd", "mac", "bw-in"]));
    assert_eq!(
        facts::faults("after the driver brought the card up: a-b, c[:N]. A TAP"),
        names(&["a-b", "c"])
    );
    assert_eq!(facts::exit_codes(HELP), names(&["0", "2", "130"]));
}

#[test]
fn what_a_table_misses_or_invents_is_told() {
    let text = page(
        "| Option | |\n|---|---|\n| `--net SPEC`, `-h` | a |\n| `--floppy` | b |\n\n| Other | |\n|---|---|\n| `--x` | |\n",
    );
    let written = facts::options_in(&text.column("Option").join(" "));
    let wrong = facts::compare(&text, "option", &written, &facts::options(HELP));
    assert_eq!(
        wrong,
        [
            format!("{FOLDER}/a.md misses the option --help"),
            format!("{FOLDER}/a.md has a option --floppy, which does not exist")
        ]
    );
}

#[test]
fn options_that_a_program_does_not_have_are_told() {
    let programs = [
        ("vmm".to_owned(), names(&["--net", "--mem"])),
        ("vmm ctl".to_owned(), names(&["--json"])),
    ];
    let text = "`vmm --net` `--json`\n\n```console\n$ vmm --mem 1 | grep --count x\n$ vmm ctl a --json\n```\n";
    assert_eq!(facts::unknown_options(&page(text), &programs), Vec::<String>::new());
    for (text, said) in [
        ("`vmm --json`", "vmm has no option --json"),
        ("`--floppy`", "no program has an option --floppy"),
        ("```console\n$ vmm --mem 1 \\\n>   --floppy\n```", "vmm has no option --floppy"),
        ("```console testbed\n$ vmm ctl x --net\n```", "vmm ctl has no option --net"),
        ("```sh\nvmm --floppy\n```", "vmm has no option --floppy"),
    ] {
        let complaint = only(facts::unknown_options(&page(text), &programs));
        assert!(complaint.contains(said), "{complaint}");
    }
}
