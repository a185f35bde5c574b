//! Faults planted in kernels, to see whether the tests notice: `tests/mutants/run` sets the variables. In debug builds only.

use std::borrow::Cow;
use std::sync::OnceLock;

/// A piece of WGSL and what takes its place.
struct Mutant {
    /// A part of the labels of the kernels that it is planted in; all where it is empty.
    kernel: String,
    find: String,
    replace: String,
    /// A file that is made once the fault is planted.
    mark: Option<String>,
}

impl Mutant {
    fn from_environment() -> Option<Mutant> {
        let variable = |name: &str| std::env::var(name).ok();
        Some(Mutant {
            find: variable("WGRAD_MUTANT_FIND").filter(|text| !text.is_empty())?,
            replace: variable("WGRAD_MUTANT_REPLACE").unwrap_or_default(),
            kernel: variable("WGRAD_MUTANT_KERNEL").unwrap_or_default(),
            mark: variable("WGRAD_MUTANT_MARK"),
        })
    }

    fn plant<'a>(&self, label: &str, wgsl: Cow<'a, str>) -> Cow<'a, str> {
        if !label.contains(&self.kernel) || !wgsl.contains(&self.find) {
            return wgsl;
        }
        if let Some(mark) = &self.mark {
            // Without it the list is said to be out of date: nobody is misled.
            let _ = std::fs::write(mark, label);
        }
        wgsl.replace(&self.find, &self.replace).into()
    }
}

/// The source of a kernel with the fault that the environment asks for, if any.
pub(super) fn plant<'a>(label: &str, wgsl: Cow<'a, str>) -> Cow<'a, str> {
    static MUTANT: OnceLock<Option<Mutant>> = OnceLock::new();
    match MUTANT.get_or_init(Mutant::from_environment) {
        Some(mutant) => mutant.plant(label, wgsl),
        None => wgsl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_planted_in_the_kernels_that_it_names() {
        let mutant =
            Mutant { kernel: "softmax".into(), find: "a + b".into(), replace: "a - b".into(), mark: None };
        assert_eq!(mutant.plant("log_softmax", "a + b; a + b".into()), "a - b; a - b");
        assert!(matches!(mutant.plant("matmul", "a + b".into()), Cow::Borrowed("a + b")));
        assert!(matches!(mutant.plant("softmax", "a * b".into()), Cow::Borrowed("a * b")));
    }
}
