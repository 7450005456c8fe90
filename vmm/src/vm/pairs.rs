//! What a user says of something in one word: parts with commas between them.

/// `text` cut at single commas, with double ones made single.
pub fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_end = letter == ',' && letters.next_if_eq(&',').is_none();
        match parts.last_mut() {
            Some(last) if !is_end => last.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parts;

    #[test]
    fn a_comma_is_written_twice() {
        assert_eq!(parts("a,b,,c,"), ["a", "b,c", ""]);
        assert_eq!(parts(""), [""]);
        assert_eq!(parts(",,,"), [",", ""]);
    }

    proptest! {
        #[test]
        fn what_is_joined_comes_apart_again(wanted in prop::collection::vec("[a=][a,=]{0,4}", 1..5)) {
            let text: Vec<_> = wanted.iter().map(|part| part.replace(',', ",,")).collect();
            prop_assert_eq!(parts(&text.join(",")), wanted);
        }
    }
}
