//! What a machine says of itself, in the shape of EC2's instance metadata, so that what was written for an
//! instance finds what it looks for.
//!
//! Versions of the tree and the names in it are those of EC2's public documentation ("Instance metadata
//! categories").

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use arch::guid::Guid;
use arch::smbios::{Identity, Text};
use device_core::options::{Given, OptionError, parts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::text_file::{self, ReadError};

/// `key=value` with commas between them, each key once. A comma in a value is written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImdsSpec {
    /// A text that the guest's first start is told.
    pub user_data: Option<PathBuf>,
    /// Name of the instance; made of the machine's if not given.
    pub instance_id: Option<String>,
    /// The guest's name; the machine's if not given.
    pub hostname: Option<String>,
    /// What kind of instance it is.
    pub instance_type: Option<String>,
    /// What it was made from.
    pub image_id: Option<String>,
    /// Where it is; the zone without its last letter if not given.
    pub region: Option<String>,
    /// Where in the region it is.
    pub zone: Option<String>,
    /// Whether a guest has to show the token of a session; it has to if not given.
    pub tokens: Option<Tokens>,
}

/// Whether a guest has to show the token of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    Required,
    Optional,
}

#[derive(Clone, Copy)]
enum Key {
    UserData,
    InstanceId,
    Hostname,
    InstanceType,
    ImageId,
    Region,
    Zone,
    Tokens,
}

const KEYS: [(Key, &str); 8] = [
    (Key::UserData, "user-data"),
    (Key::InstanceId, "instance-id"),
    (Key::Hostname, "hostname"),
    (Key::InstanceType, "instance-type"),
    (Key::ImageId, "image-id"),
    (Key::Region, "region"),
    (Key::Zone, "zone"),
    (Key::Tokens, "tokens"),
];
const MOST_NAME: usize = 64;

/// Why a machine cannot say what it is.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    #[error("user-data {}", path.display())]
    File { path: PathBuf, source: ReadError },
    #[error("user-data {} is no UTF-8 text, and nothing else can be told by metadata", path.display())]
    NoText { path: PathBuf },
}

impl FromStr for ImdsSpec {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<ImdsSpec, OptionError> {
        let mut spec = ImdsSpec::default();
        // Nothing need be said.
        for part in parts(text).into_iter().filter(|_| !text.is_empty()) {
            let given = Given::of(&part, &KEYS)?;
            let field = match given.key {
                Key::UserData if given.value.is_empty() => {
                    return Err(given.bad("it is empty; name a file"));
                }
                Key::UserData => {
                    given.put(&mut spec.user_data, PathBuf::from(&given.value))?;
                    continue;
                }
                Key::Tokens => {
                    let words = [("required", Tokens::Required), ("optional", Tokens::Optional)];
                    given.put(&mut spec.tokens, given.one_of(&words)?)?;
                    continue;
                }
                Key::InstanceId => &mut spec.instance_id,
                Key::Hostname => &mut spec.hostname,
                Key::InstanceType => &mut spec.instance_type,
                Key::ImageId => &mut spec.image_id,
                Key::Region => &mut spec.region,
                Key::Zone => &mut spec.zone,
            };
            if !is_name(&given.value) {
                let why = format_args!("take 1 to {MOST_NAME} letters, digits, '-', '_' and '.'");
                return Err(given.bad(why));
            }
            given.put(field, given.value.clone())?;
        }
        Ok(spec)
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MOST_NAME).contains(&text.len()) && text.bytes().all(fits)
}

/// A card, as the tree names it.
pub struct Card {
    /// Its name here.
    pub id: String,
    /// Its address.
    pub mac: String,
}

/// Most bytes of user data, as in EC2; and how long a pipe may take to bring them.
const MOST_USER_DATA: usize = 16 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

const VENDOR: &str = "Amazon EC2";
const USUAL_ZONE: &str = "local-1a";
const USUAL_TYPE: &str = "vmm.guest";
/// An account's number where there is no account.
const NOBODY: &str = "000000000000";

impl ImdsSpec {
    /// Name of the instance of the machine `name`.
    pub fn instance_id(&self, name: &str) -> String {
        self.instance_id.clone().unwrap_or_else(|| named("i", &[name]))
    }

    /// What the SMBIOS of an instance says, where `said` says nothing: by that cloud-init and others know where
    /// they are.
    pub fn identity(&self, name: &str, said: Identity) -> Identity {
        // Names and numbers are short and plain.
        let text = |text: &str| Text::new(text).ok();
        let instance_id = self.instance_id(name);
        let uuid = uuid(&instance_id);
        let is_said = said.uuid != Guid::default();
        let uuid = if is_said { said.uuid } else { uuid };
        Identity {
            vendor: said.vendor.or_else(|| text(VENDOR)),
            product: said.product.or_else(|| text(self.kind())),
            version: said.version,
            serial: said.serial.or_else(|| text(&uuid.to_string())),
            uuid,
            asset_tag: said.asset_tag.or_else(|| text(&instance_id)),
        }
    }

    fn kind(&self) -> &str {
        self.instance_type.as_deref().unwrap_or(USUAL_TYPE)
    }

