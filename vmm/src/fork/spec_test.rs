//! Tests of what each child gets.

use super::*;

const NICS: [&str; 2] = ["tap=tap0,id=eth0", "tap=abcdefghijklmn,id=eth1,model=ena"];

fn nics(count: usize) -> Vec<NicSpec> {
    NICS.iter().take(count).map(|nic| nic.parse().unwrap()).collect()
}

fn children(spec: &ForkSpec, cards: usize, vsock: bool) -> Result<Vec<ChildSpec>, String> {
    let nics = nics(cards);
    let parent = Parent {
        id: "web",
        api_socket: Path::new("/run/web.sock"),
        nics: &nics,
        disks: &[
            "path=/i/root.raw,id=root".parse().unwrap(),
            "path=/i/ro,ro,id=data".parse().unwrap(),
        ],
        vsock: vsock.then_some(Path::new("/run/v")),
    };
    spec.children(&parent).map_err(|error| error.to_string())
}

fn three() -> ForkSpec {
    ForkSpec { count: 3, first: 1, ..ForkSpec::default() }
}

#[test]
fn what_is_not_given_is_made_from_what_the_machine_has() {
    let children = children(&three(), 1, true).unwrap();
    assert_eq!(children.len(), 3);
    let last = ChildSpec {
        id: "web-3".into(),
        api_socket: "/run/web.sock.3".into(),
        taps: vec![("eth0".into(), "tap0-3".into())],
        identities: vec![],
        images: vec![OtherImage {
            id: "root".into(),
            path: "/i/root.raw.3".into(),
            bases: Vec::new(),
        }],
        vsock: Some("/run/v.3".into()),
        serial: None,
        log: None,
        forks: false,
    };
    assert_eq!(children[2], last);
}

#[test]
fn what_is_given_has_the_number_where_it_says_so() {
    let spec = ForkSpec {
        first: 40,
        id: Some("job-{n}".into()),
        api_socket: Some("/run/{n}/{n}.sock".into()),
        taps: vec![("eth0".into(), "t{n}".into())],
        serial: Some("file=/tmp/{n}".into()),
        log: Some("/var/log/all".into()),
        ..three()
    };
    let children = children(&spec, 1, false).unwrap();
    assert_eq!(children[0].id, "job-40");
    assert_eq!(children[1].api_socket, Path::new("/run/41/41.sock"));
    assert_eq!(children[2].taps, [("eth0".to_string(), "t42".to_string())]);
    assert_eq!(children[0].serial.as_deref(), Some("file=/tmp/40"));
    assert_eq!(children[2].log.as_deref(), Some(Path::new("/var/log/all")), "logs are appended to");
}

#[test]
fn nothing_that_is_ones_own_is_shared() {
    let error = |spec: &ForkSpec, cards| children(spec, cards, false).unwrap_err();
    let fixed = |tap: &str| ForkSpec { taps: vec![("eth0".into(), tap.into())], ..three() };
    assert!(error(&fixed("tap9"), 1).contains("cannot share it"));
    assert!(error(&fixed("tap0"), 1).contains("machine itself"));
    assert!(error(&ForkSpec { count: 1, ..fixed("tap0") }, 1).contains("machine itself"));
    assert!(children(&ForkSpec { count: 1, ..fixed("tap9") }, 1, false).is_ok());
    assert!(error(&ForkSpec { id: Some("x".into()), ..three() }, 1).starts_with("id: "));
    assert!(error(&three(), 2).contains("\"abcdefghijklmn-1\" is no name of an interface"));
    let unknown = ForkSpec { taps: vec![("eth7".into(), "t{n}".into())], ..three() };
    assert!(error(&unknown, 1).contains("no network card \"eth7\""));
    let of_ro = ForkSpec { images: vec![("data".into(), "/x{n}".into())], ..three() };
    assert!(error(&of_ro, 1).contains("no disk \"data\" that is written"));
    let one = ForkSpec { images: vec![("root".into(), "/x".into())], ..three() };
    assert!(error(&one, 1).contains("cannot share it"));
    let vsock = ForkSpec { vsock: Some("/v{n}".into()), ..three() };
    assert!(error(&vsock, 1).contains("no vsock"));
}

