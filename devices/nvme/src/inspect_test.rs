//! What the one who runs the machine sees and asks; and a whole controller on a file.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use block::control::DiskControl;
use block::spec::{DiskSpec, Engine, Fault, Model};
use device_core::device::Device;
use device_core::worker::Threads;

use crate::Nvme;
use crate::testing::bench::{Bench, spec};
use crate::testing::driver::{Driver, Pair, READY, SHUT_DOWN, SHUTDOWN, blocks, command, reg};

#[test]
fn faults_are_told_until_they_are_cleared() {
    let driver = Driver::ready(1);
    let card = driver.bench.card.clone();
    for fault in [Fault::Slow, Fault::Fatal, Fault::Vanish] {
        card.inject(fault).unwrap();
    }
    assert_eq!(card.faults(), [Fault::Slow, Fault::Vanish, Fault::Fatal]);
    assert_eq!(card.inspect().faults, card.faults());
    card.clear_faults();
    assert_eq!(card.faults(), []);
}

#[test]
fn an_inspection_says_whether_a_driver_is_at_work_and_what_it_reads() {
    let mut driver = Driver::ready(1);
    assert!(!driver.bench.card.inspect().running);
    let mut pair = driver.create_pair(1, 8);
    driver.io(&mut pair, command(0xee, 1, [0; 2])).refused(0x001);
    let inspection = driver.bench.card.inspect();
    assert!(inspection.running);
    assert_eq!((inspection.model, inspection.id.as_str()), (Model::Nvme, "data"));
    assert_eq!(inspection.serial.as_bytes(), &driver.identified(1, 0)[4..24]);
    assert_eq!(inspection.serial, Nvme::serial_of(&spec()));
    assert!(inspection.counters.contains(&("malformed".to_string(), 1)));
}

#[test]
fn a_fault_from_the_start_is_there_from_the_start() {
    let faulty = DiskSpec { faults: vec![Fault::Vanish], ..spec() };
    let mut bench = Bench::of(&faulty, 1);
    bench.enable();
    assert_eq!(bench.read(reg::CSTS), u32::MAX);
    bench.card.clear_faults();
    assert_eq!(bench.read(reg::CSTS), 0);
}

/// A driver of a controller that has a file behind it, on threads of its own.
fn on_a_file(bytes: u64, engine: Engine) -> (Driver, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes).unwrap();
    file.flush().unwrap();
    let spec = DiskSpec { path: file.path().to_path_buf(), engine, ..spec() };
    let bench = Bench::around(Threads::new().unwrap(), 2, |machine| {
        Nvme::build(&spec, 2, &machine.kit()).unwrap()
    });
    (Driver::on(bench).enabled(), file)
}

/// Waits for a completion; the test's runner ends those that wait for ever.
fn awaited(driver: &mut Driver, pair: &mut Pair) -> crate::testing::driver::Answer {
    loop {
        match driver.take(pair) {
            Some(answer) => return answer,
            None => std::thread::yield_now(),
        }
    }
}

#[test]
fn what_is_written_is_in_the_file_and_is_read_from_it() {
    for engine in [Engine::Auto, Engine::Threads] {
        let (mut driver, file) = on_a_file(1 << 20, engine);
        let mut pairs = [driver.create_pair(1, 16), driver.create_pair(2, 16)];
        let page = driver.page;
        for shadowed in [false, true] {
            if shadowed {
                driver.shadow_doorbells();
                driver.enable();
                pairs = [driver.create_pair(1, 16), driver.create_pair(2, 16)];
            }
            for round in 1..40u8 {
                let pair = &mut pairs[usize::from(round % 2)];
                driver.bench.store(page, &[round; 4096]);
                driver.enqueue(pair, blocks(1, [page, 0], u64::from(round) * 8, 8, 1 << 30));
                driver.ring(pair);
                awaited(&mut driver, pair).ok();
                driver.bench.store(page, &[0; 4096]);
                driver.enqueue(pair, blocks(2, [page, 0], u64::from(round) * 8, 8, 0));
                driver.ring(pair);
                awaited(&mut driver, pair).ok();
                assert_eq!(driver.bench.load(page, 4096), [round; 4096]);
                let mut bytes = [0; 4096];
                file.as_file().read_exact_at(&mut bytes, u64::from(round) * 4096).unwrap();
                assert_eq!(bytes, [round; 4096]);
            }
        }
        driver.bench.write(reg::CC, SHUTDOWN);
        while driver.status() != READY | SHUT_DOWN {
            std::thread::yield_now();
        }
    }
}

#[test]
fn resets_and_rests_come_back_from_real_lanes() {
    let (mut driver, _file) = on_a_file(1 << 20, Engine::Auto);
    let page = driver.page;
    for round in 0..200 {
        let mut pair = driver.create_pair(1, 64);
        for n in 0..50 {
            driver.enqueue(&mut pair, blocks(2, [page, 0], n, 1, 0));
        }
        driver.ring(&pair);
        if round % 3 == 0 {
            let card: Arc<Nvme> = driver.bench.card.clone();
            card.stop();
            card.start();
        }
        if round % 2 == 0 {
            driver.delete_sq(1);
        }
        driver.bench.write(reg::CC, 0);
        while driver.status() & READY != 0 {
            std::thread::yield_now();
        }
        driver.bench.forget_allocations_after(page);
        driver.enable();
    }
    let mut pair = driver.create_pair(1, 8);
    driver.enqueue(&mut pair, blocks(2, [page, 0], 0, 1, 0));
    driver.ring(&pair);
    awaited(&mut driver, &mut pair).ok();
}

#[test]
fn a_file_that_grew_is_told_of() {
    let (mut driver, file) = on_a_file(1 << 20, Engine::Auto);
    driver.set(0x0b, 0x100).ok();
    driver.request_event();
    file.as_file().set_len(2 << 20).unwrap();
    assert_eq!(driver.bench.card.refresh().unwrap(), 2 << 20);
    assert_eq!(driver.take_answer().unwrap().ok().result, 0x0004_0002);
    assert_eq!(driver.identified(0, 1)[..8], 4096u64.to_le_bytes());
    let mut pair = driver.create_pair(1, 8);
    let page = driver.page;
    driver.enqueue(&mut pair, blocks(2, [page, 0], 4095, 1, 0));
    driver.ring(&pair);
    awaited(&mut driver, &mut pair).ok();
}
