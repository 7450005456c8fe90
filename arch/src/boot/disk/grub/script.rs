//! Runs a configuration, and boots the entry that it would boot by itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::block::{Block, Step};
use super::commands;
use super::lexer::tokens;
use super::menu::{Action, Entry, pick};
use super::parser::parse;
use super::state::{GrubError, State};
use crate::boot::disk::choice::Choice;
use crate::boot::disk::volume::Volume;

/// Scripts and functions in one another.
const MOST_DEPTH: usize = 32;
/// Menus that open one another.
const MOST_MENUS: usize = 8;

/// What the configuration `file` in `folder` boots; both are on the volume with the index `at`. Fails if it
/// leads to no kernel.
pub(crate) fn boot(
    volumes: &[Volume],
    at: usize,
    folder: &str,
    file: &str,
) -> Result<Choice, GrubError> {
    let mut script =
        Script { state: State::new(volumes, at, folder), functions: BTreeMap::new(), depth: 0 };
    let place = volumes.get(at).map(Volume::name).unwrap_or_default();
    let path = format!("{folder}/{file}");
    script.file(&path, &[])?;
    let mut wanted = match script.state.get("default") {
        "" => "0".to_owned(),
        "saved" => script.state.get("saved_entry").to_owned(),
        wanted => wanted.to_owned(),
    };
    for _ in 0..MOST_MENUS {
        let entries = std::mem::take(&mut script.state.entries);
        let Some((entry, below)) = pick(&entries, &wanted) else { break };
        let title = entry.title.clone();
        let by = format!("entry {title:?} of {path} on {place}");
        match &entry.action {
            Action::Boot { volume, kernel, initrds, options } => {
                return Ok(Choice {
                    volume: *volume,
                    kernel: kernel.clone(),
                    initrds: initrds.iter().map(|path| (*volume, path.clone())).collect(),
                    options: options.clone(),
                    by,
                });
            }
            Action::Run(block, arguments) => {
                script.state.kernel = None;
                script.state.set("chosen", &title)?;
                script.block(&Rc::clone(block), arguments)?;
                if let Some(kernel) = script.state.kernel.take() {
                    return Ok(Choice { by, ..kernel });
                }
                if script.state.entries.is_empty() {
                    return Err(GrubError::NoKernel(title, script.state.reason));
                }
            }
            Action::Open(block) => {
                script.block(&Rc::clone(block), &[])?;
            }
        }
        wanted = below.to_owned();
    }
    match script.state.kernel.take() {
        Some(kernel) => Ok(Choice { by: format!("{path} on {place}"), ..kernel }),
        None => Err(GrubError::NoEntries(script.state.reason)),
    }
}

struct Script<'v, 'a> {
    state: State<'v, 'a>,
    functions: BTreeMap<String, Rc<Block>>,
    depth: usize,
}

/// What comes behind a command.
enum Flow {
    /// The next one; whether this did what it should.
    Next(bool),
    /// The end of the function or script.
    Return,
    /// Nothing: another menu has taken over.
    Done,
}

impl Script<'_, '_> {
    /// Runs the script at `path`. What is not there does nothing.
    fn file(&mut self, path: &str, arguments: &[String]) -> Result<Flow, GrubError> {
        let Some(text) = self.state.script(path)? else {
            self.state.blame(|| format!("{path} is not there"));
            return Ok(Flow::Next(false));
        };
        self.block(&parse(tokens(&text)), arguments)
    }