    /// All that is told of the machine `name` with these cards. Fails if the user data cannot be read, or
    /// is no text.
    pub fn tree(&self, name: &str, cards: &[Card]) -> Result<Value, ImdsError> {
        let text =
            |given: &Option<String>, usual: &str| given.as_deref().unwrap_or(usual).to_string();
        let instance_id = self.instance_id(name);
        let hostname = text(&self.hostname, name);
        let zone = text(&self.zone, USUAL_ZONE);
        let region =
            text(&self.region, zone.trim_end_matches(|last: char| last.is_ascii_lowercase()));
        let kind = self.kind();
        let image = self.image_id.clone().unwrap_or_else(|| named("ami", &["vmm"]));
        let document = json!({
            "accountId": NOBODY,
            "architecture": "x86_64",
            "availabilityZone": zone,
            "imageId": image,
            "instanceId": instance_id,
            "instanceType": kind,
            "region": region,
            "version": "2017-09-30",
        });
        let meta_data = json!({
            "ami-id": image,
            "ami-launch-index": "0",
            "ami-manifest-path": "(unknown)",
            "hostname": hostname,
            "instance-action": "none",
            "instance-id": instance_id,
            "instance-life-cycle": "on-demand",
            "instance-type": kind,
            "local-hostname": hostname,
            "network": { "interfaces": { "macs": {} } },
            "placement": { "availability-zone": zone, "region": region },
            "profile": "default-hvm",
            "reservation-id": named("r", &[&instance_id]),
            "services": { "domain": "amazonaws.com", "partition": "aws" },
        });
        let mut latest = json!({
            "meta-data": meta_data,
            // As text: so it is asked for, and so it is signed where there is somebody to sign it.
            "dynamic": { "instance-identity": { "document": format!("{document:#}") } },
        });
        if let Some(path) = &self.user_data {
            let file = |source| ImdsError::File { path: path.clone(), source };
            let bytes = text_file::read(path, MOST_USER_DATA, PATIENCE).map_err(file)?;
            let text = String::from_utf8(bytes);
            latest["user-data"] =
                text.map_err(|_| ImdsError::NoText { path: path.clone() })?.into();
        }
        let mut tree = json!({ "latest": latest });
        cards.iter().for_each(|card| add_card(&mut tree, card));
        Ok(tree)
    }
}

const META_DATA: &str = "/latest/meta-data";
const MACS: &str = "/network/interfaces/macs";

/// A machine that says of itself what `tree` does has this card besides.
pub fn add_card(tree: &mut Value, card: &Card) {
    let Some(meta_data) = tree.pointer_mut(META_DATA) else { return };
    let text = |key: &str| meta_data[key].as_str().unwrap_or_default().to_string();
    let (instance_id, hostname) = (text("instance-id"), text("hostname"));
    let is_first = meta_data["mac"].is_null();
    let Some(macs) = meta_data.pointer_mut(MACS).and_then(Value::as_object_mut) else { return };
    // The first that no other card has.
    let is_taken = |number: &String| macs.values().any(|other| other["device-number"] == **number);
    let number = (0..=macs.len()).map(|nth| nth.to_string()).find(|number| !is_taken(number));
    let interface = json!({
        "device-number": number,
        "interface-id": interface_id(&instance_id, &card.id),
        "local-hostname": hostname,
        "mac": card.mac,
        "owner-id": NOBODY,
    });
    macs.insert(card.mac.clone(), interface);
    if is_first {
        meta_data["mac"] = card.mac.clone().into();
    }
}

/// It has the card `id` no more.
pub fn remove_card(tree: &mut Value, id: &str) {
    let Some(meta_data) = tree.pointer_mut(META_DATA) else { return };
    let interface_id = interface_id(meta_data["instance-id"].as_str().unwrap_or_default(), id);
    let Some(macs) = meta_data.pointer_mut(MACS).and_then(Value::as_object_mut) else { return };
    macs.retain(|_, interface| interface["interface-id"] != *interface_id);
    let number = |interface: &Value| interface["device-number"].as_str()?.parse::<u32>().ok();
    let first = macs.values().min_by_key(|interface| number(interface));
    let first = first.map(|interface| interface["mac"].clone());
    match (first, meta_data.as_object_mut()) {
        (Some(first), _) => meta_data["mac"] = first,
        (None, Some(meta_data)) => drop(meta_data.remove("mac")),
        (None, None) => {}
    }
}

fn interface_id(instance_id: &str, card: &str) -> String {
    named("eni", &[instance_id, card])
}

/// Instances are known by how their UUID begins (EC2, "Identify EC2 instances").
fn uuid(instance_id: &str) -> Guid {
    let digest = Sha256::digest(instance_id);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (one, two, three) = (&digits[..5], &digits[5..9], &digits[9..12]);
    let (four, five) = (&digits[12..15], &digits[15..27]);
    format!("ec2{one}-{two}-4{three}-8{four}-{five}").parse().unwrap_or_default()
}

/// A name in EC2's form, the same for the same `parts`: 17 hexadecimal digits behind a word.
fn named(word: &str, parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\n"));
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{word}-{}", &digits[..17])
}

#[cfg(test)]
#[path = "imds_test.rs"]
mod tests;