#[test]
fn each_child_has_addresses_of_its_own_on_the_wire_if_it_is_to() {
    let seen = |rewrite, count| {
        let eth0 = CardIdentity { id: "eth0".into(), ..CardIdentity::default() };
        let identities = vec![CardIdentity { rewrite, flap: true, ..eth0 }];
        let spec = ForkSpec { identities, count, first: 40, ..three() };
        let children = children(&spec, 1, false)?;
        let identity = |child: ChildSpec| child.identities.into_iter().next().unwrap();
        Ok::<Vec<_>, String>(children.into_iter().map(identity).collect())
    };
    let with = |ip: [u8; 4]| Some(Rewritten { ip: Some(ip.into()), ..Rewritten::default() });
    let three = seen(with([10, 0, 0, 254]), 3).unwrap();
    let ips = three.iter().map(|identity| identity.rewrite.unwrap().ip.unwrap().octets());
    assert_eq!(ips.collect::<Vec<_>>(), [[10, 0, 0, 254], [10, 0, 0, 255], [10, 0, 1, 0]]);
    let macs: Vec<_> =
        three.iter().map(|identity| identity.rewrite.unwrap().mac.unwrap()).collect();
    assert!(macs[0] != macs[1] && macs[1] != macs[2] && macs[2] != macs[0], "{macs:?}");
    assert!(seen(None, 2).unwrap().iter().all(|it| it.flap && it.rewrite.is_none()));
    assert!(seen(with([255; 4]), 2).unwrap_err().contains("end before"));
    let mac = Some(Rewritten { mac: Some(MacAddr([2; 6])), ..Rewritten::default() });
    assert!(seen(mac, 2).unwrap_err().contains("cannot share"));
    assert_eq!(seen(mac, 1).unwrap()[0].rewrite, mac);
}

#[test]
fn a_driver_is_asked_for_a_reset_only_if_it_is_of_an_ena_card() {
    let asked = |id: &str| {
        let identities = vec![CardIdentity { id: id.into(), reset: true, ..Default::default() }];
        let taps = vec![("eth1".into(), "t{n}".into())];
        children(&ForkSpec { identities, taps, ..three() }, 2, false)
    };
    assert!(asked("eth1").unwrap().iter().all(|child| child.identities[0].reset));
    let why = asked("eth0").unwrap_err();
    assert!(why.starts_with("network_overrides: \"eth0\": ") && why.contains("model ena"), "{why}");
}

#[test]
fn numbers_and_names_have_ends() {
    let error = |spec: &ForkSpec| children(spec, 0, false).unwrap_err();
    for count in [0, MOST_CHILDREN + 1, u32::MAX] {
        assert!(error(&ForkSpec { count, ..three() }).starts_with("count: "));
    }
    assert!(error(&ForkSpec { first: u32::MAX, ..three() }).starts_with("first: "));
    assert!(error(&ForkSpec { id: Some("a b{n}".into()), ..three() }).contains("is no name"));
    let long = format!("/{}{{n}}", "x".repeat(200));
    assert!(error(&ForkSpec { api_socket: Some(long), ..three() }).contains("socket's path"));
}

#[test]
fn a_card_that_is_not_on_a_tap_needs_one_for_each_child() {
    let nics: Vec<NicSpec> = vec!["dev=veth0,id=eth0".parse().unwrap()];
    let parent =
        Parent { id: "a", api_socket: Path::new("/s"), nics: &nics, disks: &[], vsock: None };
    let error = three().children(&parent).unwrap_err().to_string();
    assert!(error.contains("not on a TAP"), "{error}");
}
