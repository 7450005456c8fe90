//! Tests of tokens: how long they are good, and for whom.

use super::*;

fn tokens(instance: &str) -> (Tokens, Instant) {
    let now = Instant::now();
    (Tokens::new([1; 64], instance, now), now)
}

#[test]
fn a_token_is_good_until_its_time_is_over() {
    let (tokens, now) = tokens("a");
    let at = |ms| now + Duration::from_millis(ms);
    let token = tokens.make(Duration::from_secs(60), at(1000));
    assert_eq!(token.len(), 48);
    assert!(tokens.is_good(&token, at(1000)) && tokens.is_good(&token, at(60_999)));
    assert!(!tokens.is_good(&token, at(61_000)));
    assert_ne!(token, tokens.make(Duration::from_secs(60), at(1000)), "each is one of its own");
}

#[test]
fn nobody_can_make_or_change_one() {
    let (tokens_a, now) = tokens("a");
    let (tokens_b, _) = tokens("b");
    let token = tokens_a.make(Duration::from_secs(60), now);
    assert!(!tokens_b.is_good(&token, now), "another machine's");
    let fresh = Tokens::new([2; 64], "a", now);
    assert!(!fresh.is_good(&token, now), "another key's");
    let bytes = STANDARD.decode(&token).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(!tokens_a.is_good(&STANDARD.encode(changed), now), "byte {at}");
    }
    for len in 0..bytes.len() {
        assert!(!tokens_a.is_good(&STANDARD.encode(&bytes[..len]), now), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    for bad in ["", "x", &"A".repeat(48), &"A".repeat(4000), &STANDARD.encode(longer)] {
        assert!(!tokens_a.is_good(bad, now), "{bad}");
    }
}
