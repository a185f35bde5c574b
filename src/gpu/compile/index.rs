//! Index arithmetic of generated kernels: linear forms over loop variables, simplified with what is known of their ranges,
//! so that views cost additions and, where a shape was cut anew, a division or two.

use std::borrow::Cow;
use std::rc::Rc;

/// A variable or a part of an index that is not linear.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Atom {
    /// A loop variable, by number.
    Var(usize),
    /// Quotient by a constant, rounded down.
    Div(Rc<Lin>, i64),
    /// Remainder by a constant.
    Mod(Rc<Lin>, i64),
    /// `clamp(lin - low, 0, len - 1)`: keeps an index of a padded or joined tensor inside its part.
    Clamp(Rc<Lin>, i64, i64),
    /// The value of an expression (an index read from memory), below a bound.
    Value(usize, i64),
}

/// `offset + sum of coefficient * atom`
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Lin {
    pub offset: i64,
    pub terms: Vec<(Atom, i64)>,
}

/// How many values each loop variable takes.
pub(super) type Extents<'a> = &'a [usize];

impl Lin {
    pub fn constant(offset: i64) -> Lin {
        Lin { offset, terms: Vec::new() }
    }

    pub fn var(v: usize) -> Lin {
        Lin::atom(Atom::Var(v))
    }

    pub fn atom(a: Atom) -> Lin {
        Lin { offset: 0, terms: vec![(a, 1)] }
    }

    pub fn add(&self, other: &Lin) -> Lin {
        let mut sum = self.clone();
        sum.add_times(other, 1);
        sum
    }

    /// Adds another form, so many times.
    fn add_times(&mut self, other: &Lin, factor: i64) {
        self.offset += factor * other.offset;
        if factor != 0 {
            self.terms.reserve(other.terms.len());
            other.terms.iter().for_each(|(atom, c)| self.add_term(Cow::Borrowed(atom), factor * c));
        }
    }

    fn add_term(&mut self, atom: Cow<'_, Atom>, c: i64) {
        match self.terms.iter().position(|(a, _)| *a == *atom) {
            Some(at) => {
                self.terms[at].1 += c;
                if self.terms[at].1 == 0 {
                    self.terms.remove(at);
                }
            }
            None => self.terms.push((atom.into_owned(), c)),
        }
    }

    pub fn plus(mut self, offset: i64) -> Lin {
        self.offset += offset;
        self
    }

    pub fn times(&self, factor: i64) -> Lin {
        let terms = self.terms.iter().map(|(a, c)| (a.clone(), c * factor)).filter(|t| t.1 != 0);
        Lin { offset: self.offset * factor, terms: terms.collect() }
    }

    /// The smallest and the largest value.
    pub fn range(&self, extents: Extents) -> (i64, i64) {
        let (mut low, mut high) = (self.offset, self.offset);
        for (atom, c) in &self.terms {
            let top = atom.max(extents) * c;
            low += top.min(0);
            high += top.max(0);
        }
        (low, high)
    }

    /// Splits into the terms that `n` divides (divided) and the rest.
    fn split(&self, n: i64) -> (Lin, Lin) {
        let (whole, part): (Vec<_>, Vec<_>) = self.terms.iter().cloned().partition(|t| t.1 % n == 0);
        let quotient = Lin {
            offset: self.offset.div_euclid(n),
            terms: whole.into_iter().map(|(a, c)| (a, c / n)).collect(),
        };
        (quotient, Lin { offset: self.offset.rem_euclid(n), terms: part })
    }

    /// The quotient by a positive constant; the value must not be negative.
    ///
    /// The form is `n * quotient + rest`, with the terms that `n` divides in the first. If `rest` stays within `0..n` whatever
    /// the variables are, the quotient is exact and no division is left: this is how a reshape that only splits or joins
    /// dimensions comes to cost nothing.
    pub fn div(&self, n: i64, extents: Extents) -> Lin {
        // 0 where a dimension is empty: nobody reads an element there
        if n <= 1 {
            return self.clone();
        }
        let (quotient, rest) = self.split(n);
        let (low, high) = rest.range(extents);
        if low >= 0 && high < n {
            return quotient;
        }
        if low >= 0 {
            // Rounding down, only the rest has to be divided.
            return quotient.add(&Lin::atom(Atom::Div(Rc::new(rest), n)));
        }
        // The rest alone may be negative, and the kernel divides without a sign.
        Lin::atom(Atom::Div(Rc::new(self.clone()), n))
    }

