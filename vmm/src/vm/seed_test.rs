//! Files for cloud-init, as they are named and as they arrive on their disk.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;

fn spec(text: &str) -> Result<SeedSpec, String> {
    text.parse::<SeedSpec>().map_err(|error| error.to_string())
}

#[test]
fn files_are_named_by_what_they_are() {
    let all = spec("meta-data=m,user-data=a,,b=c,network-config=n").unwrap();
    assert_eq!(all.user_data, Path::new("a,b=c"));
    assert_eq!(all.meta_data.as_deref(), Some(Path::new("m")));
    assert_eq!(all.network_config.as_deref(), Some(Path::new("n")));
    assert_eq!(
        spec("user-data=u").unwrap(),
        SeedSpec { user_data: "u".into(), ..Default::default() }
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (text, line) in [
        ("", "\"\" has no '='; write key=value, with a comma of a value twice; known are KEYS"),
        ("user-data=", "user-data=: it is empty; name a file"),
        (
            "a.yaml",
            "\"a.yaml\" has no '='; write key=value, with a comma of a value twice; known are KEYS",
        ),
        ("userdata=u", "unknown key \"userdata\"; known are KEYS"),
        ("user-data=u,user-data=v", "user-data is given twice"),
        ("meta-data=m", "user-data is missing; write user-data=FILE"),
    ] {
        let keys = "user-data, meta-data, network-config";
        assert_eq!(spec(text).unwrap_err(), line.replace("KEYS", keys));
    }
}

#[test]
fn the_disk_has_the_files_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("user.yaml");
    fs::write(&path, "#cloud-config\n").unwrap();
    let spec = SeedSpec { user_data: path, ..Default::default() };
    let disk = spec.disk("vm-1").unwrap();
    let wanted = Seed {
        user_data: b"#cloud-config\n".to_vec(),
        meta_data: meta_data("vm-1"),
        network_config: None,
    };
    let mut bytes = vec![0; disk.metadata().unwrap().len() as usize];
    disk.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, wanted.to_disk().unwrap());
    assert!(disk.write_at(b"x", 0).is_err());
    assert!(disk.set_len(0).is_err());
}

#[test]
fn files_that_cannot_be_told_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let line = |spec: &SeedSpec| {
        let error = spec.disk("x").unwrap_err();
        crate::words::one_line(None, &error).replace(&folder.path().display().to_string(), "DIR")
    };
    let missing = SeedSpec { user_data: folder.path().join("no"), ..Default::default() };
    assert_eq!(
        line(&missing),
        "user-data DIR/no: it cannot be read: No such file or directory (os error 2)"
    );
    let large = folder.path().join("large");
    fs::write(&large, vec![b'x'; MOST_FILE + 1]).unwrap();
    let spec =
        SeedSpec { meta_data: Some(large), user_data: "/dev/null".into(), ..Default::default() };
    assert_eq!(line(&spec), "meta-data DIR/large: it is larger than 1024 KiB");
}
