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

#[test]
fn patience_ends_with_the_time_or_the_signs_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let alive = folder.path().join("alive");
    assert!(!Patience::new(alive.clone(), Duration::ZERO).lasts());

    let mut patience = Patience::new(alive.clone(), Duration::MAX);
    assert!(patience.lasts());
    let long_ago = Instant::now().checked_sub(SILENCE).unwrap();
    patience.heard_at = long_ago;
    fs::write(&alive, "1").unwrap();
    assert!(patience.lasts(), "a sign of life renews it");
    patience.heard_at = long_ago;
    assert!(!patience.lasts() && !patience.is_over());
}
