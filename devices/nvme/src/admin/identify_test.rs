//! Identify, as drivers and Amazon's tools read it (N23 to N29).

use block::spec::{Cache, DiskSpec, Model};

use crate::testing::bench::{Bench, DISK, MEMORY, spec};
use crate::testing::driver::Driver;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn n23_a_volume_says_what_ec2_s_say() {
    let page = Driver::ready(1).identified(1, 0);
    assert_eq!(page[..4], [0x0f, 0x1d, 0x0f, 0x1d]);
    assert!(text(&page[4..24]).starts_with("vol0"));
    assert_eq!(text(&page[24..64]), format!("{:40}", "Amazon Elastic Block Store"));
    assert_eq!(text(&page[64..72]), "1.0     ");
    assert_eq!((page[77], page[516], page[512], page[513]), (6, 1, 0x66, 0x44));
    assert_eq!(page[80..84], 0x0001_0400u32.to_le_bytes());
    assert_eq!(text(&page[3072..3104]), format!("{:32}", "/dev/data"));
    assert!(page[3104..].iter().all(|byte| *byte == 0));
    assert!(text(&page[768..804]).starts_with("nqn.2014-08.org.nvmexpress:uuid:"));
    assert_eq!(page[256..258], [0, 1], "doorbells in memory");
    assert_eq!(page[536..540], [0; 4], "no scatter lists");
}

#[test]
fn an_instance_s_disk_says_what_ec2_s_say() {
    let spec = DiskSpec { model: Model::NvmeInstance, ..spec() };
    let mut driver = Driver::on(Bench::of(&spec, 1)).enabled();
    let page = driver.identified(1, 0);
    assert!(text(&page[4..24]).starts_with("AWS0"));
    assert_eq!(text(&page[24..64]), format!("{:40}", "Amazon EC2 NVMe Instance Storage"));
    assert_eq!(text(&page[64..72]), "0       ");
    assert!(page[3072..].iter().all(|byte| *byte == 0));
    let id = driver.bench.function.read_config(0, device_core::bus::Width::B4);
    assert_eq!(id, 0xcd01_1d0f);
}

#[test]
fn n71_a_disk_without_a_cache_to_flush_says_so() {
    for (cache, present) in [(Cache::Writeback, 1), (Cache::Writethrough, 0), (Cache::Unsafe, 0)] {
        let mut driver = Driver::on(Bench::of(&DiskSpec { cache, ..spec() }, 1)).enabled();
        assert_eq!(driver.identified(1, 0)[525] & 1, present, "{cache:?}");
    }
}

#[test]
fn n24_and_n25_a_page_may_lie_anywhere_in_memory() {
    let mut driver = Driver::ready(1);
    let pages = driver.bench.allocate(0x3000);
    driver.identify(1, 0, [pages + 0xf00, pages + 0x2000]).ok();
    let whole = driver.identified(1, 0);
    assert_eq!(driver.bench.load(pages + 0xf00, 0x100), whole[..0x100]);
    assert_eq!(driver.bench.load(pages + 0x2000, 0xf00), whole[0x100..]);
    assert_eq!(driver.bench.load(pages + 0x1000, 0x1000), [0; 0x1000]);
    driver.identify(1, 0, [pages, u64::MAX]).ok();
    driver.identify(1, 0, [pages + 2, 0]).refused(0x013);
    driver.identify(1, 0, [pages + 4, pages + 0x1008]).refused(0x013);
    driver.identify(1, 0, [pages + 4, MEMORY]).refused(0x004);
    driver.identify(1, 0, [MEMORY, 0]).refused(0x004);
}

#[test]
fn n26_the_namespace_has_the_blocks_of_the_disk() {
    let mut driver = Driver::ready(1);
    let page = driver.identified(0, 1);
    for at in [0, 8, 16] {
        assert_eq!(page[at..at + 8], (DISK / 512).to_le_bytes());
    }
    assert_eq!(page[128..132], [0, 0, 9, 0]);
    assert_eq!((page[25], page[26], page[99]), (0, 0, 0));
    let at = driver.page;
    for namespace in [0, 2, u32::MAX] {
        driver.identify(0, namespace, [at, 0]).refused(0x00b);
    }
}

#[test]
fn n27_the_list_of_namespaces_has_one() {
    let mut driver = Driver::ready(1);
    let mut one = vec![0; 4096];
    one[0] = 1;
    assert_eq!(driver.identified(2, 0), one);
    assert_eq!(driver.identified(2, 1), [0; 4096]);
    let at = driver.page;
    for namespace in [0xffff_fffe, u32::MAX] {
        driver.identify(2, namespace, [at, 0]).refused(0x00b);
    }
}

#[test]
fn n28_the_namespace_has_a_name_that_stays() {
    let mut driver = Driver::ready(1);
    let page = driver.identified(3, 1);
    assert_eq!(page[..4], [3, 16, 0, 0]);
    assert!(page[4..20].iter().any(|byte| *byte != 0));
    assert!(page[20..].iter().all(|byte| *byte == 0));
    driver.enable();
    assert_eq!(driver.identified(3, 1), page);
    assert_eq!(Driver::ready(3).identified(3, 1), page);
    let at = driver.page;
    for namespace in [0, 2] {
        driver.identify(3, namespace, [at, 0]).refused(0x00b);
    }
}

#[test]
fn n29_structures_that_there_are_not_are_refused() {
    let mut driver = Driver::ready(1);
    assert_eq!(driver.identified(6, 0), [0; 4096]);
    let at = driver.page;
    for structure in [0x08, 0x10, 0x1c, 0xff] {
        driver.identify(structure, 1, [at, 0]).refused(0x002);
    }
    let mut words = crate::testing::driver::command(0x06, 1, [at, 0]);
    (words[10], words[11]) = (6, 2 << 24);
    driver.command(words).refused(0x002);
}
