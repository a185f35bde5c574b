//! The uniform blocks of all kernels, in Rust and in WGSL.

use super::uniform::Uniform;
use super::{KernelTarget, Launch, Launches, attention, conv2d, gemm, index, pool2d, scan, softmax, sort};
use crate::dtype::DType;
use crate::geometry::{AttentionGeometry, Conv2dGeometry, MatmulGeometry, Pool2dGeometry, SearchGeometry};
use crate::gpu::wgsl::tests::{assert_valid, shaders};
use naga::{AddressSpace, Module, Scalar, TypeInner};

pub(super) fn target(cpu_adapter: bool, subgroup: Option<u32>) -> KernelTarget {
    KernelTarget {
        cpu_adapter,
        small_blocks: false,
        subgroup,
        int64: false,
        workgroup_storage: 16_384,
        max_invocations: 256,
        max_workgroups_per_dimension: 65_535,
        compute_units: 64,
    }
}

pub(super) fn product(
    m: usize,
    n: usize,
    k: usize,
    a_transposed: bool,
    b_transposed: bool,
) -> MatmulGeometry {
    MatmulGeometry {
        batch: [1; 3],
        a_batch: [0; 3],
        b_batch: [0; 3],
        m,
        n,
        k,
        a_strides: if a_transposed { [1, m] } else { [k, 1] },
        b_strides: if b_transposed { [1, k] } else { [n, 1] },
    }
}

pub(super) fn convolution(
    cin: usize,
    cout: usize,
    groups: usize,
    stride: usize,
    padding: usize,
) -> Conv2dGeometry {
    let out = (16 + 2 * padding - 3) / stride + 1;
    Conv2dGeometry {
        n: 8,
        h: 16,
        w: 16,
        cin,
        kh: 3,
        kw: 3,
        cout,
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1; 2],
        groups,
        oh: out,
        ow: out,
    }
}

/// Names and offsets of the words in the uniform block at binding 0, or what is wrong with it.
fn words_in_wgsl(module: &Module) -> Result<Vec<(String, u32)>, String> {
    let block = module
        .global_variables
        .iter()
        .map(|(_, variable)| variable)
        .find(|v| v.space == AddressSpace::Uniform && v.binding.is_some_and(|b| b.binding == 0))
        .ok_or("no uniform block at binding 0")?;
    let TypeInner::Struct { members, .. } = &module.types[block.ty].inner else {
        return Err("the uniform block is no structure".into());
    };
    let word = |m: &naga::StructMember| match module.types[m.ty].inner {
        TypeInner::Scalar(Scalar::U32) => Ok((m.name.clone().unwrap_or_default(), m.offset)),
        _ => Err(format!("{:?} is no u32", m.name)),
    };
    members.iter().map(word).collect()
}

/// Compares what is uploaded with what the kernel reads.
fn compare(uniform: &Uniform, module: &Module) -> Result<(), String> {
    let read = words_in_wgsl(module)?;
    let names = uniform.names().into_iter();
    let uploaded: Vec<(String, u32)> =
        names.enumerate().map(|(k, name)| (name.to_string(), 4 * k as u32)).collect();
    if uniform.words().len() != uploaded.len() {
        return Err(format!("{} words have {} names", uniform.words().len(), uploaded.len()));
    }
    if read != uploaded {
        return Err(format!("WGSL reads {read:?},\nRust writes {uploaded:?}"));
    }
    Ok(())
}

/// Launches of every operation with a hand-written kernel, in sizes that reach all of its variants.
fn all_launches(t: &KernelTarget) -> Vec<Launches> {
    let mut all = Vec::new();
    for (m, n, k) in [(128, 64, 576), (33, 10, 9), (20_000, 32, 64), (64, 64, 70_000)] {
        all.push(gemm::matmul(&product(m, n, k, false, false), [0; 2], t));
    }
    for (cin, cout, groups) in [(3, 10, 1), (32, 64, 1), (8, 8, 8), (6, 12, 6), (32, 32, 2)] {
        let g = Conv2dGeometry { n: 64, ..convolution(cin, cout, groups, 2, 1) };
        all.extend([
            conv2d::conv2d_forward(&g, t),
            conv2d::conv2d_input_grad(&g, t),
            conv2d::conv2d_weight_grad(&g, t),
        ]);
    }
    for (h, kernel, stride) in [(28, 2, 2), (28, 3, 2), (28, 2, 3), (300, 200, 1)] {
        for c in [1, 4] {
            let o = (h - kernel) / stride + 1;
            let g = Pool2dGeometry {
                n: 2,
                h,
                w: h,
                c,
                kernel: [kernel; 2],
                stride: [stride; 2],
                padding: [0; 4],
                count_include_pad: true,
                oh: o,
                ow: o,
            };
            all.extend([
                pool2d::max_pool2d_forward(t, &g),
                pool2d::max_pool2d_grad(t, &g),
                pool2d::max_pool2d_gather(t, &g),
                pool2d::avg_pool2d_forward(t, &g),
                pool2d::avg_pool2d_grad(t, &g),
            ]);
        }
    }
    for cols in [10, 400, 5000, 100_001] {
        all.extend([
            softmax::softmax(t, 3, cols),
            softmax::log_softmax(t, 3, cols),
            softmax::cross_entropy_sparse(t, 3, cols),
            softmax::cross_entropy_sparse_grad(t, 3, cols, 0),
            softmax::cross_entropy_dense(t, 3, cols),
            softmax::cross_entropy_dense_grad(t, 3, cols, 1),
        ]);
    }
    for inner in [3, 4] {
        for axis in [10, 50_000] {
            all.push(scan::cumsum(t, [2, axis, inner], false));
            all.push(scan::recurrence(t, [2, axis, inner], false));
        }
        for dtype in [DType::F32, DType::I32] {
            all.push(index::index_add(t, [2, 10, inner], 70_000, dtype));
        }
        for axis in [10, 50_000] {
            for dtype in [DType::F32, DType::I32] {
                all.push(index::argmax(t, [1, axis, inner], dtype, false));
            }
        }
    }
    for axis in [12, 50_000] {
        for dtype in [DType::F32, DType::I32] {
            all.push(index::argmax(t, [2, axis, 1], dtype, true));
        }
    }
    all.push(index::index_last(t, 10, 70_000));
    all.push(sort::argsort(t, [3, 5000, 7], DType::F32, true));
    all.push(sort::inverse(t, 15_000));
    let g = attentive(attention::LONGEST);
    all.extend([attention::forward(t, &g), attention::backward(t, &g)]);
    all.push(sort::search(t, &SearchGeometry { rows: 3, count: 50, len: 70, right: true }, DType::F32));
    all
}

