//! Where paths and links lead.

use super::super::ext4::Ext4;
use super::super::samples::{self, Content, Mapping};
use super::super::source::{Budget, Region};
use super::*;
use Content::{File, Link};

fn find(links: &[(&str, Content)], path: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let disk = samples::ext4(links, Mapping::Extents);
    let budget = Budget::default();
    let files = Ext4::open(Region::whole(&disk, disk.len() as u64, &budget))?;
    let node = super::find(&files, path)?.filter(|node| node.kind == Kind::File);
    node.map(|node| files.read(&node, 4096)).transpose()
}

#[test]
fn links_are_followed_from_where_they_are_or_from_the_root() {
    let disk = [
        ("/boot/a", File(b"a")),
        ("/boot/near", Link("a")),
        ("/far", Link("/boot/near")),
        ("/dir", Link("boot")),
        ("/boot/up", Link("../../../boot/./a")),
    ];
    for path in ["/boot/a", "boot//a", "/boot/near", "/far", "/dir/near", "/boot/up", "/../boot/a"]
    {
        assert_eq!(find(&disk, path).unwrap().unwrap(), b"a", "{path}");
    }
    for path in ["/nothing", "/boot/a/b", "/dir/nothing", "/", "/boot"] {
        assert_eq!(find(&disk, path).unwrap(), None, "{path}");
    }
}

#[test]
fn links_that_lead_to_themselves_end() {
    let disk = [("/a", Link("b")), ("/b", Link("a")), ("/c", Link("c/c/c/c"))];
    for path in ["/a", "/c"] {
        assert!(matches!(find(&disk, path), Err(ReadError::Endless)), "{path}");
    }
    let long = "x/../".repeat(300);
    assert!(matches!(find(&[("/x/y", File(b""))], &long), Err(ReadError::Endless)));
}
