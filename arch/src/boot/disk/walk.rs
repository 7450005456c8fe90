//! From a path to what it leads to, within one file system whatever its links say.

use super::files::{FileSystem, Kind, Node};
use super::source::ReadError;

/// Links of one path, as Linux has it (MAXSYMLINKS).
const MOST_LINKS: usize = 40;
/// Parts of one path, with those of its links.
const MOST_PARTS: usize = 256;
/// Longest target of a link (PATH_MAX).
const MOST_TARGET: u64 = 4096;
/// Names of one folder that are told.
const MOST_NAMES: usize = 4096;

/// What `path`, from the root, leads to; `None` if nothing is there. `..` stays in the root, and links
/// are followed, those to other file systems as if this were the only one. Fails if the file system
/// cannot be read, or has too many links.
pub(crate) fn find(files: &dyn FileSystem, path: &str) -> Result<Option<Node>, ReadError> {
    let mut above = vec![files.root()?];
    // What is still to be walked, the next part last.
    let mut parts: Vec<String> = path.rsplit('/').map(str::to_owned).collect();
    let (mut links, mut walked) = (0usize, 0usize);
    while let Some(part) = parts.pop() {
        walked = walked.saturating_add(1);
        if walked > MOST_PARTS {
            return Err(ReadError::Endless);
        }
        let Some(here) = above.last() else { break };
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                above.truncate(above.len().saturating_sub(1).max(1));
                continue;
            }
            _ if here.kind != Kind::Folder => return Ok(None),
            _ => {}
        }
        let Some(node) = child(files, here, &part)? else { return Ok(None) };
        if node.kind != Kind::Link {
            above.push(node);
            continue;
        }
        links = links.saturating_add(1);
        if links > MOST_LINKS {
            return Err(ReadError::Endless);
        }
        let target = match files.target(&node) {
            Some(target) => target,
            None => files.read(&node, MOST_TARGET)?,
        };
        let Ok(target) = String::from_utf8(target) else { return Ok(None) };
        if target.starts_with('/') {
            above.truncate(1);
        }
        parts.extend(target.rsplit('/').map(str::to_owned));
    }
    Ok(above.pop())
}

fn child(files: &dyn FileSystem, folder: &Node, wanted: &str) -> Result<Option<Node>, ReadError> {
    let mut found = None;
    files.visit(folder, &mut |name, id| {
        if files.is_same(name, wanted) {
            found = Some(id);
        }
        found.is_none()
    })?;
    found.map(|id| files.node(id)).transpose()
}

/// The names in the folder at `path`, sorted; none if it is no folder. Fails if it cannot be read.
pub(crate) fn names(files: &dyn FileSystem, path: &str) -> Result<Vec<String>, ReadError> {
    let mut names = Vec::new();
    if let Some(folder) = find(files, path)?.filter(|node| node.kind == Kind::Folder) {
        files.visit(&folder, &mut |name, _| {
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
            names.len() < MOST_NAMES
        })?;
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[path = "walk_test.rs"]
mod tests;
