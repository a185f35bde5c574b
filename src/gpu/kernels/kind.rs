//! The kinds of kernels, and the environment variable that chooses one of them: so that the kernels of real GPUs are tested
//! on machines without one.

use super::KernelTarget;
use crate::environment::unknown;
use crate::error::{Error, Result};

/// Chooses the kernels of every adapter that is opened; see [`KINDS`].
pub(crate) const KERNELS_VARIABLE: &str = "WGRAD_KERNELS";

/// What the variable may be, and what it means.
const KINDS: [(&str, &str); 4] = [
    ("tiled", "workgroup memory and teams of a workgroup, as on real GPUs"),
    ("register", "or registers: one invocation for itself, as on software adapters without subgroups"),
    ("subgroup", "subgroups of a fixed size of 4, 8 or 16, as on lavapipe"),
    ("small", "small blocks and no subgroups, as for software adapters with a weak compiler"),
];

impl KernelTarget {
    /// The target with the kernels that `wanted` names; as it is where nothing is wanted.
    ///
    /// # Errors
    ///
    /// The name is none of [`KINDS`], or the adapter has no such subgroups.
    pub fn with_kernels(self, wanted: Option<&str>, adapter: &str) -> Result<KernelTarget> {
        match wanted.unwrap_or_default() {
            "" => Ok(self),
            // Real GPUs are not asked for 64-bit integers.
            "tiled" => Ok(KernelTarget { cpu_adapter: false, subgroup: None, int64: false, ..self }),
            "register" | "registers" => {
                Ok(KernelTarget { cpu_adapter: true, subgroup: None, small_blocks: false, ..self })
            }
            "small" => Ok(KernelTarget {
                cpu_adapter: true,
                subgroup: None,
                int64: false,
                small_blocks: true,
                ..self
            }),
            "subgroup" if matches!(self.subgroup, Some(4 | 8 | 16)) => {
                Ok(KernelTarget { cpu_adapter: true, small_blocks: false, ..self })
            }
            "subgroup" => {
                let message = format!(
                    "subgroup needs subgroups of a fixed size of 4, 8 or 16, which {adapter} does not have; use tiled, \
                     register or small, or unset the variable"
                );
                Err(Error::argument(KERNELS_VARIABLE, message))
            }
            other => Err(unknown(KERNELS_VARIABLE, "kind of kernels", other, &KINDS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(subgroup: Option<u32>) -> KernelTarget {
        KernelTarget { int64: true, ..super::super::tests::target(true, subgroup) }
    }

    #[test]
    fn kernels_are_chosen_by_name() -> Result<()> {
        let tiled = target(Some(8)).with_kernels(Some("tiled"), "x")?;
        assert!(!tiled.cpu_adapter && !tiled.int64 && tiled.subgroup.is_none());
        let register = target(Some(8)).with_kernels(Some("register"), "x")?;
        assert!(register.cpu_adapter && register.subgroup.is_none());
        let small = target(Some(8)).with_kernels(Some("small"), "x")?;
        assert!(small.cpu_adapter && small.small_blocks && !small.int64 && small.subgroup.is_none());
        for wanted in [None, Some(""), Some("subgroup")] {
            let kept = target(Some(8)).with_kernels(wanted, "x")?;
            assert!(kept.cpu_adapter && kept.int64 && kept.subgroup == Some(8));
        }
        Ok(())
    }

    #[test]
    fn unknown_kernels_are_an_error_that_lists_the_known_ones() {
        let message =
            |t: KernelTarget, wanted| t.with_kernels(Some(wanted), "lavapipe").unwrap_err().to_string();
        let unknown = message(target(Some(8)), "Tiled");
        for part in ["WGRAD_KERNELS", "'Tiled'", "tiled (", "register (", "subgroup (", "small ("] {
            assert!(unknown.contains(part), "{unknown}");
        }
        for subgroup in [None, Some(32)] {
            let missing = message(target(subgroup), "subgroup");
            assert!(missing.contains("lavapipe") && missing.contains("register"), "{missing}");
        }
    }
}
