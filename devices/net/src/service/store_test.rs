//! Tests of the document: what changes it, and what is found in it.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn store(content: Value) -> Store {
    let store = Store::new(USUAL_LIMIT);
    store.put(content).unwrap();
    store
}

#[test]
fn patches_are_merged_as_rfc_7396_shows() {
    // Its appendix A.
    let examples = [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a":"b"}), json!(["c"]), json!(["c"])),
        (json!({"a":"foo"}), json!(null), json!(null)),
        (json!({"a":"foo"}), json!("bar"), json!("bar")),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ];
    for (before, patch, after) in examples {
        let store = store(before);
        store.patch(patch).unwrap();
        assert_eq!(*store.get().unwrap(), after);
    }
}

#[test]
fn there_is_nothing_to_patch_before_something_was_put() {
    let store = Store::new(100);
    assert_eq!(store.patch(json!({"a":1})), Err(StoreError::NotInitialized));
    assert_eq!(store.get(), None);
    store.put(json!({"a":1})).unwrap();
    store.patch(json!({"b":2})).unwrap();
    assert_eq!(*store.get().unwrap(), json!({"a":1,"b":2}));
}

#[test]
fn a_document_beyond_the_limit_changes_nothing() {
    let store = Store::new(11);
    store.put(json!({"a":"bcd"})).unwrap();
    assert_eq!(store.put(json!({"a":"bcde"})), Err(StoreError::TooLarge));
    assert_eq!(store.patch(json!({"e":1})), Err(StoreError::TooLarge));
    assert_eq!(*store.get().unwrap(), json!({"a":"bcd"}));
    store.patch(json!({"a":null,"e":"bcd"})).unwrap();
    assert_eq!(*store.get().unwrap(), json!({"e":"bcd"}));
}

#[test]
fn what_the_user_says_goes_over_what_the_machine_says() {
    let store = Store::new(100);
    store.set_machine(json!({"latest":{"id":"i-1","type":"x"}})).unwrap();
    store.patch(json!({"latest":{"type":"y"}})).unwrap();
    assert_eq!(*store.get().unwrap(), json!({"latest":{"id":"i-1","type":"y"}}));
    store.put(json!({"latest":{"type":null},"own":"z"})).unwrap();
    assert_eq!(*store.get().unwrap(), json!({"latest":{"id":"i-1"},"own":"z"}));
    store.set_machine(json!({"latest":{"id":"i-2"}})).unwrap();
    assert_eq!(*store.get().unwrap(), json!({"latest":{"id":"i-2"},"own":"z"}));
}

#[test]
fn paths_lead_where_pointers_do_however_many_slashes_they_have() {
    let document = json!({"a":{"b":["x",{"c":"y"}],"d/e":"z","f~g":"w"},"":"never"});
    let text = |path| find(&document, path).map(Value::to_string);
    assert_eq!(text("/"), Some(document.to_string()));
    for path in ["/a/b/1/c", "//a///b/1/c/", "a/b/1/c"] {
        assert_eq!(text(path), Some("\"y\"".into()), "{path}");
    }
    assert_eq!(text("/a/d~1e"), Some("\"z\"".into()));
    assert_eq!(text("/a/f~0g"), Some("\"w\"".into()));
    for path in ["/b", "/a/b/2", "/a/b/01", "/a/b/+1", "/a/b/-1", "/a/b/1/c/d", "/a/b/x", "/a/d/e"]
    {
        assert_eq!(text(path), None, "{path}");
    }
}

#[test]
fn old_versions_of_the_tree_are_its_newest() {
    let document = json!({"latest":{"meta-data":{"mac":"m"}},"2009-04-04":{"own":"o"}});
    let text = |path| find(&document, path).and_then(as_text);
    assert_eq!(text("/2021-03-23/meta-data/mac"), Some("m".into()));
    assert_eq!(text("/1.0/meta-data/mac"), Some("m".into()));
    assert_eq!(text("/2009-04-04/own"), Some("o".into()));
    assert_eq!(text("/2009-04-04/meta-data/mac"), None);
    for path in ["/2021-03-2/meta-data", "/next/meta-data", "/latest/2021-03-23", "/2021/03-23/a"] {
        assert_eq!(text(path), None, "{path}");
    }
}

#[test]
fn text_is_as_imds_has_it() {
    let text = |value: Value| as_text(&value);
    assert_eq!(text(json!({"b":"x","a":{"c":1},"d":[1],"e":5})), Some("a/\nb\nd\ne".into()));
    assert_eq!(text(json!({})), Some("".into()));
    assert_eq!(text(json!("one\ntwo")), Some("one\ntwo".into()));
    for none in [json!(5), json!(true), json!([1]), json!(null)] {
        assert_eq!(text(none), None);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        "[a-c~/]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c~/]{1,3}", inner, 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn a_patch_merged_twice_is_as_one_merged_once(one in any_json(), patch in any_json()) {
        let mut once = one;
        merge(&mut once, patch.clone());
        let mut twice = once.clone();
        merge(&mut twice, patch);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn the_size_is_that_of_the_compact_text(value in any_json()) {
        prop_assert_eq!(size(&value), value.to_string().len());
    }

    #[test]
    fn pointers_without_empty_parts_agree(value in any_json(), parts in prop::collection::vec("[a-c0-3]{1,2}", 0..4)) {
        let path: String = parts.iter().map(|part| format!("/{part}")).collect();
        prop_assert_eq!(find(&value, &path), value.pointer(&path));
    }
}

#[test]
fn a_store_goes_on_with_what_another_told_but_for_what_it_was_given_itself() {
    let first = Store::new(USUAL_LIMIT);
    first.set_machine(json!({ "id": "i-1", "own": 1 })).unwrap();
    first.put(json!({ "own": null, "word": "a" })).unwrap();
    let told = first.documents();

    // However large.
    let other = Store::new(1);
    other.go_on(told.clone());
    assert_eq!(*other.get().unwrap(), json!({ "id": "i-1", "word": "a" }));
    assert_eq!(other.documents(), told);
    assert_eq!(other.put(json!({ "long": "word" })), Err(StoreError::TooLarge));

    let given = store(json!({ "word": "b" }));
    given.go_on(told);
    assert_eq!(*given.get().unwrap(), json!({ "id": "i-1", "own": 1, "word": "b" }));
    let empty = Store::new(USUAL_LIMIT);
    empty.go_on(Documents::default());
    assert_eq!(empty.get(), None);
}
