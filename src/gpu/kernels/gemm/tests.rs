//! Tests of the GEMM kernels that need no GPU.

use super::super::conv2d::{conv2d_forward, conv2d_input_grad, conv2d_weight_grad};
use super::super::tests::{convolution, product, target};
use super::*;
use crate::gpu::wgsl::tests::assert_valid;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

fn targets() -> [KernelTarget; 9] {
    let wide = |subgroup| KernelTarget { int64: true, ..target(true, subgroup) };
    [
        target(true, Some(8)),
        target(true, Some(4)),
        target(true, None),
        target(false, None),
        wide(Some(8)),
        wide(Some(16)),
        wide(None),
        KernelTarget { small_blocks: true, ..target(true, Some(4)) },
        KernelTarget { small_blocks: true, ..target(true, None) },
    ]
}

fn check(launches: &Launches) {
    static VALID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let last = launches.list.len() - 1;
    for (i, launch) in launches.list.iter().enumerate() {
        for source in launch.others.iter().map(|form| &form.source).chain([&launch.source]) {
            let new = VALID.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_string());
            if new {
                assert_valid(launch.label, source);
            }
        }
        assert_eq!(launch.epilogue, i == last, "{}", launch.label);
        assert!(launch.source.contains("\nfn epilogue(v: f32, i: u32) -> f32 { return v; }\n"));
        assert!(launch.source.contains("\nfn epilogue4(v: vec4<f32>, i: u32) -> vec4<f32> { return v; }\n"));
        assert!(launch.workgroups.iter().all(|n| (1..=65_535).contains(n)), "{}", launch.label);
    }
}

#[test]
fn generated_matmuls_are_valid() {
    ALL_FORMS.store(true, Relaxed);
    for t in targets() {
        for (m, n, k) in
            [(128, 64, 576), (33, 10, 9), (1, 1, 1), (1500, 1500, 40), (900, 900, 31), (20_000, 32, 64)]
        {
            for transposed in 0..4 {
                check(&matmul(&product(m, n, k, transposed & 1 > 0, transposed & 2 > 0), [0; 2], &t));
            }
        }
    }
}

#[test]
fn generated_convolutions_are_valid() {
    ALL_FORMS.store(true, Relaxed);
    for t in targets() {
        for (cin, cout, groups) in [(1, 32, 1), (3, 10, 1), (32, 64, 1), (8, 8, 8), (6, 12, 6), (32, 32, 2)] {
            for (stride, padding) in [(1, 0), (1, 1), (2, 1)] {
                let g = convolution(cin, cout, groups, stride, padding);
                check(&conv2d_forward(&g, &t));
                check(&conv2d_input_grad(&g, &t));
                check(&conv2d_weight_grad(&g, &t));
            }
        }
    }
}

/// What no other test reaches: the self-check and the tests of parity compute these products on every machine.
#[test]
fn the_large_products_of_the_self_check_reach_every_block() {
    let tile = |source: &str| {
        let number = |name: &str| -> usize {
            let line = source.lines().find(|line| line.contains(name)).unwrap();
            line.rsplit_once("* ").unwrap().1.trim_end_matches("u;").parse().unwrap()
        };
        [number("let m0 ="), number("let n0 =")]
    };
    // As many compute units as are assumed of cards, and of GPUs that are a part of the processor.
    for units in [64, 16] {
        let t = KernelTarget { compute_units: units, ..target(false, None) };
        let (mut reached, mut split) = (BTreeSet::new(), BTreeSet::new());
        for [m, k, n] in crate::testing::table::LARGE_PRODUCTS {
            let launches = matmul(&product(m, n, k, false, false), [0; 2], &t).list;
            let tile = tile(&launches[0].source);
            reached.insert((tile, m.is_multiple_of(4) && n.is_multiple_of(4)));
            if launches.len() == 2 {
                split.insert(tile);
            }
        }
        for block in BLOCKS.iter().filter(|b| b.bm > 32) {
            for whole in [false, true] {
                let wanted = ([block.bm, block.bn], whole);
                assert!(reached.contains(&wanted), "{units} units, {block:?}, {whole}: {reached:?}");
            }
        }
        assert!(split.len() >= 2, "{units} units: {split:?}");
    }
}

/// No more accumulators than a weak compiler can bear, whatever was written for other adapters.
#[test]
fn small_blocks_are_small() {
    for t in targets().into_iter().filter(|t| t.small_blocks) {
        let g = convolution(32, 64, 1, 1, 1);
        let mut all = vec![conv2d_forward(&g, &t), conv2d_input_grad(&g, &t), conv2d_weight_grad(&g, &t)];
        for transposed in 0..4 {
            all.push(matmul(&product(500, 300, 12, transposed & 1 > 0, transposed & 2 > 0), [0; 2], &t));
        }
        for launch in all.iter().flat_map(|launches| &launches.list).filter(|l| l.label.contains('/')) {
            let accumulators = |text: &str| (0..64).filter(|i| text.contains(&format!("var c{i}_"))).count();
            assert!(accumulators(&launch.source) <= 8, "{}", launch.label);
        }
    }
}

