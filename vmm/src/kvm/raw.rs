//! A structure of KVM as it lies in a file: its bytes, which the kernel's interface fixes.

use device_core::snapshot::blob;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Written as text of its bytes, and read if there are as many as it has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw<T>(pub T);

impl<T: IntoBytes + Immutable> Serialize for Raw<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        blob::serialize(&self.0.as_bytes(), serializer)
    }
}

impl<'de, T: FromBytes> Deserialize<'de> for Raw<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw<T>, D::Error> {
        let bytes: Vec<u8> = blob::deserialize(deserializer)?;
        let wrong =
            || D::Error::custom(format!("{} bytes instead of {}", bytes.len(), size_of::<T>()));
        T::read_from_bytes(&bytes).map(Raw).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use kvm_bindings::kvm_regs;

    use super::*;

    #[test]
    fn a_structure_comes_back_from_its_bytes_and_from_no_fewer() {
        let regs = Raw(kvm_regs { rax: 0x0102, rip: u64::MAX, ..Default::default() });
        let text = serde_json::to_string(&regs).unwrap();
        assert!(text.starts_with("\"0201000000000000"), "{text}");
        assert_eq!(serde_json::from_str::<Raw<kvm_regs>>(&text).unwrap().0, regs.0);
        let error = serde_json::from_str::<Raw<kvm_regs>>("\"0201\"").unwrap_err();
        assert!(error.to_string().contains("2 bytes instead of 144"), "{error}");
    }
}
