//! Tests of what a user may say about a card.

use device_core::rate::Quota;

use super::*;

fn parsed(text: &str) -> NicSpec {
    text.parse().unwrap()
}

/// What a user reads about `text`, with an id given for him: key and reason.
fn complaint(text: &str) -> String {
    let mut spec = match text.parse::<NicSpec>() {
        Ok(spec) => spec,
        Err(error) => return error.to_string(),
    };
    if spec.id.is_empty() {
        spec.id = "net0".to_string();
    }
    let error = spec.validate().unwrap_err();
    format!("{}: {error}", error.key())
}

#[test]
fn the_short_form_leaves_the_rest_to_defaults() {
    let spec = NicSpec { id: String::new(), ..NicSpec::on_tap("", "tap0") };
    assert_eq!(parsed("tap=tap0"), spec);
}

#[test]
fn the_long_form_says_everything() {
    let spec = parsed("tap=tap0,model=virtio,mac=02:00:00:00:00:01,queues=4,mtu=9000,id=lan");
    assert_eq!(spec.queues, 4);
    assert_eq!(spec.mtu, Some(9000));
    assert_eq!(spec.mac, Some(MacAddr([2, 0, 0, 0, 0, 1])));
    assert_eq!(spec.id, "lan");
    assert_eq!(spec.validate(), Ok(()));
}

#[test]
fn an_interface_is_named_as_a_tap_is() {
    let spec = parsed("dev=veth0,id=a,queues=2");
    assert_eq!((&spec.backend, spec.queues), (&BackendSpec::Dev("veth0".into()), 2));
    assert_eq!(spec.validate(), Ok(()));
    let json = r#"{"id":"a","backend":{"dev":"veth0"},"queues":2}"#;
    assert_eq!(serde_json::from_str::<NicSpec>(json).unwrap(), spec);
}

#[test]
fn descriptors_say_how_many_queues_there_are() {
    let spec = parsed("fd=3:4,id=a");
    assert_eq!(spec.backend, BackendSpec::Fd(vec![3, 4]));
    assert_eq!(spec.queues, 2);
    assert_eq!(spec.validate(), Ok(()));
}

#[test]
fn every_complaint_names_its_field() {
    for (text, names) in [
        ("", "key=value"),
        ("tap", "key=value"),
        ("queues=2", "tap=tap0"),
        ("tap=a,fd=3", "exclude"),
        ("tap=a,dev=b", "exclude"),
        ("dev=a,fd=3", "exclude"),
        ("dev=a,dev=b", "dev is given twice"),
        ("dev=", "dev: \"\""),
        ("dev=a-name-of-16-byte", "dev: \"a-name"),
        ("dev=a:b", "no name of an interface"),
        ("tap=a,tap=b", "tap is given twice"),
        ("tap=a,colour=red", "unknown key \"colour\""),
        ("tap=", "tap: \"\""),
        ("tap=a-name-of-16-byte", "tap: \"a-name"),
        ("tap=a b", "tap: \"a b\""),
        ("tap=tap%d", "tap: \"tap%d\""),
        ("tap=../x", "tap: \"../x\""),
        ("tap=a,model=e1000", "model=e1000"),
        ("tap=a,mac=1:2", "mac=1:2"),
        ("tap=a,mac=01:00:00:00:00:01", "mac: 01:00"),
        ("tap=a,mac=00:00:00:00:00:00", "mac: 00:00"),
        ("tap=a,queues=0", "queues: 0 queue pairs"),
        ("tap=a,queues=65", "queues: 65 queue pairs"),
        ("tap=a,queues=two", "queues=two"),
        ("tap=a,queues=70000", "queues=70000"),
        ("tap=a,mtu=67", "mtu: 67 is not possible"),
        ("tap=a,mtu=-1", "mtu=-1"),
        ("fd=x", "fd=x"),
        ("fd=1", "fd: 1"),
        ("fd=-1", "fd: -1"),
        ("fd=3:3", "fd: 3 is given twice"),
        ("fd=3:4,queues=1", "fd: there are 2 descriptors, and queues are 1"),
        ("tap=a,id=a/b", "id: \"a/b\""),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(names), "{text:?}: {complaint}");
    }
}

