//! The menu that a script makes, and which of its entries is booted.

use std::rc::Rc;

use super::block::Block;

/// An entry of a menu.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub title: String,
    /// What `--id` gave it; the title if nothing did.
    pub id: String,
    pub action: Action,
}

/// What an entry does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Runs commands; the second are its arguments.
    Run(Rc<Block>, Vec<String>),
    /// Opens a menu that commands make.
    Open(Rc<Block>),
    /// Boots what a file of the Boot Loader Specification says: volume, kernel, initrds, options.
    Boot { volume: usize, kernel: String, initrds: Vec<String>, options: String },
}

/// The entry that `wanted` names by its id, its title or its number, else the first; and what is wanted
/// in the menu that it opens.
pub(crate) fn pick<'e, 'w>(entries: &'e [Entry], wanted: &'w str) -> Option<(&'e Entry, &'w str)> {
    let (here, below) = wanted.split_once('>').unwrap_or((wanted, ""));
    let by_name = entries.iter().find(|entry| entry.id == here || entry.title == here);
    let by_number = || here.parse::<usize>().ok().and_then(|number| entries.get(number));
    // A title may have the sign that divides menus.
    let whole = entries.iter().find(|entry| entry.id == wanted || entry.title == wanted);
    if let Some(entry) = whole {
        return Some((entry, ""));
    }
    match by_name.or_else(by_number) {
        Some(entry) => Some((entry, below)),
        None => entries.first().map(|entry| (entry, "")),
    }
}
