//! Tests of how metadata may be reached, and of what becomes of its content.

use devices::Kind;
use serde_json::json;

use super::*;
use crate::vm::config::Config;

fn spec(address: [u8; 4], cards: &[&str]) -> MetadataSpec {
    let settings = Settings { address: address.into(), ..Settings::default() };
    let cards = cards.iter().map(|id| id.to_string()).collect();
    MetadataSpec { settings, cards, later: false }
}

const USUAL: [u8; 4] = [169, 254, 169, 254];

#[test]
fn the_address_is_one_of_the_link() {
    let check = |address| spec(address, &["eth0"]).validate(["eth0"].into_iter());
    for good in [USUAL, [169, 254, 1, 0], [169, 254, 254, 255]] {
        assert!(check(good).is_ok(), "{good:?}");
    }
    for bad in [[169, 254, 0, 255], [169, 254, 255, 0], [169, 253, 1, 1], [10, 0, 0, 1], [0; 4]] {
        assert!(matches!(check(bad), Err(MetadataError::NotLinkLocal)), "{bad:?}");
    }
}

#[test]
fn the_cards_are_there_before_it_is_reached_by_them() {
    let check = |cards: &[&str]| spec(USUAL, cards).validate(["eth0", "eth1"].into_iter());
    assert!(check(&["eth1"]).is_ok() && check(&["eth1", "eth0"]).is_ok());
    assert!(matches!(check(&[]), Err(MetadataError::NoCards)));
    assert!(matches!(check(&["eth0", "eth2"]), Err(MetadataError::NoSuchCard)));
}

#[test]
fn a_card_that_is_replaced_is_not_known_to_reach_it() {
    let mut config = Config::default();
    assert!(config.set_metadata(spec(USUAL, &["a"])).is_err());
    for card in ["tap=a,id=a", "tap=b,id=b"] {
        config.set_nic(card.parse().unwrap()).unwrap();
    }
    config.set_metadata(spec(USUAL, &["a", "b"])).unwrap();
    config.set_nic("tap=c,id=b".parse().unwrap()).unwrap();
    assert_eq!(config.metadata.as_ref().map(|spec| spec.cards.clone()), Some(vec!["a".into()]));
    config.set_nic("tap=d,id=a".parse().unwrap()).unwrap();
    assert_eq!(config.metadata, None);
}

#[test]
fn cards_that_come_later_reach_it_if_they_are_named_or_all_are() {
    let named = spec(USUAL, &["a"]);
    let all = MetadataSpec { later: true, ..spec(USUAL, &["a"]) };
    assert!(named.has("a") && !named.has("b") && all.has("a") && all.has("b"));
    // There may be none yet.
    let none = MetadataSpec { later: true, ..spec(USUAL, &[]) };
    assert!(none.validate([].into_iter()).is_ok());

    let shown = |config: &Config| config.metadata.as_ref().map(|spec| spec.cards.clone());
    let mut config = Config::default();
    config.set_nic("tap=a,id=a".parse().unwrap()).unwrap();
    config.set_metadata(named.clone()).unwrap();
    config.remove_device(Kind::Nic, "a");
    assert_eq!(config.metadata, None, "there is no way to it");
    config.reach_metadata("b", &named);
    assert_eq!(config.metadata, None, "another card is none, either");
    config.reach_metadata("a", &named);
    assert_eq!(shown(&config), Some(vec!["a".into()]));

    config.metadata = Some(all.clone());
    config.remove_device(Kind::Nic, "a");
    assert_eq!(shown(&config), Some(vec![]), "there may be a way again");
    config.reach_metadata("b", &all);
    assert_eq!(shown(&config), Some(vec!["b".into()]));

    // A machine that describes itself, and of which nothing else is said, has it by all cards anyway.
    let mut config = Config { imds: Some(ImdsSpec::default()), ..Config::default() };
    config.reach_metadata("b", &all);
    assert_eq!(config.metadata, None);
}

#[test]
fn content_is_put_merged_and_told() {
    let store = Store::new(30);
    let get = || answer(&store, MetadataAsk::Get).unwrap();
    assert_eq!(get(), Some(json!({})));
    let said = |error: MetadataError| error.to_string();
    let early = answer(&store, MetadataAsk::Patch(json!({}))).unwrap_err();
    assert_eq!(said(early), "MMDS error: The MMDS data store is not initialized.");
    answer(&store, MetadataAsk::Put(json!({"a":"b"}))).unwrap();
    answer(&store, MetadataAsk::Patch(json!({"c":"d"}))).unwrap();
    assert_eq!(get(), Some(json!({"a":"b","c":"d"})));
    let large = answer(&store, MetadataAsk::Put(json!("x".repeat(40)))).unwrap_err();
    assert_eq!(said(large), "MMDS limit exceeded error: The MMDS patch request doesn't fit.");
    assert_eq!(get(), Some(json!({"a":"b","c":"d"})));
}

#[test]
fn who_serves_has_numbers_of_its_own() {
    let (one, other) = (random().unwrap(), random().unwrap());
    assert!(one.0 != other.0 && one.1 != other.1);
}