    fn block(&mut self, block: &Block, arguments: &[String]) -> Result<Flow, GrubError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MOST_DEPTH {
            return Err(GrubError::Endless);
        }
        let mut flow = Flow::Next(true);
        for step in block {
            flow = self.step(step, arguments)?;
            if let Flow::Next(status) = &flow {
                self.state.set("?", if *status { "0" } else { "1" })?;
            } else {
                break;
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(flow)
    }

    fn step(&mut self, step: &Step, arguments: &[String]) -> Result<Flow, GrubError> {
        self.state.step()?;
        match step {
            Step::Function(name, block) => {
                self.functions.insert(name.clone(), Rc::clone(block));
                Ok(Flow::Next(true))
            }
            Step::If(branches, otherwise) => {
                for (condition, body) in branches {
                    match self.block(condition, arguments)? {
                        Flow::Next(true) => return self.block(body, arguments),
                        Flow::Next(false) => {}
                        flow => return Ok(flow),
                    }
                }
                self.block(otherwise, arguments)
            }
            Step::While { until, condition, body } => loop {
                self.state.step()?;
                match self.block(condition, arguments)? {
                    Flow::Next(status) if status == *until => return Ok(Flow::Next(true)),
                    Flow::Next(_) => {}
                    flow => return Ok(flow),
                }
                match self.block(body, arguments)? {
                    Flow::Next(_) => {}
                    flow => return Ok(flow),
                }
            },
            Step::For(name, words, body) => {
                for value in self.state.expand(words, arguments)? {
                    self.state.step()?;
                    self.state.set(name, &value)?;
                    match self.block(body, arguments)? {
                        Flow::Next(_) => {}
                        flow => return Ok(flow),
                    }
                }
                Ok(Flow::Next(true))
            }
            Step::Command(words, block) => {
                let words = self.state.expand(words, arguments)?;
                self.command(&words, block.as_ref())
            }
        }
    }

    fn command(&mut self, words: &[String], block: Option<&Rc<Block>>) -> Result<Flow, GrubError> {
        let Some((name, arguments)) = words.split_first() else { return Ok(Flow::Next(true)) };
        match (name.as_str(), block) {
            ("!", _) => Ok(match self.command(arguments, block)? {
                Flow::Next(status) => Flow::Next(!status),
                flow => flow,
            }),
            ("menuentry" | "submenu", Some(block)) => {
                self.add_entry(name == "submenu", arguments, Rc::clone(block))?;
                Ok(Flow::Next(true))
            }
            ("return", _) => Ok(Flow::Return),
            ("source" | ".", _) => self.other_file(arguments),
            ("configfile" | "normal", _) => {
                self.state.entries.clear();
                if let Flow::Next(false) = self.other_file(arguments)? {
                    return Ok(Flow::Next(false));
                }
                Ok(Flow::Done)
            }
            (function, _) => match self.functions.get(function).map(Rc::clone) {
                Some(block) => match self.block(&block, words)? {
                    Flow::Return => Ok(Flow::Next(true)),
                    flow => Ok(flow),
                },
                None => commands::run(&mut self.state, words).map(Flow::Next),
            },
        }
    }

    /// Runs the script that a command names; its end is not that of this one.
    fn other_file(&mut self, arguments: &[String]) -> Result<Flow, GrubError> {
        let Some(path) = arguments.first() else { return Ok(Flow::Next(false)) };
        match self.file(path, arguments)? {
            Flow::Return => Ok(Flow::Next(true)),
            flow => Ok(flow),
        }
    }

    fn add_entry(
        &mut self,
        opens: bool,
        words: &[String],
        block: Rc<Block>,
    ) -> Result<(), GrubError> {
        let (mut id, mut arguments) = (None, Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--id" => id = words.next().cloned(),
                "--class" | "--users" | "--hotkey" => {
                    words.next();
                }
                _ if word.starts_with("--id=") => id = word.get(5..).map(str::to_owned),
                _ if word.starts_with("--") => {}
                _ => arguments.push(word.clone()),
            }
        }
        let title = arguments.first().cloned().unwrap_or_default();
        let action = if opens { Action::Open(block) } else { Action::Run(block, arguments) };
        self.state.add(Entry { id: id.unwrap_or_else(|| title.clone()), title, action })
    }
}

#[cfg(test)]
#[path = "script_test.rs"]
mod tests;
