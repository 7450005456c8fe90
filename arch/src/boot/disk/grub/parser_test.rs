//! How tokens become commands.

use proptest::prelude::*;

use super::super::lexer::tokens;
use super::*;

/// The commands with what decides about them, in short.
fn outline(block: &Block) -> String {
    let steps = block.iter().map(|step| match step {
        Step::Command(words, block) => {
            let words: Vec<_> = words.iter().map(|word| word.plain().unwrap_or("…")).collect();
            let inner = block.as_ref().map(|block| format!("{{{}}}", outline(block)));
            format!("{}{}", words.join(" "), inner.unwrap_or_default())
        }
        Step::If(branches, otherwise) => {
            let branches = branches.iter().map(|(c, b)| format!("{}?{}", outline(c), outline(b)));
            format!("[{}|{}]", branches.collect::<Vec<_>>().join("|"), outline(otherwise))
        }
        Step::While { until, condition, body } => {
            format!(
                "{}({}:{})",
                if *until { "until" } else { "while" },
                outline(condition),
                outline(body)
            )
        }
        Step::For(name, words, body) => format!("for({name},{}:{})", words.len(), outline(body)),
        Step::Function(name, block) => format!("{name}()={{{}}}", outline(block)),
    });
    steps.collect::<Vec<_>>().join(";")
}

fn parsed(script: &str) -> String {
    outline(&parse(tokens(script)))
}

#[test]
fn branches_have_conditions_of_several_commands_and_may_be_nested() {
    assert_eq!(
        parsed("if [ a ] ; then b; elif c; d; then\ne\nelse if x; then y; fi; fi; z"),
        "[[ a ]?b|c;d?e|[x?y|]];z"
    );
}

#[test]
fn blocks_belong_to_their_commands() {
    assert_eq!(
        parsed("submenu 'a' {\nmenuentry x --class b { linux c; }\n}\nd"),
        "submenu …{menuentry x --class b{linux c}};d"
    );
    assert_eq!(parsed("function f {\na\n}\nfunction g { b; }\nf"), "f()={a};g()={b};f");
}

#[test]
fn loops_are_known() {
    assert_eq!(
        parsed("while a; do b; done; until c; do d; done; for x in 1 2 3; do e; done"),
        "while(a:b);until(c:d);for(x,3:e)"
    );
}

#[test]
fn what_is_not_in_the_language_ends_it() {
    assert_eq!(parsed("a; if b; c\nd"), "a");
    assert_eq!(parsed("a; function; b"), "a;b");
    assert_eq!(parsed("a }; b"), "a;};b");
    assert_eq!(parsed("menuentry x { a"), "menuentry x{a}");
}

#[test]
fn blocks_in_blocks_have_an_end() {
    let script = "menuentry x { ".repeat(100_000);
    assert!(parsed(&script).len() < 1000);
    let script = "if a; then ".repeat(100_000);
    assert!(parsed(&script).len() < 1000);
}

proptest! {
    #[test]
    fn any_text_is_parsed(words in prop::collection::vec(prop::sample::select(vec![
        "if", "then", "elif", "else", "fi", "while", "do", "done", "for", "x", "in", "function", "{", "}",
        ";", "menuentry", "'a'", "$b", "\n",
    ]), 0..60)) {
        let _ = parsed(&words.join(" "));
    }
}