    /// The remainder by a positive constant; the value must not be negative.
    pub fn modulo(&self, n: i64, extents: Extents) -> Lin {
        if n <= 1 {
            return Lin::default();
        }
        let (_, rest) = self.split(n);
        let (low, high) = rest.range(extents);
        if low >= 0 && high < n {
            return rest;
        }
        let inner = if low >= 0 { rest } else { self.clone() };
        Lin::atom(Atom::Mod(Rc::new(inner), n))
    }

    /// The coefficient of a variable among the linear terms.
    pub fn coefficient(&self, v: usize) -> i64 {
        self.terms.iter().find(|t| t.0 == Atom::Var(v)).map_or(0, |t| t.1)
    }

    /// Calls `f` on this form and on every form inside its atoms.
    pub fn visit(&self, f: &mut impl FnMut(&Lin)) {
        f(self);
        for (atom, _) in &self.terms {
            if let Some(inner) = atom.inner() {
                inner.visit(f);
            }
        }
    }

    /// Whether the variable occurs inside an atom that is not linear.
    pub fn hides(&self, v: usize) -> bool {
        self.terms.iter().any(|(a, _)| a.inner().is_some_and(|i| i.uses(v)))
    }

    /// Whether the variable occurs at all.
    pub fn uses(&self, v: usize) -> bool {
        self.coefficient(v) != 0 || self.hides(v)
    }

    /// The form under other variables: `map[v]` is `(new variable, factor)`, a factor of 0 where `v` is merged away.
    pub fn renamed(&self, map: &[(usize, bool)]) -> Lin {
        let mut out = Lin { offset: self.offset, terms: Vec::with_capacity(self.terms.len()) };
        for (atom, c) in &self.terms {
            let again = |inner: &Rc<Lin>| Rc::new(inner.renamed(map));
            let atom = match atom {
                // a merged variable's term is contained in its neighbour's
                Atom::Var(v) if !map[*v].1 => continue,
                Atom::Var(v) => Atom::Var(map[*v].0),
                Atom::Div(l, n) => Atom::Div(again(l), *n),
                Atom::Mod(l, n) => Atom::Mod(again(l), *n),
                Atom::Clamp(l, low, n) => Atom::Clamp(again(l), *low, *n),
                Atom::Value(e, n) => Atom::Value(*e, *n),
            };
            out.add_term(Cow::Owned(atom), *c);
        }
        out
    }
}

impl Atom {
    fn max(&self, extents: Extents) -> i64 {
        match self {
            Atom::Var(v) => extents[*v] as i64 - 1,
            Atom::Div(l, n) => l.range(extents).1.max(0) / n,
            Atom::Mod(_, n) | Atom::Clamp(_, _, n) | Atom::Value(_, n) => n - 1,
        }
        .max(0)
    }

    fn inner(&self) -> Option<&Rc<Lin>> {
        match self {
            Atom::Div(l, _) | Atom::Mod(l, _) | Atom::Clamp(l, _, _) => Some(l),
            Atom::Var(_) | Atom::Value(..) => None,
        }
    }
}

/// Coordinates of an element, one form per dimension, or its linear index in row-major order: whichever is at hand.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Coordinates {
    Axes(Rc<Vec<Lin>>),
    Linear(Lin),
}

impl Coordinates {
    /// One form per dimension.
    pub fn of(axes: Vec<Lin>) -> Coordinates {
        Coordinates::Axes(Rc::new(axes))
    }

    /// The row-major index in a tensor of this shape.
    pub fn linear(&self, shape: &[usize]) -> Lin {
        match self {
            Coordinates::Linear(l) => l.clone(),
            Coordinates::Axes(axes) => {
                let mut step = 1;
                let mut sum = Lin::default();
                for (axis, &n) in axes.iter().zip(shape).rev() {
                    sum.add_times(axis, step);
                    step *= n as i64;
                }
                sum
            }
        }
    }

    /// The coordinates in a tensor of this shape.
    pub fn axes(&self, shape: &[usize], extents: Extents) -> Rc<Vec<Lin>> {
        match self {
            Coordinates::Axes(axes) => axes.clone(),
            Coordinates::Linear(l) => {
                let mut step: i64 = 1;
                let mut out = Vec::with_capacity(shape.len());
                for (d, &n) in shape.iter().enumerate().rev() {
                    let q = l.div(step, extents);
                    out.push(match (n, d) {
                        (_, 0) => q,
                        (1, _) => Lin::default(),
                        _ => q.modulo(n as i64, extents),
                    });
                    step *= n.max(1) as i64;
                }
                out.reverse();
                Rc::new(out)
            }
        }
    }
}

