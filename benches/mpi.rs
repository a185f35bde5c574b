//! What it costs to add gradients over all ranks: `mpirun -n 4 target/release/deps/mpi-...`, as `cargo bench --features mpi --bench mpi
//! --no-run` names it. Rank 0 prints a line per size: the time of a message one way and of a reduction, medians. docs/distributed.md
//! has a model of these.

use std::time::Instant;
use wgrad::distributed::{Collective, Mpi};
use wgrad::prelude::*;

fn main() -> Result<()> {
    let world = Mpi::world()?;
    let ranks = world.size();
    // Latency: what a message of nothing takes there and back, halved. Only the first two ranks of a pair talk.
    if world.rank() == 0 {
        println!("{ranks} ranks on {}", world.host());
    }
    if ranks > 1 {
        for bytes in [1, 1 << 14, 1 << 20, 1 << 24] {
            let times = repeat(200, || pass(&world, bytes));
            if world.rank() == 0 {
                println!("message of {bytes} bytes: {:.1} us one way", 1e6 * times? / 2.0);
            }
        }
    }
    for elements in [1_000, 93_322, 1_000_000, 10_000_000] {
        let weight = Variable::new(Tensor::zeros([elements], Device::Cpu)?);
        let grads = weight.value().sum(.., false)?.backward()?;
        let seconds =
            repeat(if elements > 1_000_000 { 5 } else { 50 }, || grads.all_reduce(&world).map(drop))?;
        if world.rank() == 0 {
            println!("{elements} gradients: {:.3} ms", 1e3 * seconds);
        }
    }
    Ok(())
}

/// There and back between the ranks 0 and 1.
fn pass(world: &Mpi, bytes: usize) -> Result<()> {
    match world.rank() {
        0 => {
            world.transfer(Some((1, vec![0; bytes])), None)?;
            world.transfer(None, Some(1)).map(drop)
        }
        1 => {
            world.transfer(None, Some(0))?;
            world.transfer(Some((0, vec![0; bytes])), None).map(drop)
        }
        _ => Ok(()),
    }
}

/// The median of so many runs, in seconds.
fn repeat(count: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[count / 2])
}