#[test]
fn json_takes_the_same_fields_and_no_others() {
    let spec: NicSpec =
        serde_json::from_str(r#"{"id":"eth0","backend":{"tap":"tap0"},"queues":2}"#).unwrap();
    assert_eq!(spec, NicSpec { queues: 2, ..NicSpec::on_tap("eth0", "tap0") });
    let back: NicSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(back, spec);
    let wrong = r#"{"id":"eth0","backend":{"tap":"tap0"},"speed":2}"#;
    let error = serde_json::from_str::<NicSpec>(wrong).unwrap_err().to_string();
    assert!(error.contains("speed"), "{error}");
}

#[test]
fn limits_are_given_with_units() {
    let limits = parsed("tap=tap0,bw-in=2.5G,bw-out=500M,pps=100k,conntrack=65536").limits;
    let (bw_in, bw_out) = (Quota::per_second(2_500_000_000), Quota::per_second(500_000_000));
    let (pps, conntrack) = (Quota::per_second(100_000), Some(65_536));
    assert_eq!(limits, Allowed { bw_in, bw_out, pps, conntrack, ..Allowed::default() });
    assert_eq!(parsed("tap=tap0").limits, Allowed::default());
    for (text, names) in [
        ("tap=a,bw-in=0", "bw-in=0: 0 would let nothing through"),
        ("tap=a,pps=0.0k", "pps=0.0k: 0 would let nothing through"),
        ("tap=a,conntrack=4294967296", "conntrack=4294967296: it is too large"),
        ("tap=a,bw-in=", "such as 2.5G"),
        ("tap=a,bw-in=G", "such as 2.5G"),
        ("tap=a,bw-in=-1G", "such as 2.5G"),
        ("tap=a,bw-in=1.G", "such as 2.5G"),
        ("tap=a,bw-in=1.5", "such as 2.5G"),
        ("tap=a,pps=1.2345k", "such as 2.5G"),
        ("tap=a,pps=1 k", "such as 2.5G"),
        ("tap=a,bw-out=99999999999T", "too large"),
        ("tap=a,conntrack=1,conntrack=2", "conntrack is given twice"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(names), "{text}: {complaint}");
    }
    assert_eq!(parsed("tap=a,bw-in=1.500k").limits.bw_in, Quota::per_second(1500));
}

#[test]
fn an_ena_card_has_bounds_of_its_own_for_the_mtu() {
    let check = |text: &str| NicSpec { id: "a".into(), ..text.parse().unwrap() }.validate();
    assert_eq!(check("tap=tap0,model=ena,mtu=9216"), Ok(()));
    assert_eq!(check("tap=tap0,model=ena,mtu=9217"), Err(SpecError::EnaMtu(9217)));
    assert_eq!(check("tap=tap0,model=ena,mtu=127"), Err(SpecError::EnaMtu(127)));
    assert_eq!(check("tap=tap0,mtu=9217"), Ok(()));
}

#[test]
fn an_ena_card_may_be_told_to_go_wrong() {
    use Fault::{RequestReset, StopKeepAlive};
    let spec =
        parsed("tap=tap0,model=ena,id=a,fault=stop-keep-alive@5,fault=request-reset,llq=off");
    let rehearsal = |kind, after_s| Rehearsal { kind, after_s };
    assert_eq!(spec.faults, [rehearsal(StopKeepAlive, 5), rehearsal(RequestReset, 0)]);
    assert_eq!(spec.llq, Some(false));
    assert_eq!(spec.validate(), Ok(()));
    let back: NicSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(back, spec);
    let json = r#"{"id":"a","backend":{"tap":"t"},"model":"ena","faults":[{"kind":"no-answer"}]}"#;
    let spec: NicSpec = serde_json::from_str(json).unwrap();
    assert_eq!(spec.faults, [rehearsal(Fault::NoAnswer, 0)]);
    for kind in ["no-answer", "wrong-tx-id", "request-reset", "stop-keep-alive", "fatal"] {
        let spec = parsed(&format!("tap=tap0,model=ena,fault={kind}@4294967295"));
        let named = serde_json::to_value(spec.faults[0].kind).unwrap();
        assert_eq!((spec.faults[0].after_s, named.as_str()), (u32::MAX, Some(kind)));
    }
    assert_eq!(parsed("tap=t,model=ena,fault=swallow-tx:7@9").faults, [rehearsal(SWALLOW, 9)]);
}

const SWALLOW: Fault = Fault::SwallowTx(7);

#[test]
fn a_fault_has_one_word_and_each_spelling_of_it_is_read_wherever_faults_are() {
    use Fault::{Fatal, NoAnswer, RequestReset, StopKeepAlive, SwallowTx, WrongTxId};
    for (fault, word, spellings) in [
        (StopKeepAlive, "stop-keep-alive", &["stop_keep_alive"][..]),
        (NoAnswer, "no-answer", &["no_answer"]),
        (
            SwallowTx(SWALLOWED),
            "swallow-tx",
            &["swallow_tx", "swallow-tx-completions", "swallow_tx_completions"],
        ),
        (WrongTxId, "wrong-tx-id", &["wrong_tx_id", "wrong-tx-request-id", "wrong_tx_request_id"]),
        (RequestReset, "request-reset", &["request_reset"]),
        (Fatal, "fatal", &[]),
    ] {
        assert_eq!(fault.word(), word);
        for spelling in spellings.iter().chain([&word]) {
            assert_eq!(parsed(&format!("tap=t,model=ena,fault={spelling}")).faults[0].kind, fault);
            let quoted = format!("{spelling:?}");
            assert_eq!(serde_json::from_str::<Fault>(&quoted).unwrap(), fault, "{spelling}");
        }
    }
    for text in [r#"{"swallow-tx":7}"#, r#"{"swallow_tx_completions":7}"#] {
        assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), SWALLOW);
    }
    assert_eq!(serde_json::to_string(&SWALLOW).unwrap(), r#"{"swallow-tx":7}"#);
    assert_eq!(SWALLOW.to_string(), "swallow-tx:7");
    assert_eq!(
        serde_json::to_string(&[NoAnswer, WrongTxId]).unwrap(),
        r#"["no-answer","wrong-tx-id"]"#
    );
    for (text, said) in [
        (r#""explode""#, "\"explode\" is no fault; known are stop-keep-alive"),
        (r#""swallow-tx:7""#, "is no fault"),
        (r#"{"no-answer":1}"#, "\"no-answer\" has no number"),
        (r#"{"swallow-tx":"x"}"#, "invalid type: string"),
        (r#"{"swallow-tx":-1}"#, "invalid value: integer `-1`"),
        (r#"{"swallow-tx":1,"swallow-tx":2}"#, "one fault and its number"),
        ("{}", "one fault and its number"),
        ("7", "invalid type: integer `7`, expected a fault"),
    ] {
        let error = serde_json::from_str::<Fault>(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    // Keys of a card may be spelled as in JSON, too.
    assert_eq!(parsed("tap=t,bw_in=1k").limits, parsed("tap=t,bw-in=1k").limits);
}

#[test]
fn what_only_an_ena_card_can_is_refused_to_others_and_misspellings_to_all() {
    for (text, names) in [
        ("tap=a,fault=no-answer", "fault: only a card of model ena"),
        ("tap=a,model=virtio,llq=on", "llq: only a card of model ena"),
        ("tap=a,model=ena,fault=", "known are stop-keep-alive, no-answer, swallow-tx"),
        ("tap=a,model=ena,fault=explode@5", "fault=explode@5: known are stop-keep-alive"),
        ("tap=a,model=ena,fault=no-answer:5", "known are stop-keep-alive"),
        ("tap=a,model=ena,fault=no-answer@", "such as stop-keep-alive@5"),
        ("tap=a,model=ena,fault=no-answer@soon", "such as stop-keep-alive@5"),
        ("tap=a,model=ena,fault=no-answer@-1", "such as stop-keep-alive@5"),
        ("tap=a,model=ena,fault=no-answer@4294967296", "such as stop-keep-alive@5"),
        ("tap=a,model=ena,llq=no", "llq=no: write one of on, off"),
        ("tap=a,model=ena,llq=on,llq=off", "llq is given twice"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(names), "{text}: {complaint}");
    }
}

#[test]
fn what_takes_a_lane_is_refused_by_name_where_the_kernel_moves_frames() {
    let spec = parsed("tap=tap0,id=a,backend=vhost,queues=2");
    assert_eq!((spec.mover, spec.validate()), (Mover::Vhost, Ok(())));
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<NicSpec>(&text).unwrap(), spec);
    assert_eq!(parsed("tap=tap0,backend=vmm"), parsed("tap=tap0"));
    assert_eq!(parsed("fd=7,id=a,backend=vhost").validate(), Ok(()));
    for (text, names) in [
        ("tap=a,backend=vhost,model=ena", "backend: vhost is for model=virtio"),
        ("dev=a,backend=vhost", "backend: vhost is for taps"),
        ("tap=a,backend=vhost,bw-in=1G", "bw-in: it is the vmm's"),
        ("tap=a,backend=vhost,bw-out=1G", "bw-out: it is the vmm's"),
        ("tap=a,backend=vhost,pps=1k", "pps: it is the vmm's"),
        ("tap=a,backend=vhost,conntrack=1", "conntrack: it is the vmm's"),
        ("tap=a,backend=kernel", "backend=kernel: write one of vmm, vhost"),
        ("tap=a,backend=vhost,backend=vhost", "backend is given twice"),
    ] {
        let complaint = complaint(text);
        assert!(complaint.contains(names), "{text}: {complaint}");
    }
    // Those of one way only the API has.
    for (limit, key) in [
        (Allowed { pps_in: Quota::per_second(9), ..Allowed::default() }, Key::Pps),
        (Allowed { pps_out: Quota::per_second(9), ..Allowed::default() }, Key::Pps),
    ] {
        let refused = NicSpec { limits: limit, ..spec.clone() }.validate();
        assert_eq!(refused, Err(SpecError::ByVmmOnly(key)));
    }
    let outside = Outside { mac: MacAddr([2, 0, 0, 0, 0, 7]), ip: None, guest_ip: None };
    let refused = NicSpec { outside: Some(outside), ..spec.clone() }.validate();
    assert_eq!(refused, Err(SpecError::VhostOutside));
}