/// Whether an index is a multiple of four at a lane that is one, and steps by one from lane to lane. One that is kept inside a part of whole quads
/// does so where it is inside; where it is not, its quad is one of the part, and nobody reads what is there.
pub(super) fn aligned(index: &Lin, along: usize) -> bool {
    let mut steps = 0;
    let fits = index.terms.iter().all(|(atom, c)| {
        let by_one = match atom {
            Atom::Var(v) if *v == along => true,
            Atom::Clamp(lin, low, len) if lin.uses(along) => whole_quads(lin, *low, *len, along),
            // What else differs between the lanes does so by other steps.
            _ => return c % 4 == 0 && !atom.inner().is_some_and(|lin| lin.uses(along)),
        };
        steps += 1;
        by_one && *c == 1
    });
    fits && steps == 1 && index.offset % 4 == 0
}

/// Whether the four lanes are all inside of a part of an axis, or none of them.
pub(super) fn whole_quads(lin: &Lin, low: i64, len: i64, along: usize) -> bool {
    low % 4 == 0 && len % 4 == 0 && !lin.hides(along) && aligned(lin, along)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four lanes are neighbours only where nothing else of the index moves along with them.
    #[test]
    fn quads_are_neighbours() {
        let clamp = |lin: Lin, low, len| Lin::atom(Atom::Clamp(Rc::new(lin), low, len));
        let div = |n| Lin::atom(Atom::Div(Rc::new(Lin::var(1)), n));
        let mut sum = Lin::var(0).times(12);
        for (index, want) in [
            (Lin::var(1), true),
            (Lin::var(1).plus(4), true),
            (Lin::var(1).plus(2), false),
            (Lin::var(1).times(4), false),
            (clamp(Lin::var(1), 4, 8), true),
            (clamp(Lin::var(1), 4, 6), false),
            (clamp(Lin::var(1), 2, 8), false),
            (clamp(Lin::var(1).plus(1), 4, 8), false),
            (clamp(Lin::var(1), 4, 8).times(4), false),
            (clamp(div(2), 4, 8), false),
            (Lin::var(0), false),
        ] {
            assert_eq!(aligned(&index, 1), want, "{index:?}");
            // Beside whole rows of quads, which are the same for all lanes.
            sum.terms.truncate(1);
            sum.terms.extend(index.terms.clone());
            sum.offset = index.offset;
            assert_eq!(aligned(&sum, 1), want && !index.terms.is_empty(), "{sum:?}");
            // Beside what moves, too.
            for other in [clamp(Lin::var(1), 4, 8).times(4), div(6).times(4)] {
                let mut both = index.clone();
                both.terms.extend(other.terms);
                assert!(!aligned(&both, 1), "{both:?}");
            }
        }
    }

    fn value(l: &Lin, vars: &[i64]) -> i64 {
        l.terms.iter().fold(l.offset, |sum, (a, c)| {
            let x = match a {
                Atom::Var(v) => vars[*v],
                Atom::Div(l, n) => value(l, vars) / n,
                Atom::Mod(l, n) => value(l, vars) % n,
                Atom::Clamp(l, low, n) => (value(l, vars) - low).clamp(0, n - 1),
                Atom::Value(..) => 0,
            };
            sum + c * x
        })
    }

    #[test]
    fn reshape_round_trips() {
        // coordinates of [4, 6] seen as [2, 2, 3, 2] and as [3, 8]
        let extents = [4usize, 6];
        let place = Coordinates::of(vec![Lin::var(0), Lin::var(1)]);
        let linear = place.linear(&[4, 6]);
        for shape in [&[2usize, 2, 3, 2][..], &[3, 8], &[24], &[1, 24, 1]] {
            let axes = Coordinates::Linear(linear.clone()).axes(shape, &extents);
            let back = Coordinates::Axes(axes).linear(shape);
            for i in 0..4 {
                for j in 0..6 {
                    assert_eq!(value(&back, &[i, j]), i * 6 + j, "{shape:?}");
                }
            }
        }
    }

    #[test]
    fn splitting_a_dimension_that_divides_needs_no_division() {
        // [n, 12] -> [n, 3, 4] -> flattened again
        let extents = [5usize, 3, 4];
        let l = Lin::var(0).times(12).add(&Lin::var(1).times(4)).add(&Lin::var(2));
        let axes = Coordinates::Linear(l).axes(&[5, 3, 4], &extents);
        assert_eq!(*axes, vec![Lin::var(0), Lin::var(1), Lin::var(2)]);
    }
}
