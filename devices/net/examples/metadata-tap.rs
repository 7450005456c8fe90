//! Metadata on a TAP without a machine: for clients that run on this host, as in a guest.
//!
//! `metadata-tap TAP FILE` makes the TAP and tells the JSON in the file, in EC2's form and to whoever asks, until
//! it is killed. The host then needs an address on the TAP, and routes by it to 169.254.169.254 and fd00:ec2::254.

#[path = "../tests/metadata/on_tap.rs"]
mod on_tap;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use net::service::metadata::{Metadata, Settings};
use net::service::store::{Store, USUAL_LIMIT};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tap, file] = arguments.as_slice() else {
        return Err("usage: metadata-tap TAP FILE".into());
    };
    let store = Arc::new(Store::new(USUAL_LIMIT));
    store.put(serde_json::from_slice(&std::fs::read(file)?)?)?;
    let settings = Settings { imds_compat: true, ..Settings::default() };
    let metadata = Arc::new(Metadata::new(settings, store, "example", ([1; 64], 1)));
    on_tap::serve(tap, &metadata, || {}, &AtomicBool::new(false))
}
