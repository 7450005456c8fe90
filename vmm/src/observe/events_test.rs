//! Tests of the event lines and their followers.

use super::*;

fn next(follower: &mut Follower) -> Poll<Option<String>> {
    let context = Context::from_waker(Waker::noop());
    follower.poll_line(&context).map(|line| line.map(|line| line.to_string()))
}

fn told(follower: &mut Follower) -> serde_json::Value {
    match next(follower) {
        Poll::Ready(Some(line)) => {
            assert!(line.ends_with('\n'));
            serde_json::from_str(&line).unwrap()
        }
        other => panic!("no line but {other:?}"),
    }
}

fn hello() -> Event {
    Event::Hello { state: "Running".into() }
}

#[test]
fn a_follower_hears_what_comes_after_him_and_the_end() {
    let events = Arc::new(Events::default());
    events.tell(&Event::Started);
    let mut follower = events.follow(&hello(), 1).unwrap();
    assert!(events.follow(&hello(), 1).is_none());
    assert_eq!(told(&mut follower)["state"], "Running");
    assert_eq!(next(&mut follower), Poll::Pending);

    events.tell(&Event::Paused);
    events.tell(&Event::Stopped { reason: "why".into(), exit_code: 3 });
    events.close();
    assert_eq!(told(&mut follower)["event"], "paused");
    let last = told(&mut follower);
    assert_eq!(last["exit_code"], 3);
    assert!(last["timestamp_ms"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(next(&mut follower), Poll::Ready(None));
    drop(follower);
    assert!(events.follow(&hello(), 1).is_some());
}

#[test]
fn what_happens_to_a_card_is_told_with_its_id() {
    let events = Arc::new(Events::default());
    let mut follower = events.follow(&hello(), 1).unwrap();
    told(&mut follower);
    events.tell_of_nic("eth0", &NicEvent::Link { up: false });
    let line = told(&mut follower);
    assert_eq!((&line["iface_id"], &line["event"]), (&"eth0".into(), &"link".into()));
    assert_eq!(line["up"], false);
}

#[test]
fn a_slow_follower_misses_lines_and_learns_how_many() {
    let events = Arc::new(Events::default());
    let mut follower = events.follow(&hello(), 1).unwrap();
    told(&mut follower);
    for _ in 0..KEPT + 7 {
        events.tell(&Event::Resumed);
    }
    assert_eq!(told(&mut follower)["count"], 7);
    for _ in 0..KEPT {
        assert_eq!(told(&mut follower)["event"], "resumed");
    }
    assert_eq!(next(&mut follower), Poll::Pending);
}

#[test]
fn followers_that_ask_again_and_again_or_go_leave_no_wakers_behind() {
    let events = Arc::new(Events::default());
    let mut follower = events.follow(&hello(), 2).unwrap();
    told(&mut follower);
    for _ in 0..1000 {
        assert_eq!(next(&mut follower), Poll::Pending);
    }
    for _ in 0..1000 {
        let mut other = events.follow(&hello(), 2).unwrap();
        told(&mut other);
        assert_eq!(next(&mut other), Poll::Pending);
    }
    assert_eq!(events.lock().waiting.len(), 1);
}
