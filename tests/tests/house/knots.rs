//! Files of one crate that import each other, found by reading the paths in them.
//!
//! A path counts for the file that defines what it names: `use super::Thing` in a child is no import of
//! its parent if the parent only hands `Thing` on from a sibling. `mod child;` is none, and neither is
//! `pub use child::Thing` unless the file uses `Thing` itself.

use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<String>;

/// A module that is a file: what it brings into scope, and all paths that it writes.
pub struct Module {
    file: String,
    imports: Vec<Import>,
    paths: Vec<Path>,
}

struct Import {
    path: Path,
    /// Under what name; `*` for all.
    name: String,
    /// Whether the file itself has use for it, or only hands it on.
    used: bool,
}

/// The modules of a crate by their place in it; the root's is empty.
#[derive(Default)]
pub struct Crate(BTreeMap<Path, Module>);

impl Crate {
    /// Adds a file by its path below the crate's `src`, such as `lane/outgoing.rs`.
    pub fn add(&mut self, file: &str, text: &str) {
        let path = match file.trim_end_matches(".rs") {
            "lib" | "main" => Path::new(),
            place => place.split('/').map(str::to_owned).collect(),
        };
        self.0.insert(path, Module::parse(file, text));
    }

    /// The imports, with the names that they bring, from whose end others lead back to their beginning.
    pub fn knots(&self) -> Vec<String> {
        let edges = self.edges();
        let knotted = edges.iter().filter(|((from, to), _)| reachable(to, &edges).contains(from));
        knotted.map(|((from, to), names)| format!("{from} imports {names:?} of {to}")).collect()
    }

    /// Which file names which of another, and what of it.
    fn edges(&self) -> BTreeMap<(&str, &str), BTreeSet<String>> {
        let mut edges = BTreeMap::<_, BTreeSet<String>>::new();
        for (place, module) in &self.0 {
            let imported = module.imports.iter().filter(|import| import.used);
            for path in imported.map(|import| &import.path).chain(&module.paths) {
                let Some(target) = self.resolve(place, path) else { continue };
                if target.file != module.file {
                    let name = path.last().cloned().unwrap_or_default();
                    edges.entry((&*module.file, &*target.file)).or_default().insert(name);
                }
            }
        }
        edges
    }

    /// The module that defines what `path` means in the module at `place`; none outside of this crate.
    fn resolve(&self, place: &[String], path: &[String]) -> Option<&Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.find(Path::new(), rest),
            "self" => self.find(place.to_vec(), rest),
            "super" => {
                let parent = place.split_last()?.1;
                match rest.first() {
                    Some(next) if next == "super" => self.resolve(parent, rest),
                    _ => self.find(parent.to_vec(), rest),
                }
            }
            name if self.0.contains_key(&joined(place, name))
                || self.import(place, name).is_some() =>
            {
                self.find(place.to_vec(), path)
            }
            _ => None,
        }
    }

    /// Follows `path` from the module at `place`: into its children, and to where its imports come from.
    fn find(&self, mut place: Path, path: &[String]) -> Option<&Module> {
        for (at, name) in path.iter().enumerate() {
            let child = joined(&place, name);
            if self.0.contains_key(&child) {
                place = child;
            } else if let Some(import) = self.import(&place, name) {
                let whole: Path = import.path.iter().chain(&path[at + 1..]).cloned().collect();
                return self.resolve(&place, &whole);
            } else {
                break;
            }
        }
        self.0.get(&place)
    }

    /// The import that gives `name` in the module at `place`; of itself, as in `use log::log`, it is none.
    fn import(&self, place: &[String], name: &str) -> Option<&Import> {
        let imports = &self.0.get(place)?.imports;
        imports
            .iter()
            .find(|import| import.name == name && import.path.first() != Some(&import.name))
    }
}

fn joined(place: &[String], name: &str) -> Path {
    place.iter().cloned().chain([name.to_owned()]).collect()
}

fn reachable<'a>(
    from: &'a str,
    edges: &BTreeMap<(&'a str, &'a str), BTreeSet<String>>,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        for (_, to) in edges.keys().filter(|(from, _)| *from == file) {
            if found.insert(*to) {
                next.push(to);
            }
        }
    }
    found
}

