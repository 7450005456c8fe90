//! Tests of what the testbed hands to its shell.

use super::*;

#[test]
fn words_reach_the_command_as_they_are() {
    let nasty = ["plain", "two words", "it's", "$HOME `x` \\ \"q\"", ""];
    let command: Vec<OsString> = ["printf", "%s|"].iter().chain(&nasty).map(Into::into).collect();
    let script = String::from_utf8(script(&command, &[]).unwrap()).unwrap();
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        nasty.map(|word| format!("{word}|")).concat()
    );
}

#[test]
fn the_environment_reaches_the_command() {
    let value = OsString::from("two\nlines and 'quotes'");
    let command = ["printenv".into(), "SOME_NAME".into()];
    let script = script(&command, &[("SOME_NAME", value.clone())]).unwrap();
    let script = String::from_utf8(script).unwrap();
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), value.to_str().unwrap());
}
