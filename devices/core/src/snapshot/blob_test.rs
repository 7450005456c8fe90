//! Tests of bytes in a state.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct State {
    #[serde(with = "super")]
    any: Vec<u8>,
    #[serde(with = "super")]
    six: [u8; 6],
}

#[test]
fn bytes_are_pairs_of_digits() {
    let state = State { any: vec![0, 0x5a, 0xff], six: [1, 2, 3, 4, 5, 6] };
    let value = serde_json::to_value(&state).unwrap();
    assert_eq!(value, json!({ "any": "005aff", "six": "010203040506" }));
    assert_eq!(serde_json::from_value::<State>(value).unwrap(), state);
    let text = r#"{ "any": "", "six": "ABCDEF000000" }"#;
    let state: State = serde_json::from_str(text).unwrap();
    assert_eq!(state, State { any: vec![], six: [0xab, 0xcd, 0xef, 0, 0, 0] });
}

#[test]
fn what_is_no_such_text_is_refused() {
    let six = "010203040506";
    for any in [json!("0"), json!("0g"), json!("+1"), json!("é"), json!(5), json!([1])] {
        let value = json!({ "any": any, "six": six });
        assert!(serde_json::from_value::<State>(value).is_err(), "{any}");
    }
    for six in ["", "0102030405", "01020304050607"] {
        let error = serde_json::from_value::<State>(json!({ "any": "", "six": six })).unwrap_err();
        assert!(error.to_string().contains("as many bytes as the field has"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(any: Vec<u8>, six: [u8; 6]) {
        let state = State { any, six };
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
