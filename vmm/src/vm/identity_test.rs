//! The command line's form of an identity.

use super::*;

fn parsed(text: &str) -> Result<Identity, String> {
    text.parse::<IdentitySpec>().map(|spec| spec.0).map_err(|error| error.to_string())
}

#[test]
fn everything_can_be_said() {
    let identity = parsed(
        "vendor=Amazon EC2,product=m7i.large,version=1,,2,serial=ds=nocloud;s=http://a/,\
         uuid=ec2e1916-9099-7c05-8a4b-00a0c93ec93b,asset-tag=i-0123",
    )
    .unwrap();
    let text = |text: Option<Text>| text.unwrap().to_string();
    assert_eq!(text(identity.vendor), "Amazon EC2");
    assert_eq!(text(identity.product), "m7i.large");
    assert_eq!(text(identity.version), "1,2");
    assert_eq!(text(identity.serial), "ds=nocloud;s=http://a/");
    assert_eq!(text(identity.asset_tag), "i-0123");
    assert_eq!(identity.uuid.to_string(), "ec2e1916-9099-7c05-8a4b-00a0c93ec93b");
    assert_eq!(parsed("serial=1").unwrap().vendor, None);
}

#[test]
fn what_is_wrong_is_named() {
    for (text, line) in [
        ("", "\"\" has no '='; write key=value, with a comma of a value twice; known are KEYS"),
        (
            "vendor",
            "\"vendor\" has no '='; write key=value, with a comma of a value twice; known are KEYS",
        ),
        ("maker=x", "unknown key \"maker\"; known are KEYS"),
        ("serial=1,serial=2", "serial is given twice"),
        ("vendor=", "vendor=: write 1 to 64 printable ASCII characters"),
        ("asset-tag=é", "asset-tag=é: write 1 to 64 printable ASCII characters"),
        (
            "uuid=1",
            "uuid=1: write 32 hexadecimal digits in groups, such as 1c2f7a3e-8a55-4f0e-9d53-6f0f0b8f3c11",
        ),
    ] {
        let keys = "vendor, product, version, serial, uuid, asset-tag";
        assert_eq!(parsed(text).unwrap_err(), line.replace("KEYS", keys));
    }
}
