//! The commands that lead to a kernel, but for those that run other commands.

use std::cmp::Reverse;

use super::lexer::{Token, tokens};
use super::menu::{Action, Entry};
use super::state::{GrubError, State};
use super::test;
use crate::boot::disk::bls;
use crate::boot::disk::choice::Choice;
use crate::boot::disk::version;
use crate::boot::disk::volume::Volume;

/// Largest file of variables; GRUB's own have 1 KiB.
const MOST_ENVIRONMENT: u64 = 64 << 10;

/// Runs the command `words`, its name first. Returns whether it did what it should; commands that are not
/// known, or for which there is nothing here to do, did not, but for those that scripts rely on. Fails if
/// the disk cannot be read or the script does too much.
pub(crate) fn run(state: &mut State, words: &[String]) -> Result<bool, GrubError> {
    let Some((name, arguments)) = words.split_first() else { return Ok(true) };
    match name.as_str() {
        "true" | "insmod" | "export" | "echo" | "save_env" | "terminal_output"
        | "terminal_input" | "serial" | "loadfont" => Ok(true),
        "[" | "test" => {
            let closing = arguments.iter().position(|word| word == "]" && name == "[");
            let asked = arguments.get(..closing.unwrap_or(arguments.len())).unwrap_or_default();
            Ok(test::holds(asked, state))
        }
        "set" => match arguments.first().and_then(|word| word.split_once('=')) {
            Some((name, value)) => state.set(name, value).map(|()| true),
            None => Ok(true),
        },
        "unset" => {
            arguments.iter().for_each(|name| state.unset(name));
            Ok(true)
        }
        "load_env" => load_env(state, arguments),
        "search" => search(state, arguments),
        "search.fs_uuid" | "search.fs_label" | "search.file" => {
            let by = name.trim_start_matches("search").replace(['.', '_'], "-");
            let by = format!("-{by}");
            let (wanted, variable) = (arguments.first(), arguments.get(1));
            let wanted = wanted.cloned().unwrap_or_default();
            let variable = variable.map_or("root", String::as_str);
            search(state, &[by, format!("--set={variable}"), wanted])
        }
        "linux" | "linux16" | "linuxefi" => linux(state, arguments),
        "initrd" | "initrd16" | "initrdefi" => initrd(state, arguments),
        "blscfg" => blscfg(state),
        _ => match name.split_once('=') {
            Some((name, value)) if is_name(name) => state.set(name, value).map(|()| true),
            _ => Ok(false),
        },
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Sets the variables of a file that `grub-editenv` writes; all, or those that are named.
fn load_env(state: &mut State, arguments: &[String]) -> Result<bool, GrubError> {
    let mut file = format!("{}/grubenv", state.get("prefix"));
    let mut names = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-f" | "--file" => file = words.next().cloned().unwrap_or_default(),
            _ if word.starts_with('-') => file = option_value(word).unwrap_or(file),
            _ => names.push(word),
        }
    }
    let Some((at, path)) = state.place(&file) else { return Ok(false) };
    let Some(volume) = state.volumes.get(at) else { return Ok(false) };
    let Some(bytes) = volume.read(&path, MOST_ENVIRONMENT)? else { return Ok(false) };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A backslash hides the end of a line, and itself.
    let text = text.replace("\\\\", "\u{1}").replace("\\\n", "\u{2}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        if names.is_empty() || names.iter().any(|wanted| *wanted == name) {
            state.set(name, &value.replace('\u{1}', "\\").replace('\u{2}', "\n"))?;
        }
    }
    Ok(true)
}

fn option_value(word: &str) -> Option<String> {
    word.strip_prefix("--").and_then(|word| word.split_once('=')).map(|(_, value)| value.to_owned())
}

