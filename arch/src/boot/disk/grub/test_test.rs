//! What is asked in brackets, and the answers.

use super::*;

struct Disk;

impl Files for Disk {
    fn look(&mut self, path: &str) -> Option<(bool, u64)> {
        match path {
            "/folder" => Some((true, 1024)),
            "/full" => Some((false, 3)),
            "/empty" => Some((false, 0)),
            _ => None,
        }
    }
}

fn ask(question: &str) -> bool {
    let words: Vec<_> = question.split(' ').map(|word| word.trim_matches('_').to_owned()).collect();
    holds(&words, &mut Disk)
}

#[test]
fn words_numbers_and_files_are_asked_about() {
    // `_` stands for an empty word.
    for question in [
        "x",
        "-n x",
        "-z _",
        "a = a",
        "a == a",
        "a != b",
        "a < b",
        "b >= a",
        "10 -gt 9",
        "2 -lt 10",
        "3 -eq 03",
        "3 -ne 4",
        "3 -le 3",
        "3 -ge 3",
        "-e /folder",
        "-d /folder",
        "-f /full",
        "-s /full",
        "-f /empty",
        "-e /empty",
    ] {
        assert!(ask(question), "{question}");
    }
    for question in [
        "_",
        "-n _",
        "-z x",
        "a = b",
        "a != a",
        "9 -gt 10",
        "-e /nothing",
        "-f /folder",
        "-d /full",
        "-s /empty",
        "-q x",
        "a ~ b",
        "a b c d",
    ] {
        assert!(!ask(question), "{question}");
    }
}

#[test]
fn terms_are_joined_and_turned_round() {
    for question in
        ["! -e /nothing", "a = a -a -f /full", "a = b -o c = c", "! a = b -a ! c = d", "! ! x"]
    {
        assert!(ask(question), "{question}");
    }
    for question in ["! x", "a = a -a a = b", "a = b -o c = d"] {
        assert!(!ask(question), "{question}");
    }
}
