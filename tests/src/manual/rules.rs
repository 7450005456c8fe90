//! What every page must keep, whatever it is about: each rule returns its complaints, one to a line.

use crate::manual::page::{Block, Page};
use crate::manual::{FOLDER, FRONT, session};

/// Words after a fence that are known; see the manual's module for what they mean.
const KINDS: [&str; 6] =
    [session::KIND, "console testbed", "sh", "json", "text testbed", "text tree"];

/// Programs that a block of kind `sh` may call.
const TYPED: [&str; 3] = ["cargo", "git", "cd"];

/// Folders at the top of the repository, whose paths must be right wherever they are named.
const ROOTS: [&str; 5] = ["arch/", "devices/", "vmm/", "tests/", "resources/"];

/// Most lines of the front page.
const FRONT_LINES: usize = 200;

/// A line that says in one page where all others are.
pub fn navigation(me: &str, names: &[String]) -> String {
    let entry = |name: &String| match name == me {
        true => format!("**{name}**"),
        false => format!("[{name}]({name}.md)"),
    };
    let entries: Vec<_> = names.iter().map(entry).collect();
    format!("[vmm](../../{FRONT}) · {}", entries.join(" · "))
}

/// A page begins with its title, one sentence that says what one finds, and links to all others.
pub fn head(page: &Page, names: &[String]) -> Vec<String> {
    let line = |at: usize| page.lines().get(at - 1).map_or("", String::as_str);
    let mut wrong = Vec::new();
    if !line(1).starts_with("# ") || !line(2).is_empty() {
        wrong.push(format!("{}: a page begins with its title and an empty line", page.at(1)));
    }
    if page.path == FRONT {
        if page.lines().len() > FRONT_LINES {
            wrong.push(format!("{} has more than {FRONT_LINES} lines", page.path));
        }
        return wrong;
    }
    if !line(3).ends_with('.') || line(3).contains(". ") || !line(4).is_empty() {
        wrong.push(format!("{}: one sentence says what is found here", page.at(3)));
    }
    let name = page.path.strip_prefix(FOLDER).unwrap_or(&page.path);
    let name = name.trim_start_matches('/').trim_end_matches(".md");
    let wanted = navigation(name, names);
    if line(5) != wanted || !line(6).is_empty() {
        wrong.push(format!("{}: the links to all pages are: {wanted}", page.at(5)));
    }
    wrong
}

/// Names of the pages in the order of the front's table.
pub fn order(front: &Page) -> Vec<String> {
    let mut names = Vec::new();
    for (_, target) in front.links() {
        let file = target.split('#').next().unwrap_or_default();
        let name = file.strip_prefix(FOLDER).and_then(|name| name.strip_suffix(".md"));
        let name = name.map(|name| name.trim_start_matches('/').to_owned());
        // The front may name a page again elsewhere.
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// The front names every page.
pub fn contents(front: &Page, pages: &[Page]) -> Vec<String> {
    let listed: Vec<_> = order(front).iter().map(|name| format!("{FOLDER}/{name}.md")).collect();
    let others = pages.iter().filter(|page| page.path != FRONT && !listed.contains(&page.path));
    others.map(|page| format!("{FRONT} has no link to {}", page.path)).collect()
}

/// Fences have a known kind, and what is in the block is of that kind.
pub fn fences(page: &Page, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for block in page.blocks() {
        let problem = if !block.closed {
            Some("the block does not end".to_owned())
        } else if !KINDS.contains(&block.kind) {
            Some(format!("`{}` is not one of {}", block.kind, KINDS.join(", ")))
        } else if block.kind.ends_with("testbed") && !block.before.contains("testbed") {
            Some("the words before do not say that this is from the testbed".to_owned())
        } else {
            content(&block, exists)
        };
        wrong.extend(problem.map(|problem| format!("{}: {problem}", page.at(block.line))));
    }
    wrong
}

fn content(block: &Block<'_>, exists: &dyn Fn(&str) -> bool) -> Option<String> {
    match block.kind {
        "console" | "console testbed" => session::steps(block).err().map(|error| error.to_string()),
        "json" => serde_json::from_str::<serde_json::Value>(&block.lines.join("\n"))
            .err()
            .map(|error| format!("no JSON: {error}")),
        "sh" => block.lines.iter().find_map(|line| {
            let program = line.split_whitespace().next()?;
            (!TYPED.contains(&program) && !program.starts_with('#'))
                .then(|| format!("`{program}` stands in a block that is not run"))
        }),
        "text tree" => {
            let missing = tree(block.lines).into_iter().find(|path| !exists(path));
            missing.map(|path| format!("there is no {path}"))
        }
        _ => None,
    }
}

/// Paths of a tree: each line is a name and what it is for, two columns deeper than its folder.
fn tree(lines: &[String]) -> Vec<String> {
    let mut folders: Vec<&str> = Vec::new();
    let mut paths = Vec::new();
    for line in lines {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let name = line.split_whitespace().next().unwrap_or_default();
        folders.truncate(depth);
        paths.push(folders.concat() + name);
        folders.push(name);
    }
    paths
}

/// Links lead to files of this repository and headings in them, or to the outside.
pub fn links(page: &Page, pages: &[Page], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, target) in page.links() {
        if target.starts_with("https://") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = if file.is_empty() { page.path.clone() } else { resolved(&page.path, file) };
        let known = pages.iter().find(|page| page.path == path);
        if !exists(&path) {
            wrong.push(format!("{}: {target} leads to no file", page.at(line)));
        } else if !anchor.is_empty()
            && !known.is_some_and(|page| page.anchors().iter().any(|a| a == anchor))
        {
            wrong.push(format!("{}: {path} has no heading for #{anchor}", page.at(line)));
        }
    }
    wrong
}

/// A relative path, seen from the folder of a page.
fn resolved(page: &str, target: &str) -> String {
    let mut parts: Vec<_> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => (),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Files that are named as code exist.
pub fn paths(page: &Page, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let is_path = |code: &str| {
        ROOTS.iter().any(|root| code.starts_with(root)) && !code.contains([' ', '*', '{'])
    };
    let missing = page.spans().into_iter().filter(|(_, code)| is_path(code) && !exists(code));
    missing.map(|(line, code)| format!("{}: there is no {code}", page.at(line))).collect()
}
