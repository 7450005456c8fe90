//! What programs say of themselves, to hold the manual against it.

use std::collections::BTreeSet;

use crate::manual::page::{Page, code_spans};
use crate::manual::session;

pub type Names = BTreeSet<String>;

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
    &text[..end]
}

/// Long options of a `--help`, such as `--kernel`.
pub fn options(help: &str) -> Names {
    let entries = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    entries.filter_map(|line| Some(word(&line[line.find("--")?..]).to_owned())).collect()
}

/// Long options named anywhere in a text.
pub fn options_in(text: &str) -> Names {
    let begins = text.match_indices("--").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "([`'\"".contains(c))
    });
    let options = begins.map(|(at, _)| word(&text[at..]).to_owned());
    options.filter(|option| option.len() > 2).collect()
}

/// Commands of a `--help`, without `help` itself.
pub fn commands(help: &str) -> Names {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| !line.is_empty());
    // What a command does may go on in further lines, which stand deeper.
    let entries =
        entries.filter_map(|line| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
    entries.map(|line| word(line).to_owned()).filter(|name| name != "help").collect()
}

/// The part of a `--help` about one option.
pub fn about(help: &str, option: &str) -> String {
    let is_entry = |line: &&str| line.trim_start().starts_with('-');
    let mut lines = help.lines().skip_while(|line| !(is_entry(line) && line.contains(option)));
    let first = lines.next().unwrap_or_default();
    let more = lines.take_while(|line| !is_entry(line) && !line.is_empty());
    [first].into_iter().chain(more).map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Keys, each before a `=`.
pub fn keys(text: &str) -> Names {
    let key = |(at, _): (usize, &str)| {
        let begin = text[..at].rfind(|c: char| !c.is_ascii_lowercase() && c != '-');
        text[begin.map_or(0, |before| before + 1)..at].to_owned()
    };
    text.match_indices('=').map(key).filter(|key| !key.is_empty()).collect()
}

/// Kinds of faults that the part about `--net` of a `--help` lists.
pub fn faults(about: &str) -> Names {
    let list = about.split_once("brought the card up: ").map_or("", |(_, list)| list);
    let list = list.split('.').next().unwrap_or_default();
    list.split(", ").map(|kind| word(kind).to_owned()).collect()
}

/// Exit codes that a `--help` tells.
pub fn exit_codes(help: &str) -> Names {
    let lines = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let text = lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    numbers.map(str::to_owned).collect()
}

/// Pieces of code in cells.
pub fn in_cells(cells: &[&str]) -> Names {
    cells.iter().flat_map(|cell| code_spans(cell)).map(str::to_owned).collect()
}

/// Complaints about a set of things that page and program must have in common.
pub fn compare(page: &Page, what: &str, written: &Names, there: &Names) -> Vec<String> {
    let path = &page.path;
    let missing = there.difference(written).map(|name| format!("{path} misses the {what} {name}"));
    let extra = written.difference(there).map(|name| format!("{path} has a {what} {name}"));
    missing.chain(extra.map(|text| text + ", which does not exist")).collect()
}

/// Options that a page gives to programs in its blocks and in its code, with their lines.
///
/// `programs` are pairs of how a command begins, such as `cargo demo`, and what options it knows.
pub fn unknown_options(page: &Page, programs: &[(String, Names)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let look = |line: usize, command: &str| {
        // The longest name that fits is the program; what is piped into another is not its own.
        let own = command.split(['|', ';', '#']).next().unwrap_or_default();
        let own = own.split(" -- ").next().unwrap_or_default();
        let own = own.strip_prefix("target/release/").unwrap_or(own);
        let fits =
            |name: &str| own.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with(' '));
        let program =
            programs.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len());
        let Some((name, known)) = program else { return Vec::new() };
        let unknown = options_in(own).into_iter().filter(|option| !known.contains(option));
        unknown.map(|option| format!("{}: {name} has no option {option}", page.at(line))).collect()
    };
    for block in page.blocks() {
        if block.kind == "sh" {
            for (at, line) in block.lines.iter().enumerate() {
                wrong.extend(look(block.line + 1 + at, line));
            }
        }
        for step in session::steps(&block).unwrap_or_default() {
            wrong.extend(look(step.line, &step.command.replace('\n', " ")));
        }
    }
    for (line, code) in page.spans() {
        wrong.extend(look(line, code));
        // An option alone may be anybody's.
        let anybodys = programs.iter().any(|(_, known)| known.contains(word(code)));
        if code.starts_with("--") && !anybodys {
            wrong.push(format!("{}: no program has an option {code}", page.at(line)));
        }
    }
    wrong
}
