//! Tests of what is told of commands that fail.

use super::*;

fn said(text: &str) -> String {
    let script = "cat >&2; exit 3";
    let mut command = Command::new("sh");
    let child = command.args(["-c", script]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    reason(&child.wait_with_output().unwrap())
}

#[test]
fn the_reason_of_a_failure_is_one_line() {
    assert_eq!(said("N: x\nE: no  list\nW: y\nE: no list\nE: nothing\n"), "no list; nothing");
    assert_eq!(
        said("WARNING: Retrying\nERROR: No matching distribution\n"),
        "No matching distribution"
    );
    assert_eq!(said("tar: cannot write\n\n"), "tar: cannot write");
    assert_eq!(said(""), "exit status: 3");
}

#[test]
fn what_fails_once_is_tried_once_more_but_not_on_a_full_disk() {
    let mut tries = Vec::new();
    let done = once_more(|anew| {
        tries.push(anew);
        if anew { Ok(()) } else { bail!("stale") }
    });
    assert!(done.is_ok() && tries == [false, true], "{tries:?}");

    let mut tries = 0;
    let full: Result<()> = once_more(|_| {
        tries += 1;
        bail!("write: No space left on device")
    });
    assert!(full.is_err() && tries == 1);
}

#[test]
fn of_a_process_that_does_not_end_its_threads_tell_why() {
    let mut sleeps = Owned::spawn(Command::new("sleep").arg("60")).unwrap();
    let told = sleeps.ended(Duration::from_millis(50)).unwrap_err().to_string();
    assert!(
        told.contains("still runs after 50ms: [sleep S (sleeping) 0000000000000000 "),
        "{told}"
    );
    sleeps.child().kill().unwrap();
    assert!(!sleeps.ended(Duration::from_secs(20)).unwrap().success());
}
