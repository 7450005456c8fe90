//! Tests of figures: order, middle, and how they are told.

use super::*;

fn figures(all: &[f64]) -> Figures {
    let mut figures = Figures::default();
    all.iter().for_each(|&figure| figures.add(figure));
    figures
}

#[test]
fn the_median_of_an_odd_number_is_the_middle_one() {
    assert_eq!(figures(&[9.0, 1.0, 5.0]).median(), 5.0);
    assert_eq!(figures(&[4.0]).median(), 4.0);
}

#[test]
fn the_median_of_an_even_number_is_between_the_middle_ones() {
    assert_eq!(figures(&[9.0, 1.0, 5.0, 6.0]).median(), 5.5);
    assert_eq!(figures(&[1.0, 2.0]).median(), 1.5);
}

#[test]
fn none_have_no_median() {
    assert!(figures(&[]).median().is_nan());
}

#[test]
fn three_digits_are_told() {
    assert_eq!(figures(&[1234.56, 99.99, 5.0]).to_string(), "100.0 (5.00 to 1235)");
}

#[test]
fn a_target_is_judged() {
    assert_eq!(Target::AtMost(0.75).judge(0.75), "≤ 0.75, met");
    assert_eq!(Target::AtMost(0.75).judge(0.76), "≤ 0.75, missed");
    assert_eq!(Target::AtLeast(1.0).judge(0.99), "≥ 1, missed");
    assert_eq!(Target::AtLeast(1.0).judge(f64::NAN), "≥ 1, missed");
}

#[test]
fn a_table_has_as_many_rules_as_columns() {
    assert_eq!(row(&["a", "b"]), "| a | b |");
    assert_eq!(rule(2), "|---|---|");
}
