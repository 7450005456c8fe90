//! `[ … ]`: what it asks about words, numbers and files.

use std::cmp::Ordering;

/// What can be asked about files.
pub(crate) trait Files {
    /// Whether something is at `path`, and if so whether it is a folder and how large it is.
    fn look(&mut self, path: &str) -> Option<(bool, u64)>;
}

/// Whether the words between the brackets hold: terms with `!` before them and `-a` and `-o` between
/// them, from left to right, `-a` first.
pub(crate) fn holds(words: &[String], files: &mut impl Files) -> bool {
    words.split(|word| word == "-o").any(|words| {
        words.split(|word| word == "-a").all(|words| {
            let negations = words.iter().take_while(|word| *word == "!").count();
            let term = words.get(negations..).unwrap_or_default();
            term_holds(term, files) ^ !negations.is_multiple_of(2)
        })
    })
}

fn term_holds(words: &[String], files: &mut impl Files) -> bool {
    match words {
        [word] => !word.is_empty(),
        [question, word] => match question.as_str() {
            "-n" => !word.is_empty(),
            "-z" => word.is_empty(),
            "-e" => files.look(word).is_some(),
            "-f" => files.look(word).is_some_and(|(is_folder, _)| !is_folder),
            "-d" => files.look(word).is_some_and(|(is_folder, _)| is_folder),
            "-s" => files.look(word).is_some_and(|(_, size)| size > 0),
            _ => false,
        },
        [one, question, other] => {
            let numbers = number(one).cmp(&number(other));
            match question.as_str() {
                "=" | "==" => one == other,
                "!=" => one != other,
                "<" => one < other,
                "<=" => one <= other,
                ">" => one > other,
                ">=" => one >= other,
                "-eq" => numbers == Ordering::Equal,
                "-ne" => numbers != Ordering::Equal,
                "-lt" => numbers == Ordering::Less,
                "-le" => numbers != Ordering::Greater,
                "-gt" => numbers == Ordering::Greater,
                "-ge" => numbers != Ordering::Less,
                _ => false,
            }
        }
        _ => false,
    }
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_default()
}

#[cfg(test)]
#[path = "test_test.rs"]
mod tests;
