//! The admin queue: rings, phases, interrupts, errors (specification 11.1: ADM and 10.4).

use crate::testing::driver::{Driver, FATAL, feature_command, reg};

const GET_ATTRIBUTES: [u32; 16] = [8 << 16, 0, 0, 0, 1 << 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn adm_1_a_command_gets_one_answer_and_one_interrupt() {
    let mut driver = Driver::probed(1);
    let before = driver.bench.interrupts(0);
    let answer = driver.command(GET_ATTRIBUTES);
    assert!(answer.phase && answer.status == 0);
    assert_eq!(driver.take_answer(), None);
    assert_eq!(driver.bench.interrupts(0), before + 1);
}

#[test]
fn adm_2_the_answers_phase_turns_with_each_lap() {
    let mut driver = Driver::new(1);
    driver.attach();
    for lap in 0..4 {
        for _ in 0..32 {
            assert_eq!(driver.command(GET_ATTRIBUTES).phase, lap % 2 == 0);
        }
    }
}

#[test]
fn adm_3_masked_answers_come_without_interrupt() {
    let mut driver = Driver::new(1);
    driver.attach();
    driver.get(1, 0).ok();
    assert_eq!(driver.bench.interrupts(0), 0);
    driver.bench.write(reg::INTR_MASK, 0);
    assert_eq!(driver.bench.interrupts(0), 1, "what was held back comes once");
    driver.get(1, 0).ok();
    assert_eq!(driver.bench.interrupts(0), 2);
}

#[test]
fn adm_4_the_doorbell_may_wrap() {
    let mut driver = Driver::new(1);
    driver.attach();
    for _ in 0..65_600 {
        assert_eq!(
            driver.command([11 << 16 | 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).status,
            0
        );
    }
}

#[test]
fn adm_5_each_of_many_commands_is_answered_once() {
    let mut driver = Driver::probed(1);
    let ids: Vec<u16> = (0..32).map(|_| driver.enqueue(GET_ATTRIBUTES)).collect();
    driver.kick();
    let answers: Vec<u16> = std::iter::from_fn(|| driver.take_answer()).map(|a| a.id).collect();
    assert_eq!(answers, ids);
}

#[test]
fn adm_6_unknown_opcodes_are_said_to_be() {
    let mut driver = Driver::probed(1);
    for opcode in [0, 5, 6, 7, 10, 12, 0x7f, 255] {
        assert_eq!(driver.command([opcode << 16; 16]).status, 2, "{opcode}");
    }
}

#[test]
fn adm_7_features_not_offered_are_unsupported_both_ways() {
    let mut driver = Driver::probed(1);
    for feature in [0, 5, 6, 8, 9, 13, 15, 16, 17, 19, 21, 25, 29, 30, 31, 32, 255] {
        assert_eq!(driver.get(feature, 0).status, 3, "get {feature}");
        assert_eq!(driver.set(feature, &[1]).status, 3, "set {feature}");
    }
    for feature in [14, 28] {
        assert_eq!(driver.get(feature, 0).status, 3, "get {feature}");
    }
    for feature in [1, 2, 3, 7, 11, 27] {
        assert_eq!(driver.set(feature, &[1]).status, 3, "set {feature}");
    }
}

#[test]
fn adm_8_leftovers_behind_a_command_mean_nothing() {
    let mut driver = Driver::probed(1);
    let mut words = [u32::MAX; 16];
    words[0] = 8 << 16;
    (words[1], words[4]) = (0, 1 << 8);
    let garbled = driver.command(words).ok();
    let clean = driver.command(GET_ATTRIBUTES).ok();
    assert_eq!(garbled.words[2..], clean.words[2..]);
    words[0] = 11 << 16;
    words[4] = 0xffff_ff00;
    driver.command(words).ok();
}

#[test]
fn adm_9_a_buffer_is_where_its_address_says_whatever_the_flags() {
    let mut driver = Driver::probed(1);
    let buffer = driver.bench.allocate(256);
    for flags in 0..4 {
        driver.bench.store(buffer, &[0xff; 256]);
        let mut words = feature_command(8, 18, 0, &[], buffer, 256);
        words[0] = 8 << 16 | flags << 25;
        driver.command(words).ok();
        assert_eq!(driver.bench.load_words::<1>(buffer), [0x3c]);
    }
}

#[test]
fn adm_12_a_doorbell_too_far_ahead_is_fatal() {
    let mut driver = Driver::probed(1);
    driver.bench.write(reg::AQ_DB, u32::from(driver.submitted) + 33);
    assert_eq!(driver.status() & FATAL, FATAL);
    assert_eq!(driver.take_answer(), None);
}

#[test]
fn a_command_out_of_phase_is_malformed() {
    let mut driver = Driver::probed(1);
    driver.enqueue(GET_ATTRIBUTES);
    let slot = u64::from(driver.submitted - 1) % 32;
    let at = driver.aq + slot * 64 + 3;
    let wrong = driver.bench.load(at, 1)[0] ^ 1;
    driver.bench.store(at, &[wrong]);
    driver.kick();
    assert_eq!(driver.take_answer().unwrap().status, 4);
}

#[test]
fn admin_rings_outside_of_ram_are_fatal() {
    for base in [0x10, 0x20, 0x38] {
        for address in [u64::MAX, 0x1ff_ffc0, 0xe000_0000, 0x1_0004] {
            let mut driver = Driver::new(1);
            driver.bench.enable();
            driver.set_response(driver.cell());
            driver.bench.write(base, address as u32);
            driver.bench.write(base + 4, (address >> 32) as u32);
            let caps = if base == 0x38 { reg::AENQ_CAPS } else { base + 8 };
            driver.bench.write(caps, 64 << 16 | 32);
            assert_eq!(driver.status() & FATAL, FATAL, "{base:#x} {address:#x}");
            driver.reset(0);
            driver.probe();
        }
    }
}

#[test]
fn in_the_fatal_state_queues_can_be_destroyed_but_not_made() {
    let mut driver = Driver::probed(1);
    let tx = driver.create_tx(256, 1);
    driver.post(&mut tx.clone(), [1 << 23, 0, 0, 0]);
    driver.bench.write(tx.doorbell, 0x8000);
    driver.bench.settle();
    assert_eq!(driver.status() & FATAL, FATAL);
    let ring = driver.bench.allocate(0x1000);
    assert_eq!(driver.create_cq(2, 256, 1, ring).status, 6);
    driver.destroy(1, &tx);
}
