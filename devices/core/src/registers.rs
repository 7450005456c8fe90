//! Register files as tables: offset, width, name; sorted and disjoint by compile-time check.

use crate::bus::Width;

/// The registers of one window. `R` is the device's enum of names, so that the `match` on it is
/// exhaustive.
pub struct RegisterMap<R: 'static> {
    table: &'static [(u64, Width, R)],
}

impl<R: Copy> RegisterMap<R> {
    /// Takes a table in ascending order of offsets; disorder or overlap does not compile where the
    /// map is a `const`.
    pub const fn new(table: &'static [(u64, Width, R)]) -> RegisterMap<R> {
        let mut i = 1;
        while i < table.len() {
            #[allow(clippy::indexing_slicing)]
            let (before, this) = (&table[i - 1], &table[i]);
            assert!(before.0 + before.1 as u64 <= this.0, "registers overlap or are out of order");
            i += 1;
        }
        RegisterMap { table }
    }

    /// The register at exactly this offset with exactly this width.
    pub fn find(&self, offset: u64, width: Width) -> Option<R> {
        let at = self.table.binary_search_by_key(&offset, |row| row.0).ok()?;
        self.table.get(at).filter(|row| row.1 == width).map(|row| row.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Reg {
        Version,
        Caps,
    }
    const MAP: RegisterMap<Reg> =
        RegisterMap::new(&[(0, Width::B4, Reg::Version), (8, Width::B2, Reg::Caps)]);

    #[test]
    fn a_register_is_found_at_its_offset_and_width_only() {
        assert_eq!(MAP.find(0, Width::B4), Some(Reg::Version));
        assert_eq!(MAP.find(8, Width::B2), Some(Reg::Caps));
        assert_eq!(MAP.find(8, Width::B4), None);
        assert_eq!(MAP.find(9, Width::B1), None);
        assert_eq!(MAP.find(u64::MAX, Width::B8), None);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn an_overlap_is_refused() {
        RegisterMap::new(&[(0, Width::B8, Reg::Version), (4, Width::B4, Reg::Caps)]);
    }
}
