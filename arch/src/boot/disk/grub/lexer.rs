//! A script's text as words and the ends of commands.

/// A word before its variables are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(pub Vec<Piece>);

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// As it is; quoted or not.
    Text(String, bool),
    /// A variable by its name; quoted ones are one word even with spaces.
    Variable(String, bool),
}

impl Word {
    /// The word, if it is one that could be a word of the language: unquoted, without variables.
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text, false)] => Some(text),
            _ => None,
        }
    }
}

/// What a script consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(Word),
    /// A new line or a semicolon.
    End,
}

/// Cuts `text` into tokens. What is not closed at its end is closed there.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text.chars().collect(), tokens: Vec::new(), word: None };
    lexer.rest.reverse();
    lexer.run();
    lexer.tokens
}

struct Lexer {
    /// What is still to be read, the next character last.
    rest: Vec<char>,
    tokens: Vec<Token>,
    /// That is being read.
    word: Option<Word>,
}

impl Lexer {
    fn run(&mut self) {
        while let Some(c) = self.rest.pop() {
            match c {
                '#' if self.word.is_none() => self.skip_comment(),
                ' ' | '\t' | '\r' => self.end_word(),
                '\n' | ';' => {
                    self.end_word();
                    self.tokens.push(Token::End);
                }
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                '$' => self.variable(false),
                '\\' => match self.rest.pop() {
                    // A line goes on behind it.
                    Some('\n') | None => {}
                    Some(c) => self.text(c, true),
                },
                // A brace is a word of its own, but for those of variables.
                '{' | '}' if self.word.is_none() => {
                    self.text(c, false);
                    self.end_word();
                }
                '}' => {
                    self.end_word();
                    self.text(c, false);
                    self.end_word();
                }
                c => self.text(c, false),
            }
        }
        self.end_word();
    }

    fn skip_comment(&mut self) {
        while self.rest.last().is_some_and(|c| *c != '\n') {
            self.rest.pop();
        }
    }

    fn end_word(&mut self) {
        self.tokens.extend(self.word.take().map(Token::Word));
    }

    fn pieces(&mut self) -> &mut Vec<Piece> {
        &mut self.word.get_or_insert_default().0
    }

    fn text(&mut self, c: char, quoted: bool) {
        match self.pieces().last_mut() {
            Some(Piece::Text(text, q)) if *q == quoted => text.push(c),
            _ => self.pieces().push(Piece::Text(c.into(), quoted)),
        }
    }

    fn single_quoted(&mut self) {
        let mut text = String::new();
        while let Some(c) = self.rest.pop().filter(|c| *c != '\'') {
            text.push(c);
        }
        self.pieces().push(Piece::Text(text, true));
    }

    fn double_quoted(&mut self) {
        // It is a word even if nothing is in it.
        self.pieces().push(Piece::Text(String::new(), true));
        while let Some(c) = self.rest.pop() {
            match c {
                '"' => return,
                '$' => self.variable(true),
                '\\' => match self.rest.pop() {
                    Some(c @ ('"' | '\\' | '$')) => self.text(c, true),
                    Some('\n') | None => {}
                    Some(c) => {
                        self.text('\\', true);
                        self.text(c, true);
                    }
                },
                c => self.text(c, true),
            }
        }
    }

    /// What is behind a dollar sign.
    fn variable(&mut self, quoted: bool) {
        let mut name = String::new();
        match self.rest.last() {
            Some('{') => {
                self.rest.pop();
                while let Some(c) = self.rest.pop().filter(|c| *c != '}') {
                    name.push(c);
                }
            }
            Some('?' | '*' | '@' | '#' | '0'..='9') => name.extend(self.rest.pop()),
            _ => {
                while let Some(c) = self.rest.pop_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        match name.is_empty() {
            true => self.text('$', quoted),
            false => self.pieces().push(Piece::Variable(name, quoted)),
        }
    }
}

#[cfg(test)]
#[path = "lexer_test.rs"]
mod tests;
