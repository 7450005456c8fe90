//! Tests of what a machine says of itself, as clients written for EC2 ask for it.

use std::fs;

use devices::net::service::store::{as_text, find};

use super::*;

fn cards() -> [Card; 2] {
    let card = |id: &str, mac: &str| Card { id: id.into(), mac: mac.into() };
    [card("eth0", "02:00:00:00:00:01"), card("eth1", "02:00:00:00:00:02")]
}

fn tree(spec: &str) -> Value {
    spec.parse::<ImdsSpec>().unwrap().tree("web", &cards()).unwrap()
}

/// What a client reads at `path`.
fn read(tree: &Value, path: &str) -> Option<String> {
    find(tree, path).and_then(as_text)
}

#[test]
fn what_is_said_is_told() {
    let tree = tree(
        "instance-id=i-1,hostname=web1.lan,instance-type=m7i.large,image-id=ami-2,region=eu-west-1,zone=eu-west-1b",
    );
    for (path, value) in [
        ("meta-data/instance-id", "i-1"),
        ("meta-data/hostname", "web1.lan"),
        ("meta-data/local-hostname", "web1.lan"),
        ("meta-data/instance-type", "m7i.large"),
        ("meta-data/ami-id", "ami-2"),
        ("meta-data/placement/region", "eu-west-1"),
        ("meta-data/placement/availability-zone", "eu-west-1b"),
        ("meta-data/mac", "02:00:00:00:00:01"),
        ("meta-data/network/interfaces/macs", "02:00:00:00:00:01/\n02:00:00:00:00:02/"),
        ("meta-data/network/interfaces/macs/02:00:00:00:00:02/device-number", "1"),
    ] {
        assert_eq!(read(&tree, &format!("/latest/{path}")).as_deref(), Some(value), "{path}");
        assert_eq!(read(&tree, &format!("/2021-03-23/{path}/")).as_deref(), Some(value), "{path}");
    }
    assert_eq!(read(&tree, "/latest/user-data"), None, "there is none");
    let document = read(&tree, "/latest/dynamic/instance-identity/document").unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(
        (&document["instanceId"], &document["region"]),
        (&json!("i-1"), &json!("eu-west-1"))
    );
}

#[test]
fn every_leaf_is_text() {
    fn leaves(value: &Value) -> Vec<&Value> {
        match value {
            Value::Object(fields) => fields.values().flat_map(leaves).collect(),
            leaf => vec![leaf],
        }
    }
    let tree = tree("");
    assert!(leaves(&tree).iter().all(|leaf| leaf.is_string()), "{tree:#}");
}

#[test]
fn what_is_not_said_is_made_of_the_machine() {
    let usual = ImdsSpec::default();
    let id = usual.instance_id("web");
    assert!(id.starts_with("i-") && id.len() == 19, "{id}");
    assert_eq!(id, usual.instance_id("web"), "the same each time");
    assert_ne!(id, usual.instance_id("db"));
    let tree = tree("zone=eu-west-1b");
    assert_eq!(read(&tree, "/latest/meta-data/hostname").as_deref(), Some("web"));
    assert_eq!(read(&tree, "/latest/meta-data/placement/region").as_deref(), Some("eu-west-1"));
    // A machine without cards has no address of one.
    let alone = usual.tree("web", &[]).unwrap();
    assert_eq!(read(&alone, "/latest/meta-data/mac"), None);
    assert_eq!(read(&alone, "/latest/meta-data/network/interfaces/macs").as_deref(), Some(""));
}

