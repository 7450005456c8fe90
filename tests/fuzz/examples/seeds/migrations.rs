//! What sources of machines say: one with a little memory, and such as make a mistake.

use serde_json::{Value, json};

use crate::Seed;
use crate::seeds::snapshots;

pub fn all() -> Vec<Seed> {
    let (hello, state) = (machine(), machine());
    let page = |byte: u8| vec![byte; 4096];
    let memory = [
        (2, 0, page(1)),
        (2, 1023, page(2)),
        (3, 0, 1u64.to_le_bytes().to_vec()),
    ];
    let end = [(4, 0, Vec::new()), (2, 7, page(3)), (5, 0, state.to_string().into_bytes())];
    let whole = |middle: &[(u32, u64, Vec<u8>)]| {
        let hello = (1, 0, hello.to_string().into_bytes());
        said(&[&[hello], middle, &end].concat())
    };
    let behind = [(2, 1024, page(1))];
    let many = [(3, 1, u64::MAX.to_le_bytes().to_vec())];
    let stays = [(7, 0, b"it stays".to_vec())];
    vec![
        ("whole", whole(&memory)),
        ("behind-the-end", whole(&behind)),
        ("too-many-zeroes", whole(&many)),
        ("stays", whole(&stays)),
        ("no-machine", said(&[(1, 0, b"{}".to_vec())])),
        ("other-version", [&b"vmm-move"[..], &9u32.to_le_bytes(), &[0; 4]].concat()),
    ]
}

fn machine() -> Value {
    let body = snapshots::body();
    json!({
        "vmm_version": "0.1.0", "architecture": "x86_64", "memory_bytes": 4 << 20, "runs": true,
        "config": body["config"], "state": body["state"], "kept": body["kept"],
    })
}

/// Records but for their sums, which the target makes.
fn said(records: &[(u32, u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [&b"vmm-move"[..], &1u32.to_le_bytes(), &[0; 4]].concat();
    for (kind, number, body) in records {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
    }
    bytes
}