impl Module {
    fn parse(file: &str, text: &str) -> Module {
        let tokens = tokens(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
        let mut module = Module { file: file.into(), imports: Vec::new(), paths: Vec::new() };
        let mut at = 0;
        while at < tokens.len() {
            let in_path = at > 0 && tokens[at - 1] == "::";
            if tokens[at] == "use" {
                let public = at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
                let mut found = Vec::new();
                at = read_tree(&tokens, at + 1, &Path::new(), &mut found);
                for (path, name) in found {
                    let used = !public || tokens.iter().filter(|token| **token == name).count() > 1;
                    module.imports.push(Import { path, name, used });
                }
            } else if !in_path && tokens.get(at + 1).is_some_and(|next| next == "::") {
                let mut found = Vec::new();
                read_tree(&tokens, at, &Path::new(), &mut found);
                module.paths.extend(found.into_iter().map(|(path, _)| path));
                at += 1;
            } else {
                at += 1;
            }
        }
        module
    }
}

/// Reads `a::b`, `a::{b, c::d as e}` or `a::*` behind `prefix`: each path with the name that it gives.
/// Returns where it ends.
fn read_tree(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(Path, String)>,
) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut path = prefix.to_vec();
    while is_word(token(at)) {
        // `a::{self, b}` brings `a` itself.
        if token(at) != "self" || path.is_empty() {
            path.push(token(at).into());
        }
        at += 1;
        if token(at) != "::" {
            break;
        }
        at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    match token(at) {
        "{" if token(at - 1) == "::" || at == 0 => {
            while matches!(token(at), "{" | ",") {
                at = read_tree(tokens, at + 1, &path, found);
            }
            return at + 1;
        }
        // The end of a list, behind its last comma.
        "}" if token(at - 1) == "," => return at,
        "*" => {
            name = "*".into();
            at += 1;
        }
        "as" => {
            name = token(at + 1).into();
            at += 2;
        }
        _ => {}
    }
    found.push((path, name));
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and other signs of code; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            string_len(rest)
        } else if first == '\'' {
            char_len(rest)
        } else if let Some(hashes) = raw_hashes(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2 + usize::from(rest.starts_with("br"));
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else {
            let len = if rest.starts_with("::") {
                2
            } else {
                let word =
                    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                word.max(first.len_utf8())
            };
            if !first.is_whitespace() {
                tokens.push(rest[..len].to_owned());
            }
            len
        };
        rest = &rest[len..];
    }
    tokens
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character literal whole; of a lifetime only its quote.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            text[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 3)
        }
        _ => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
    }
}

/// How many `#` a raw string has that begins here.
fn raw_hashes(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

#[cfg(test)]
mod tests {
    use super::Crate;

    fn knots(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = Crate::default();
        for (file, text) in files {
            all.add(file, text);
        }
        all.knots()
    }

    #[test]
    fn files_that_import_each_other_are_a_knot() {
        let found = knots(&[
            ("lib.rs", "mod above; mod below;"),
            ("above.rs", "use crate::{below::Low, other::Thing};"),
            ("below.rs", "fn up() { super::above::go(); }"),
        ]);
        let expected =
            [r#"above.rs imports {"Low"} of below.rs"#, r#"below.rs imports {"go"} of above.rs"#];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_knot_may_go_over_several_files() {
        let found = knots(&[
            ("a.rs", "use crate::b::{self, B as Bee,};"),
            ("b.rs", "mod c; use c::*;"),
            ("b/c.rs", "use crate::a::A;"),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn what_a_parent_hands_on_is_of_the_sibling_that_defines_it() {
        let parent = "mod high; mod low; pub use low::{Low, Deep as Other};";
        let high = "use super::{Low, Other}; // super::Parent\nconst A: &str = \"super::B\";";
        let files = |parent| [("p.rs", parent), ("p/high.rs", high), ("p/low.rs", "struct Low;")];
        assert_eq!(knots(&files(parent)), [""; 0]);
        assert_eq!(knots(&files(&format!("{parent} use high::High;"))), [""; 0]);
        let found = knots(&[
            ("p.rs", &format!("{parent} use high::High; struct Parent;")),
            ("p/high.rs", "use super::Parent;"),
            ("p/low.rs", ""),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
