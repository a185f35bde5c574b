//! What the text of an `einsum` says: a label for each axis of each operand and of the result.

use crate::error::{Error, Result};
use crate::shape::{MAX_RANK, Shape};
use std::fmt;

const OP: &str = "einsum";

/// What an axis is called; axes of one label run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Letter(char),
    /// One of the axes that `...` stands for, counted from the last, which is 0.
    Further(usize),
    /// An axis that has no letter.
    Axis(usize),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::Letter(letter) => write!(f, "'{letter}'"),
            Label::Further(place) => write!(f, "axis -{} of '...'", place + 1),
            Label::Axis(number) => write!(f, "axis {number}"),
        }
    }
}

/// One operand's, or the result's, part of the text: letters, and where `...` stands among them.
struct Term {
    letters: Vec<char>,
    further: Option<usize>,
}

impl Term {
    fn parse(text: &str, equation: &str) -> Result<Term> {
        let mut term = Term { letters: Vec::new(), further: None };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("...") {
                if term.further.is_some() {
                    return Err(wrong(equation, &format!("'...' stands twice in '{text}'")));
                }
                term.further = Some(term.letters.len());
                rest = after;
                continue;
            }
            if !c.is_ascii_alphabetic() {
                let known = "axes are letters from a to z and A to Z, and '...' for further ones";
                return Err(wrong(equation, &format!("'{c}' in '{text}' is no axis: {known}")));
            }
            term.letters.push(c);
            rest = &rest[1..];
        }
        Ok(term)
    }

    /// With labels in place of `...`, which stands for `count` axes.
    fn labels(&self, count: usize) -> Vec<Label> {
        let letters = self.letters.iter().map(|&letter| Label::Letter(letter));
        let mut labels: Vec<Label> = letters.collect();
        if let Some(at) = self.further {
            labels.splice(at..at, (0..count).rev().map(Label::Further));
        }
        labels
    }
}

fn wrong(equation: &str, message: &str) -> Error {
    Error::argument(OP, format!("\"{equation}\": {message}"))
}

/// An equation, for operands of certain shapes.
#[derive(Debug)]
pub(super) struct Equation {
    /// The labels of each operand's axes.
    pub inputs: Vec<Vec<Label>>,
    /// The labels of the result, each another.
    pub output: Vec<Label>,
}

impl Equation {
    pub fn parse(equation: &str, shapes: &[Shape]) -> Result<Equation> {
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (&text[..], None),
        };
        let terms = left.split(',').map(|part| Term::parse(part, equation)).collect::<Result<Vec<_>>>()?;
        if terms.len() != shapes.len() {
            let message =
                format!("names the axes of {} tensors, but {} are given", terms.len(), shapes.len());
            return Err(wrong(equation, &message));
        }
        let mut further = 0;
        let mut inputs = Vec::new();
        for (number, (term, shape)) in terms.iter().zip(shapes).enumerate() {
            let (named, rank) = (term.letters.len(), shape.rank());
            let fits = if term.further.is_some() { named <= rank } else { named == rank };
            if !fits {
                let hint = if named < rank { "; '...' stands for further axes" } else { "" };
                let message =
                    format!("tensor {number} has shape {shape}, but {named} of its axes are named{hint}");
                return Err(wrong(equation, &message));
            }
            let count = if term.further.is_some() { rank - named } else { 0 };
            further = further.max(count);
            inputs.push(term.labels(count));
        }
        let output = match right {
            Some(right) => Self::explicit(equation, right, &inputs, further)?,
            None => Self::implicit(&inputs, further),
        };
        if output.len() > MAX_RANK {
            let message = format!("the result has {} axes; at most {MAX_RANK} are supported", output.len());
            return Err(Error::shape(OP, format!("\"{equation}\": {message}")));
        }
        Ok(Equation { inputs, output })
    }

    /// What stands behind the arrow.
    fn explicit(equation: &str, text: &str, inputs: &[Vec<Label>], further: usize) -> Result<Vec<Label>> {
        let term = Term::parse(text, equation)?;
        for (at, &letter) in term.letters.iter().enumerate() {
            if term.letters[..at].contains(&letter) {
                return Err(wrong(equation, &format!("the result has '{letter}' twice")));
            }
            if !inputs.iter().any(|labels| labels.contains(&Label::Letter(letter))) {
                return Err(wrong(equation, &format!("the result has '{letter}', which no tensor has")));
            }
        }
        if further > 0 && term.further.is_none() {
            let message =
                format!("'...' stands for {further} axes, but not in the result; write it behind '->'");
            return Err(wrong(equation, &message));
        }
        Ok(term.labels(further))
    }

    /// Without an arrow: what `...` stands for, then the letters that occur once.
    fn implicit(inputs: &[Vec<Label>], further: usize) -> Vec<Label> {
        let mut letters: Vec<char> = inputs
            .iter()
            .flatten()
            .filter_map(|l| match l {
                Label::Letter(letter) => Some(*letter),
                _ => None,
            })
            .collect();
        letters.sort_unstable();
        let once = |letter: &char| letters.iter().filter(|l| *l == letter).count() == 1;
        let once = letters.iter().filter(|l| once(l)).map(|&l| Label::Letter(l));
        (0..further).rev().map(Label::Further).chain(once).collect()
    }
}