/// From one to two workgroups for each compute unit, if k is long enough for as many parts, and one part where the tiles alone are as many.
#[test]
fn k_is_split_until_all_compute_units_have_work() {
    for units in [1, 3, 16, 64, 170] {
        let t = KernelTarget { compute_units: units, ..target(false, None) };
        for (m, n) in [(32, 32), (64, 64), (100, 200), (512, 512), (1000, 1000), (4096, 4096)] {
            for k in [64, 255, 1024, 4096] {
                let launches = matmul(&product(m, n, k, false, false), [0; 2], &t).list;
                let number = |name| launches[0].uniform.get(name).unwrap() as usize;
                let (all, chunk) = (number("tiles"), number("chunk"));
                let (parts, tiles) = (k.div_ceil(chunk), number("tiles_m") * number("tiles_n"));
                assert_eq!(all, parts * tiles);
                assert_eq!(launches.len(), if parts > 1 { 2 } else { 1 });
                let what = format!("{m}x{n}x{k}, {units} units: {parts} parts of {tiles} tiles");
                if parts > 1 {
                    assert!(all <= 2 * units && chunk >= 256, "{what}");
                } else {
                    // Twice the tiles would be too many, or half the k too short.
                    assert!(2 * tiles > 2 * units || k < 512, "{what}");
                }
                // The rest of what could be: rounding to whole tiles of k takes some.
                assert!(all > units * 3 / 4 || k / (parts + 1) < 256, "{what}");
            }
        }
    }
}

/// lavapipe ends an invocation's loops after 65,535 iterations without a word.
#[test]
fn long_reductions_are_split() {
    for t in targets() {
        for transposed in [false, true] {
            let launches = matmul(&product(2_000, 2_000, 70_000, transposed, false), [0; 2], &t);
            assert_eq!(launches.list.len(), 2);
            assert_eq!(launches.temps.len(), 1);
            let chunk = launches.list[0].uniform.get("chunk").unwrap();
            assert!(chunk <= MAX_CHUNK as u32 + 64, "{chunk}");
        }
    }
}

#[test]
fn last_batch_needs_no_other_kernel() {
    for t in targets() {
        for (big, small) in [(128, 96), (512, 300)] {
            let sources = |n: usize| -> Vec<_> {
                let mut g = convolution(32, 64, 1, 1, 0);
                g.n = n;
                [conv2d_forward(&g, &t), conv2d_input_grad(&g, &t), conv2d_weight_grad(&g, &t)]
                    .into_iter()
                    .chain([matmul(&product(n, 64, 576, false, false), [0; 2], &t)])
                    .flat_map(|l| l.list)
                    .map(|l| l.source)
                    .collect()
            };
            assert!(sources(big) == sources(small), "{t:?} {big} {small}");
        }
    }
}

/// The files `shaders/gemm_example_*.wgsl` show what is generated. `UPDATE_EXAMPLES=1 cargo test` rewrites them.
fn check_example(name: &str, expected: &str, kernel: String) {
    let declarations = crate::gpu::wgsl::declarations(shader!("gemm_matrix.wgsl"));
    let header = "// An example of what src/gpu/kernels/gemm/ generates; nothing reads this file but a test that compares it.\n//\n";
    let text = format!("{header}{declarations}{kernel}");
    assert_valid(name, &text);
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        let path = format!("{}/shaders/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, &text).expect("the example can be written");
        return;
    }
    assert!(text == expected, "shaders/{name} is out of date: UPDATE_EXAMPLES=1 cargo test rewrites it");
}

#[test]
fn subgroup_example_is_current() {
    let kernel = Registers {
        lanes: 8,
        subgroup: true,
        rows: 8,
        cols: 4,
        short_k: None,
        whole: true,
        a: ALayout::AlongK,
        a_width: 4,
        b: BLoad::QuadsAlongN,
        b_width: 4,
        masked: false,
        permuted: false,
        out_vec4: true,
        levels: 2,
    };
    let expected = include_str!("../../../../shaders/gemm_example_subgroup.wgsl");
    check_example("gemm_example_subgroup.wgsl", expected, kernel.source());
}

#[test]
fn tiled_example_is_current() {
    let kernel = Tiled {
        block: BLOCKS[3],
        a: ALayout::AlongK,
        a_vec4: true,
        b_vec4: true,
        b_along_k: false,
        masked: false,
        out_vec4: true,
    };
    let expected = include_str!("../../../../shaders/gemm_example_tiled.wgsl");
    check_example("gemm_example_tiled.wgsl", expected, kernel.source());
}