/// Attention over so many keys, of queries as long as may be.
fn attentive(keys: usize) -> AttentionGeometry {
    AttentionGeometry {
        batch: 1,
        heads: 4,
        kv_heads: 2,
        queries: attention::LONGEST / 2,
        keys,
        depth: attention::WIDEST,
        width: attention::WIDEST,
        causal: true,
        scale: 1f64.to_bits(),
        bias: None,
        lengths: true,
    }
}

#[test]
fn attention_of_another_length_has_the_same_kernels() {
    let t = target(false, None);
    let texts = |keys| -> Vec<_> {
        let g = attentive(keys);
        let all = [attention::forward(&t, &g), attention::backward(&t, &g)].into_iter().flat_map(|l| l.list);
        all.map(|l| (l.label, l.source, format!("{:?}", l.constants))).collect()
    };
    assert_eq!(texts(7), texts(1000));
}

#[test]
fn no_loop_of_attention_is_too_long() {
    let t = target(false, None);
    let longest =
        all_launches(&t).into_iter().flat_map(|l| l.list).filter(|l| l.label.starts_with("attention"));
    let turns: Vec<u64> = longest.map(|l| l.turns.count()).collect();
    assert!(turns.len() == 5 && turns.iter().all(|&t| t <= super::Turns::LIMIT as u64), "{turns:?}");
}

#[test]
fn uniform_blocks_are_what_kernels_read() {
    let mut launched: Vec<Launch> = Vec::new();
    for t in [target(true, Some(8)), target(true, None), target(false, None)] {
        for launch in all_launches(&t).into_iter().flat_map(|launches| launches.list) {
            let module = assert_valid(launch.label, &launch.source);
            if let Err(why) = compare(&launch.uniform, &module) {
                panic!("{}: {why}", launch.label);
            }
            launched.push(launch);
        }
    }
    // Nothing was forgotten above: each file's first line, which says what it computes, begins a kernel.
    let mut titles = std::collections::HashSet::new();
    for (file, text) in shaders() {
        let title = text.split_inclusive('\n').next().unwrap_or_default();
        let runs = text.contains("var<uniform>") && !file.starts_with("gemm_example");
        assert!(!runs || titles.insert(title.to_string()), "{file}: another file begins so");
        assert!(
            !runs || launched.iter().any(|launch| launch.source.starts_with(title)),
            "{file}: all_launches reaches it nowhere"
        );
    }
}

#[test]
fn fields_that_are_renamed_swapped_or_missing_are_found() {
    let launch = gemm::matmul(&product(2, 3, 4, false, false), [0; 2], &target(false, None)).list.remove(0);
    // The block alone: what reads its fields would not compile without them.
    let end = "var<uniform> p: Params;\n";
    let (block, _) = launch.source.split_once(end).expect("the block is declared");
    let block = format!("{block}{end}");
    let check = |text: &str| compare(&launch.uniform, &assert_valid("changed", text));
    assert_eq!(check(&block), Ok(()));
    for (old, new) in [
        ("    tiles_m: u32,", "    m_tiles: u32,"),
        ("    a_m: u32,\n    a_k: u32,", "    a_k: u32,\n    a_m: u32,"),
        ("    b_batch2: u32,\n", ""),
        ("    b_batch2: u32,\n", "    b_batch2: u32,\n    more: u32,\n"),
        ("    out_batch: u32,", "    out_batch: f32,"),
    ] {
        assert!(block.contains(old), "{old}");
        assert!(check(&block.replace(old, new)).is_err(), "{old:?} as {new:?}");
    }
}
