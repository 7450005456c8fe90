//! From tokens to commands. What is not in the language ends the script there: what came before it runs.

use std::rc::Rc;

use super::block::{Block, Step};
use super::lexer::{Token, Word};

/// Blocks in blocks.
const MOST_DEPTH: usize = 32;

/// What `tokens` say.
pub(crate) fn parse(tokens: Vec<Token>) -> Block {
    let mut parser = Parser { rest: tokens, depth: 0, is_broken: false };
    parser.rest.reverse();
    parser.block(&[])
}

struct Parser {
    /// What is still to be read, the next token last.
    rest: Vec<Token>,
    depth: usize,
    /// Whether it gave up.
    is_broken: bool,
}

impl Parser {
    /// The commands up to one of `ends`, which is left, or to the end of the script.
    fn block(&mut self, ends: &[&str]) -> Block {
        let mut block = Block::new();
        self.depth = self.depth.saturating_add(1);
        if self.depth > MOST_DEPTH {
            self.is_broken = true;
        }
        while !self.is_broken {
            match self.rest.last() {
                None => break,
                Some(Token::End) => {
                    self.rest.pop();
                }
                Some(Token::Word(word)) => match word.plain() {
                    Some(word) if ends.contains(&word) => break,
                    _ => block.extend(self.step()),
                },
            }
        }
        self.depth = self.depth.saturating_sub(1);
        block
    }

    fn step(&mut self) -> Option<Step> {
        let word = self.word()?;
        match word.plain() {
            Some("if") => self.branches(),
            Some(keyword @ ("while" | "until")) => {
                let until = keyword == "until";
                let condition = self.block_until(&["do"])?;
                let body = self.block_until(&["done"])?;
                Some(Step::While { until, condition, body })
            }
            Some("for") => {
                let name = self.word()?.plain()?.to_owned();
                self.expect(&["in"])?;
                let mut words = Vec::new();
                while let Some(word) = self.word() {
                    words.push(word);
                }
                self.block_until(&["do"])?;
                Some(Step::For(name, words, self.block_until(&["done"])?))
            }
            Some("function") => {
                let name = self.word()?.plain()?.to_owned();
                self.block_until(&["{"])?;
                Some(Step::Function(name, Rc::new(self.block_until(&["}"])?)))
            }
            _ => Some(self.command(word)),
        }
    }

    fn branches(&mut self) -> Option<Step> {
        let mut branches = Vec::new();
        loop {
            let condition = self.block_until(&["then"])?;
            let body = self.block(&["elif", "else", "fi"]);
            branches.push((condition, body));
            match self.expect(&["elif", "else", "fi"])?.as_str() {
                "elif" => {}
                "else" => return Some(Step::If(branches, self.block_until(&["fi"])?)),
                _ => return Some(Step::If(branches, Block::new())),
            }
        }
    }

    /// A command that begins with `first`: its words up to the end of the line, and its block.
    fn command(&mut self, first: Word) -> Step {
        let mut words = vec![first];
        while let Some(Token::Word(word)) = self.rest.last() {
            match word.plain() {
                Some("{") => {
                    self.rest.pop();
                    let block = self.block(&["}"]);
                    self.rest.pop();
                    return Step::Command(words, Some(Rc::new(block)));
                }
                // A command in one line with the block around it.
                Some("}") => break,
                _ => words.extend(self.word()),
            }
        }
        Step::Command(words, None)
    }

    /// The next token, if it is a word.
    fn word(&mut self) -> Option<Word> {
        match self.rest.pop() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// The block up to `end`, which is taken too. Gives up if it is not there.
    fn block_until(&mut self, end: &[&str]) -> Option<Block> {
        let block = self.block(end);
        self.expect(end)?;
        Some(block)
    }

    /// The next word if it is one of `words`. Gives up otherwise.
    fn expect(&mut self, words: &[&str]) -> Option<String> {
        let word = self.word();
        let word = word.as_ref().and_then(Word::plain).filter(|word| words.contains(word));
        self.is_broken |= word.is_none();
        word.map(str::to_owned)
    }
}

#[cfg(test)]
#[path = "parser_test.rs"]
mod tests;
