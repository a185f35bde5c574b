//! Callers' threads: whatever they are, and whatever else waits for them, a computation ends, and its result is the same.

use rayon::prelude::*;
use std::sync::mpsc::channel;
use std::time::Duration;
use wgrad::prelude::*;
use wgrad::{CustomOp, Shape, apply_custom};

/// Work that kernels share: products and sums, each round and item with others, and on a GPU kernels to compile at the same time.
fn item(a: &Tensor, round: usize, i: usize) -> Result<f32> {
    let x = (a * (1.0 + i as f64))?.matmul(a)?;
    let x = match (i + round) % 4 {
        0 => x.relu()?,
        1 => x.tanh()?,
        2 => x.sigmoid()?,
        _ => (x.square()? + round as f64)?,
    };
    let y = x.sum((i % 2) as isize, false)?;
    y.max(.., false)?.item::<f32>()
}

/// Rayon's threads do other work while they wait for each other. Were that the caller's next item, it would wait for the computation under
/// way, which would wait for it. If that happens, this test says so rather than to stay for ever.
fn from_a_pool_of_the_callers(device: Device, size: usize, rounds: usize) -> Result<()> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let work = || -> Result<()> {
            let a = Tensor::rand([size, size], device, 1)?;
            a.eval()?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().map_err(Error::other)?;
            for round in 0..rounds {
                let together: Result<Vec<f32>> =
                    pool.install(|| (0..9).into_par_iter().map(|i| item(&a, round, i)).collect());
                let alone: Result<Vec<f32>> = (0..9).map(|i| item(&a, round, i)).collect();
                assert_eq!(together?, alone?, "round {round}");
            }
            Ok(())
        };
        send.send(work()).ok();
    });
    receive.recv_timeout(Duration::from_secs(300)).map_err(Error::other)?
}

#[test]
fn items_of_a_callers_pool_on_the_cpu() -> Result<()> {
    from_a_pool_of_the_callers(Device::Cpu, 300, 60)
}

#[test]
fn items_of_a_callers_pool_on_the_gpu() -> Result<()> {
    from_a_pool_of_the_callers(Device::Gpu, 64, 12)
}

#[test]
fn a_panic_of_ones_own_operation_leaves_the_device_working() -> Result<()> {
    #[derive(Debug)]
    struct Panics;
    impl CustomOp for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
            Ok(inputs[0])
        }
        fn cpu(&self, _: &[&[f32]], _: &[Shape], _: &mut [f32]) -> Result<()> {
            panic!("on purpose")
        }
        fn vjp(&self, _: &[Tensor], _: &Tensor, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![None])
        }
    }
    // Large enough to be shared by threads.
    let x = Tensor::ones([400, 400], Device::Cpu)?;
    let y = apply_custom(std::sync::Arc::new(Panics), &[&x])?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| y.eval()));
    assert!(!matches!(outcome, Ok(Ok(()))), "it has no result");
    assert_eq!(x.sum(.., false)?.item::<f32>()?, 160_000.0);
    Ok(())
}