/// Sets a variable to the first volume with a file, a label or a UUID.
fn search(state: &mut State, arguments: &[String]) -> Result<bool, GrubError> {
    let (mut by, mut variable) = ("--file", None);
    let mut rest = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hint" | "-h" => drop(words.next()),
            "-f" | "--file" => by = "--file",
            "-l" | "--label" | "--fs-label" => by = "--label",
            "-u" | "--fs-uuid" => by = "--fs-uuid",
            "-s" | "--set" => variable = Some("root".to_owned()),
            _ if word.starts_with("--set=") => variable = option_value(word),
            _ if word.starts_with('-') => {}
            _ => rest.push(word),
        }
    }
    // The name of the variable may be a word of its own.
    if let (Some(name), [first, _, ..]) = (&mut variable, rest.as_slice())
        && is_name(first)
        && by == "--file"
    {
        name.clone_from(first);
        rest.remove(0);
    }
    let Some(wanted) = rest.first() else { return Ok(false) };
    let mut found = None;
    for volume in state.volumes {
        let (uuid, label) = volume.ids();
        let is_it = match by {
            "--file" => volume.find(wanted)?.is_some(),
            "--label" => !label.is_empty() && label == *wanted,
            _ => uuid.eq_ignore_ascii_case(wanted),
        };
        if is_it && volume.files().is_some() {
            found = Some(volume.grub_name());
            break;
        }
    }
    let Some(found) = found else {
        let what = by.trim_start_matches("--").trim_start_matches("fs-");
        state.blame(|| format!("no file system that can be read has the {what} {wanted:?}"));
        return Ok(false);
    };
    if let Some(variable) = variable {
        state.set(&variable, &found)?;
    }
    Ok(true)
}

/// The volume and path of the file `path`, if it is there; else says that it is not.
fn file(state: &mut State, what: &str, path: &str) -> Result<Option<(usize, String)>, GrubError> {
    let place = state.place(path);
    let volume = place.as_ref().and_then(|(at, _)| state.volumes.get(*at));
    let is_there = match (&place, volume) {
        (Some((_, path)), Some(volume)) => volume.file(path)?.is_some(),
        _ => false,
    };
    if !is_there {
        let name = volume.map_or_else(|| state.get("root").to_owned(), Volume::name);
        state.blame(|| format!("its {what} {path} is not on {name}"));
    }
    Ok(place.filter(|_| is_there))
}

fn linux(state: &mut State, arguments: &[String]) -> Result<bool, GrubError> {
    state.kernel = None;
    let Some((path, options)) = arguments.split_first() else { return Ok(false) };
    let Some((volume, kernel)) = file(state, "kernel", path)? else { return Ok(false) };
    let quoted = options.iter().map(|word| match word.contains(' ') {
        true => format!("\"{word}\""),
        false => word.clone(),
    });
    let options = quoted.collect::<Vec<_>>().join(" ");
    state.kernel = Some(Choice { volume, kernel, options, ..Choice::default() });
    Ok(true)
}

fn initrd(state: &mut State, arguments: &[String]) -> Result<bool, GrubError> {
    let mut found = Vec::new();
    for path in arguments.iter().filter(|word| !word.starts_with('-')) {
        let Some(place) = file(state, "initrd", path)? else { return Ok(false) };
        found.push(place);
    }
    match &mut state.kernel {
        Some(kernel) => {
            kernel.initrds = found;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Adds an entry for each file of the Boot Loader Specification, the newest first.
fn blscfg(state: &mut State) -> Result<bool, GrubError> {
    let named = ["boot", "root"].map(|name| state.volume(state.get(name)));
    let all = (0..state.volumes.len()).map(Some);
    let folders = [bls::FOLDER.to_owned(), format!("/boot{}", bls::FOLDER)];
    for at in named.into_iter().chain(all).flatten() {
        let Some(volume) = state.volumes.get(at) else { continue };
        for folder in &folders {
            let mut entries = bls::entries(volume, folder)?;
            entries.sort_by(|one, other| version::compare(&other.id, &one.id));
            // `sort_by` leaves equals in the order of their names.
            entries.sort_by_key(|entry| Reverse(!entry.is_bad));
            let found = !entries.is_empty();
            for entry in entries {
                add_bls(state, at, entry)?;
            }
            if found {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn add_bls(state: &mut State, volume: usize, entry: bls::BlsEntry) -> Result<(), GrubError> {
    let options = match &entry.options {
        Some(options) => options.clone(),
        None => state.get("kernelopts").to_owned(),
    };
    let options = words_of(state, &options)?.join(" ");
    let mut initrds = Vec::new();
    for path in &entry.initrds {
        initrds.extend(words_of(state, path)?);
    }
    let title = if entry.title.is_empty() { entry.id.clone() } else { entry.title };
    let action = Action::Boot { volume, kernel: entry.linux, initrds, options };
    state.add(Entry { title, id: entry.id, action })
}

/// The words of a text that is no script but has variables.
fn words_of(state: &mut State, text: &str) -> Result<Vec<String>, GrubError> {
    let words = tokens(text).into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(word),
        Token::End => None,
    });
    let words: Vec<_> = words.collect();
    state.expand(&words, &[])
}
