//! How a script's text is cut.

use proptest::prelude::*;

use super::*;

fn text(text: &str, quoted: bool) -> Piece {
    Piece::Text(text.into(), quoted)
}

fn variable(name: &str, quoted: bool) -> Piece {
    Piece::Variable(name.into(), quoted)
}

fn words(script: &str) -> Vec<Vec<Piece>> {
    let words = tokens(script).into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.0),
        Token::End => None,
    });
    words.collect()
}

#[test]
fn quotes_keep_words_together_and_single_ones_keep_all() {
    assert_eq!(
        words(r#"set x='a $b' "c $d" e\ f"#),
        [
            vec![text("set", false)],
            vec![text("x=", false), text("a $b", true)],
            vec![text("", true), text("c ", true), variable("d", true)]
                .into_iter()
                .fold(Vec::new(), join),
            vec![text("e", false), text(" ", true), text("f", false)],
        ]
    );
}

/// As the lexer joins texts of one kind.
fn join(mut pieces: Vec<Piece>, next: Piece) -> Vec<Piece> {
    match (pieces.last_mut(), &next) {
        (Some(Piece::Text(last, a)), Piece::Text(text, b)) if a == b => last.push_str(text),
        _ => pieces.push(next),
    }
    pieces
}

#[test]
fn variables_have_names_in_braces_or_without() {
    assert_eq!(
        words("${root}x $prefix/grubenv $1 $? $"),
        [
            vec![variable("root", false), text("x", false)],
            vec![variable("prefix", false), text("/grubenv", false)],
            vec![variable("1", false)],
            vec![variable("?", false)],
            vec![text("$", false)],
        ]
    );
}

#[test]
fn comments_continued_lines_and_braces_are_told_apart() {
    let script = "a # b ; c\nd#e \\\n f; menuentry 'x' {\ng\n}";
    let plain: Vec<_> = tokens(script)
        .iter()
        .map(|token| match token {
            Token::Word(word) => word.plain().unwrap_or("…").to_owned(),
            Token::End => ";".to_owned(),
        })
        .collect();
    assert_eq!(plain.join(" "), "a ; d#e f ; menuentry … { ; g ; }");
}

#[test]
fn an_empty_text_in_quotes_is_a_word() {
    assert_eq!(words("'' \"\" x").len(), 3);
}

proptest! {
    #[test]
    fn any_text_is_cut(script in "[a${}'\"\\\\;#\n ]{0,60}") {
        prop_assert!(tokens(&script).len() <= script.len());
    }
}
