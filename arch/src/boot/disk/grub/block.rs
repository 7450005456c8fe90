//! A script as it is understood: commands, and what decides which of them run.

use std::rc::Rc;

use super::lexer::Word;

/// Commands that run one after the other.
pub(crate) type Block = Vec<Step>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its words, and the block in braces behind them.
    Command(Vec<Word>, Option<Rc<Block>>),
    /// Conditions with their blocks, and the block for when none holds.
    If(Vec<(Block, Block)>, Block),
    /// Condition and block; the other way round for `until`.
    While { until: bool, condition: Block, body: Block },
    /// The variable, what it is in turn, and the block.
    For(String, Vec<Word>, Block),
    /// A function's name and its block.
    Function(String, Rc<Block>),
}
