//! Options: what a text says, and what is wrong with it.

use proptest::prelude::*;

use super::*;

const KEYS: [(u8, &str); 2] = [(1, "one"), (2, "two")];

fn of(part: &str) -> Result<Given<u8>, OptionError> {
    Given::of(part, &KEYS)
}

#[test]
fn a_key_has_the_value_behind_the_first_sign() {
    let given = of("two=a=b").unwrap();
    assert_eq!((given.key, given.value.as_str()), (2, "a=b"));
    assert_eq!(of("one=").unwrap().value, "");
}

#[test]
fn what_is_wrong_is_one_line_that_names_it() {
    let refused = |part: &str| of(part).unwrap_err().to_string();
    assert_eq!(refused("three=1"), "unknown key \"three\"; known are one, two");
    assert_eq!(refused("=1"), "unknown key \"\"; known are one, two");
    let nothing =
        "\"\" has no '='; write key=value, with a comma of a value twice; known are one, two";
    assert_eq!(refused(""), nothing);
    let given = of("one=x").unwrap();
    let mut place = None;
    assert_eq!(given.put(&mut place, 1), Ok(()));
    assert_eq!(given.put(&mut place, 2).unwrap_err().to_string(), "one is given twice");
    let switch = given.on_or_off().unwrap_err().to_string();
    assert_eq!(switch, "one=x: write one of on, off");
    assert_eq!(given.parse::<u8>(), Err(given.bad("invalid digit found in string")));
    assert!(given.quota().unwrap_err().to_string().starts_with("one=x: write a number"));
}

#[test]
fn values_are_what_they_say() {
    let given = |value: &str| Given::new("one", value, &KEYS).unwrap();
    assert_eq!(given("7").parse(), Ok(7u8));
    assert_eq!(given("off").on_or_off(), Ok(false));
    assert_eq!(given("b").one_of(&[("a", 1), ("b", 2)]), Ok(2));
    assert_eq!(given("1k").quota().ok(), Quota::per_second(1000));
}

#[test]
fn a_comma_is_written_twice() {
    assert_eq!(parts("a,b,,c,"), ["a", "b,c", ""]);
    assert_eq!(parts(""), [""]);
    assert_eq!(parts(",,,"), [",", ""]);
}

#[test]
fn sizes_have_a_unit_and_fit() {
    for (text, size) in [("0", 0), ("256M", 256), ("2g", 2048), ("1T", 1 << 20)] {
        assert_eq!(mib(text), Some(size), "{text}");
    }
    for text in ["", "1", "M", "+1M", "1.5G", "1K", "4096T", "1é", "-1M"] {
        assert_eq!(mib(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_joined_comes_apart_again(wanted in prop::collection::vec("[a=][a,=]{0,4}", 1..5)) {
        let text: Vec<_> = wanted.iter().map(|part| part.replace(',', ",,")).collect();
        prop_assert_eq!(parts(&text.join(",")), wanted);
    }

    #[test]
    fn nothing_that_is_written_is_more_than_an_error(text in ".{0,40}") {
        for part in parts(&text) {
            let _ = of(&part);
            let _ = mib(&part);
        }
    }
}
