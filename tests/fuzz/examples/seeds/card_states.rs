//! States of cards, as they are after a guest's steps, and changed in places.

use crate::Seed;

/// A change: of which value, how, and to what.
fn change(place: u16, how: u8, number: u64) -> Vec<u8> {
    [&place.to_le_bytes()[..], &[how], &number.to_le_bytes()].concat()
}

/// Of guests whose steps these are: each with a change of its own, the first without.
pub fn of(guests: &[Seed]) -> Vec<Seed> {
    let changes = [
        Vec::new(),
        change(40, 0, 0xffff),
        change(60, 4, 0),
        change(90, 9, 3),
        [change(120, 8, 1), change(30, 3, 1)].concat(),
        [change(20, 6, 200), change(200, 7, 50)].concat(),
    ];
    let seed = |((name, steps), change): (&Seed, Vec<u8>)| {
        let mut steps = steps.clone();
        steps.resize(steps.len().next_multiple_of(8), 0);
        (*name, [vec![(steps.len() / 8) as u8], steps, change].concat())
    };
    guests.iter().zip(changes).map(seed).collect()
}
