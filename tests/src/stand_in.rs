//! Stand-ins for libraries that a program is linked to and never calls here: they have the names that it looks for, and
//! nothing behind them. What they would bring along is often many times the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::STB_WEAK;
use elf::endian::LittleEndian;

use crate::process::quiet;
use crate::programs;

/// Names that a program has to find: by the library and the version that it was linked to, where these are told.
type Wanted = BTreeMap<Option<(String, String)>, BTreeSet<String>>;

fn wanted(program: &[u8]) -> Result<Wanted> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(program)?;
    let mut wanted = Wanted::new();
    let Some((table, names)) = file.dynamic_symbol_table()? else { return Ok(wanted) };
    let versions = file.symbol_version_table()?;
    for (at, symbol) in table.iter().enumerate() {
        if !symbol.is_undefined() || symbol.st_bind() == STB_WEAK || symbol.st_name == 0 {
            continue;
        }
        let version = versions.as_ref().map(|versions| versions.get_requirement(at)).transpose()?;
        let key = version.flatten().map(|of| (of.file.to_owned(), of.name.to_owned()));
        let name = names.get(usize::try_from(symbol.st_name)?)?;
        wanted.entry(key).or_default().insert(name.to_owned());
    }
    Ok(wanted)
}

/// Names that a library has for others.
fn own(library: &[u8]) -> Result<BTreeSet<String>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(library)?;
    let Some((table, names)) = file.dynamic_symbol_table()? else { return Ok(BTreeSet::new()) };
    let own = table.iter().filter(|symbol| !symbol.is_undefined());
    own.map(|symbol| Ok(names.get(usize::try_from(symbol.st_name)?)?.to_owned())).collect()
}

/// The source of a library with these names; whoever calls one of them is trapped.
fn assembly<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut source = ".section .note.GNU-stack,\"\",@progbits\n.text\n".to_owned();
    for name in names {
        source += &format!(".globl \"{name}\"\n.type \"{name}\", @function\n\"{name}\":\n");
    }
    source + "ud2\n"
}

/// Makes stand-ins for the libraries `absent` in `folder`, so that `program` starts with them and the libraries `present`.
/// Fails if there is no assembler.
pub fn make(program: &[u8], present: &[Vec<u8>], absent: &[&str], folder: &Path) -> Result<()> {
    programs::ensure(&[programs::GCC])?;
    let wanted = wanted(program)?;
    // Whose these are is not told: what no library has that is present, the first stand-in gets.
    let mut loose = wanted.get(&None).cloned().unwrap_or_default();
    for library in present {
        let own = own(library)?;
        loose.retain(|name| !own.contains(name));
    }
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let (source, script) = (scratch.path().join("names.s"), scratch.path().join("versions"));
    for library in absent {
        let (mut names, mut versions) = (std::mem::take(&mut loose), String::new());
        for (key, more) in &wanted {
            let Some((_, version)) = key.as_ref().filter(|(file, _)| file == library) else {
                continue;
            };
            let list: String = more.iter().map(|name| format!("\"{name}\"; ")).collect();
            versions += &format!("{version} {{ global: {list}}};\n");
            names.extend(more.iter().cloned());
        }
        fs::write(&source, assembly(names.iter()))?;
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-nostdlib", "-o"]).arg(folder.join(library)).arg(&source);
        gcc.arg(format!("-Wl,-soname,{library}"));
        if !versions.is_empty() {
            fs::write(&script, versions)?;
            gcc.arg(format!("-Wl,--version-script,{}", script.display()));
        }
        quiet(&mut gcc)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "stand_in_test.rs"]
mod tests;
