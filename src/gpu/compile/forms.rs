//! Which form of a kernel runs: the best, or one that gives the same bits and is compiled already.
//!
//! Compiling one costs a thousand steps. So a kernel that would have to be compiled gives way to another form of itself that need
//! not be; where there is none, the best is compiled, as if it were the only one.

use super::step::Steps;
use crate::gpu::kernels::{Launch, Turns};
use crate::gpu::source::KernelSource;
use std::borrow::Cow;

/// Whether a kernel is compiled.
pub(super) type Compiled<'a> = &'a dyn Fn(&KernelSource) -> bool;

/// The form of a launch that was chosen.
pub(super) struct Chosen {
    pub source: KernelSource,
    /// The numbers that its epilogue reads.
    pub words: Vec<u32>,
    pub uniform: Vec<u32>,
    pub workgroups: [u32; 3],
    pub turns: Turns,
}

/// Chooses the form of a launch, whose text `finish` makes a kernel of.
pub(super) fn choose(
    launch: &Launch,
    mut finish: impl FnMut(&Cow<'static, str>) -> (KernelSource, Vec<u32>),
    compiled: Compiled<'_>,
    out: &mut Steps,
) -> Chosen {
    #[cfg(test)]
    if let Some(form) = tests::forced(launch) {
        let (source, words) = finish(&form.source);
        let uniform = form.uniform.words().to_vec();
        return Chosen { source, words, uniform, workgroups: form.workgroups, turns: form.turns };
    }
    let (source, words) = finish(&launch.source);
    if !launch.others.is_empty() && !compiled(&source) {
        for form in &launch.others {
            let (source, words) = finish(&form.source);
            if compiled(&source) {
                out.stand_ins |= form.slower;
                let uniform = form.uniform.words().to_vec();
                return Chosen { source, words, uniform, workgroups: form.workgroups, turns: form.turns };
            }
        }
    }
    let uniform = launch.uniform.words().to_vec();
    Chosen { source, words, uniform, workgroups: launch.workgroups, turns: launch.turns }
}

#[cfg(test)]
mod tests {
    use super::super::super::kernels::gemm::ALL_FORMS;
    use crate::gpu::kernels::{Form, Launch};
    use crate::prelude::*;
    use crate::{Conv2dOptions, Padding};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// The other form that runs wherever a launch has so many, counted from 1, and how often that was so.
    static FORCED: AtomicUsize = AtomicUsize::new(0);
    static USED: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn forced(launch: &Launch) -> Option<&Form> {
        let form = launch.others.get(FORCED.load(Relaxed).checked_sub(1)?)?;
        USED.fetch_add(1, Relaxed);
        Some(form)
    }

    fn tensor(dims: &[usize], seed: u64) -> Result<Tensor> {
        let x = ((Tensor::rand(dims, Device::Gpu, seed)? * 2.0)? - 1.0)?;
        x.eval()?;
        x.detach()
    }

    /// Products in all layouts, with few rows and many, k short and long, an epilogue; all passes of convolutions.
    fn results() -> Result<Vec<Tensor>> {
        let mut list = Vec::new();
        for (case, (m, k, n)) in
            [(3, 40, 64), (5, 37, 9), (30, 700, 12), (2, 3000, 40)].into_iter().enumerate()
        {
            for layout in 0..4 {
                let seed = (8 * case + layout) as u64;
                let (ta, tb) = (layout & 1 > 0, layout & 2 > 0);
                if case > 0 && layout != case {
                    continue;
                }
                let a = tensor(&if ta { [k, m] } else { [m, k] }, seed)?;
                let b = tensor(&if tb { [n, k] } else { [k, n] }, seed + 100)?;
                let a = if ta { a.transpose()? } else { a };
                let b = if tb { b.transpose()? } else { b };
                list.push((a.matmul(&b)? + tensor(&[n], seed)?)?.relu()?);
            }
        }
        for (cin, cout, images) in [(8, 16, 1), (3, 5, 2), (1, 32, 3), (96, 16, 1), (16, 96, 1)] {
            let x = tensor(&[images, 9, 10, cin], cin as u64)?.watch()?;
            let w = tensor(&[3, 3, cin, cout], cout as u64)?.watch()?;
            let y = x.conv2d(&w, Conv2dOptions { padding: Padding::Same, ..Default::default() })?;
            let grads = y.backward_with(&tensor(y.dims(), 7)?)?;
            list.extend([(&y * 2.0)?, grads.get(&x)?, grads.get(&w)?]);
        }
        Ok(list)
    }

    /// The bits of all results with the best form, or with the n-th other.
    fn bits(form: usize) -> Result<Vec<Vec<u32>>> {
        FORCED.store(form, Relaxed);
        let mut list = results()?;
        // Other numbers of elements are another plan.
        list.push(Tensor::ones([1000 + form], Device::Gpu)?);
        crate::eval(&list.iter().collect::<Vec<_>>())?;
        FORCED.store(0, Relaxed);
        list.pop();
        let bits = |t: &Tensor| Ok(t.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect());
        list.iter().map(bits).collect()
    }

    #[test]
    fn other_forms_give_the_same_bits() -> Result<()> {
        ALL_FORMS.store(true, Relaxed);
        let best = bits(0)?;
        let mut forms = 0;
        loop {
            USED.store(0, Relaxed);
            let others = bits(forms + 1)?;
            if USED.load(Relaxed) == 0 {
                break;
            }
            for (k, (best, other)) in best.iter().zip(&others).enumerate() {
                let differ = best.iter().zip(other).filter(|(b, o)| b != o).count();
                assert!(differ == 0, "result {k} in form {}: {differ} of {} differ", forms + 1, best.len());
            }
            forms += 1;
        }
        assert!(forms >= 3, "{forms} forms");
        Ok(())
    }

    #[test]
    fn other_forms_of_other_kinds_of_kernels_give_the_same_bits() -> Result<()> {
        let program = std::env::current_exe().map_err(Error::other)?;
        let name = "gpu::compile::forms::tests::other_forms_give_the_same_bits";
        for kind in ["tiled", "register"] {
            let mut tests = std::process::Command::new(&program);
            let output = tests.args(["--exact", name]).env("WGRAD_KERNELS", kind).output();
            let output = output.map_err(Error::other)?;
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{kind}: {text}");
        }
        Ok(())
    }
}