#[test]
fn cards_come_and_go() {
    let mut tree = tree("instance-id=i-1");
    let all = tree.clone();
    let read = |tree: &Value, path: &str| read(tree, &format!("/latest/meta-data/{path}"));
    let [first, second] = cards();
    let number = |mac: &str| format!("network/interfaces/macs/{mac}/device-number");
    remove_card(&mut tree, &first.id);
    assert_eq!(read(&tree, "mac"), Some(second.mac.clone()));
    assert_eq!(read(&tree, &number(&first.mac)), None);
    // It has its number again, and so is the first one.
    add_card(&mut tree, &first);
    assert_eq!(read(&tree, &number(&first.mac)).as_deref(), Some("0"));
    remove_card(&mut tree, &second.id);
    assert_eq!(read(&tree, "mac"), Some(first.mac.clone()));
    add_card(&mut tree, &second);
    assert_eq!(tree, all);
    for card in [&first, &second] {
        remove_card(&mut tree, &card.id);
    }
    assert_eq!(read(&tree, "mac"), None);
    assert_eq!(read(&tree, "network/interfaces/macs").as_deref(), Some(""));
    // A document that is of another shape is left alone.
    let mut other = json!({ "latest": [] });
    add_card(&mut other, &first);
    remove_card(&mut other, &first.id);
    assert_eq!(other, json!({ "latest": [] }));
}

#[test]
fn user_data_is_the_files_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("user,data");
    fs::write(&path, "#cloud-config\nx: \u{e4}\n").unwrap();
    let spec = format!("user-data={}", path.display().to_string().replace(',', ",,"));
    assert_eq!(
        read(&tree(&spec), "/latest/user-data").as_deref(),
        Some("#cloud-config\nx: \u{e4}\n")
    );
    let spec: ImdsSpec = spec.parse().unwrap();
    fs::write(&path, [0x1f, 0x8b]).unwrap();
    assert!(matches!(spec.tree("web", &[]), Err(ImdsError::NoText { .. })));
    fs::write(&path, "x".repeat(MOST_USER_DATA + 1)).unwrap();
    assert!(matches!(spec.tree("web", &[]), Err(ImdsError::File { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(spec.tree("web", &[]), Err(ImdsError::File { .. })));
}

#[test]
fn other_words_are_refused() {
    let refused = |text: &str| text.parse::<ImdsSpec>().unwrap_err().to_string();
    assert!(refused("hostname").starts_with("\"hostname\" has no '='"));
    assert!(refused("hostname=").starts_with("hostname=: take 1 to 64 letters"));
    assert!(refused("hostname=a,").starts_with("\"\" has no '='"));
    assert!(refused("user-data=").starts_with("user-data=: it is empty"));
    assert!(refused("speed=1").starts_with("unknown key \"speed\"; known are user-data, "));
    assert_eq!(refused("zone=a,zone=b"), "zone is given twice");
    assert_eq!(refused("tokens=no"), "tokens=no: write one of required, optional");
    for bad in ["a b", "a/b", "\u{e4}", &"x".repeat(65)] {
        let said = refused(&format!("hostname={bad}"));
        assert_eq!(said, format!("hostname={bad}: take 1 to 64 letters, digits, '-', '_' and '.'"));
    }
}

#[test]
fn an_instances_smbios_says_what_cloud_init_looks_for_and_what_the_user_says() {
    let spec: ImdsSpec = "instance-id=i-1,instance-type=m7i.large".parse().unwrap();
    let identity = spec.identity("web", Identity::default());
    let text = |text: &Option<Text>| text.as_ref().unwrap().to_string();
    let uuid = identity.uuid.to_string();
    assert!(uuid.starts_with("ec2"), "{uuid}");
    assert_eq!(text(&identity.serial), uuid);
    assert_eq!(text(&identity.vendor), "Amazon EC2");
    assert_eq!(text(&identity.product), "m7i.large");
    assert_eq!(text(&identity.asset_tag), "i-1");
    assert_eq!(identity, spec.identity("web", Identity::default()), "the same each time");
    let vendor = Text::new("Acme").unwrap();
    let said =
        Identity { vendor: Some(vendor.clone()), uuid: Guid([7; 16]), ..Identity::default() };
    let identity = spec.identity("web", said);
    assert_eq!((identity.vendor, identity.uuid), (Some(vendor), Guid([7; 16])));
    assert_eq!(identity.serial.unwrap().to_string(), identity.uuid.to_string());
}
