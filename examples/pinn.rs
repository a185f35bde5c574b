//! A network that solves a differential equation (Raissi et al., 2019): its loss is how far it is from fulfilling the equation.
//!
//! `cargo run --release --example pinn` solves Burgers' equation, u_t + u u_x = (0.01 / pi) u_xx, for a sine that becomes a shock,
//! compares with the exact solution, and draws both into `target/pinn`. Derivatives of the network are gradients, the second one a
//! gradient of a gradient; the whole step is one plan that is replayed.

mod common;

use clap::Parser;
use std::f64::consts::PI;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;
use wgrad::nn::{Context, Model};
use wgrad::optim::CosineDecay;
use wgrad::plot;
use wgrad::prelude::*;

/// Train a physics-informed network to solve Burgers' equation.
#[derive(Parser)]
struct Arguments {
    /// `cpu`, `gpu`, `best`, or a part of an adapter's name.
    #[arg(long, default_value = "best")]
    device: String,
    /// The numbers' type: `f64` is the default on the CPU, and GPUs lack it.
    #[arg(long)]
    dtype: Option<DType>,
    /// Steps of Adam.
    #[arg(long, default_value_t = 8000)]
    steps: u64,
    /// Places where the equation is to hold, drawn anew for each step.
    #[arg(long, default_value = "1000")]
    points: NonZeroUsize,
    /// Numbers in each of the network's four hidden layers.
    #[arg(long, default_value = "32")]
    width: NonZeroUsize,
    /// Learning rate of Adam at first; it falls to 0.
    #[arg(long, default_value_t = 5e-3)]
    lr: f64,
    /// Seed of the initial weights and of the places.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the pictures into this folder.
    #[arg(long, value_name = "DIR", default_value = "target/pinn")]
    out: PathBuf,
}

const VISCOSITY: f64 = 0.01 / PI;
/// Times of the curves in the picture.
const TIMES: [f64; 4] = [0.0, 0.25, 0.5, 1.0];
/// Points along x and t of the other one, at which errors are measured.
const SIZE: [usize; 2] = [129, 257];

struct Net(Model);

impl Net {
    /// Layers of tanh, the last one without.
    fn new(width: usize, seed: u64, dtype: DType, device: Device) -> Result<Net> {
        let hidden = || Dense::new(width).activation(Activation::Tanh);
        let layers = Sequential::new().add(hidden()).add(hidden()).add(hidden()).add(hidden());
        Ok(Net(layers.add(Dense::new(1)).seed(seed).dtype(dtype).build([2], device)?))
    }

    /// u at points `[n, 1]`. By its form it is -sin(pi x) at t = 0, and 0 at x = -1 and 1: the network chooses all else.
    fn solution(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        let h = self.0.forward(&Tensor::concat(&[x, &((t * 2.0)? - 1.0)?], 1)?, &Context::train(0))?;
        ((t * (1.0 - x.square()?)?)? * h)? - (x * PI)?.sin()
    }

    /// How far the equation is from fulfilled at points `[n, 1]`. What is steep counts less (Liu et al., 2024): else all else would be
    /// sacrificed to the shock.
    fn residual(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        let (x, t) = (x.watch()?, t.watch()?);
        let u = self.solution(&x, &t)?;
        // Points don't depend on each other: the gradients of a sum are the derivatives at each.
        let [u_x, u_t] = u.sum(.., false)?.gradients([&x, &t])?;
        let u_xx = u_x.sum(.., false)?.gradients(&x)?;
        ((u_t + u * &u_x)? - u_xx * VISCOSITY)? / ((u_x.detach()?.abs()? * 0.1)? + 1.0)
    }

    /// u at points `[n, 1]` of the host, in f64.
    fn at(&self, x: &Tensor, t: &Tensor) -> Result<Tensor> {
        let there = |points: &Tensor| points.cast(self.0.dtype())?.to_device(self.0.device());
        no_grad(|| self.solution(&there(x)?, &there(t)?))?.to_device(Device::Cpu)?.cast(DType::F64)
    }
}

/// The exact solution (Cole and Hopf) at points `[n, 1]`, with sums for its integrals, over so many places that no digit is missing.
fn exact(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    let z = (Tensor::arange(-240, 241, Device::Cpu)?.cast(DType::F64)? / 20.0)?;
    let y = ((x - (t * (4.0 * VISCOSITY))?.sqrt()? * &z)? * PI)?;
    let weight = (((y.cos()? + 1.0)? / (-2.0 * PI * VISCOSITY))? - z.square())?.exp()?;
    (&weight * y.sin())?.sum(-1, true)? / (-weight.sum(-1, true)?)
}

/// The norm of the difference, as a share of the truth's.
fn relative_error(u: &Tensor, truth: &Tensor) -> Result<f64> {
    ((u - truth)?.norm(.., false)? / truth.norm(.., false))?.item()
}

/// `[n, 1]`, evenly spaced.
fn line(from: f64, to: f64, n: usize) -> Result<Tensor> {
    Tensor::linspace_dtype(from, to, n, DType::F64, Device::Cpu)?.unsqueeze(1)
}

/// The solution at some times, over x, and the truth as dashes; then what the network says and the truth, over t and x.
fn draw(net: &Net, u: &Tensor, truth: &Tensor, pictures: &common::Pictures) -> Result<()> {
    let x = line(-1.0, 1.0, 201)?;
    let curves = |time: f64| {
        let t = line(time, time, 201)?;
        let curves = plot::Curves::new("x", "u").size(300, 300).add("network", &x, &net.at(&x, &t)?)?;
        Ok(curves.add_dashed("exact", &x, &exact(&x, &t)?)?.draw()?.titled(&format!("t = {time}")))
    };
    pictures.save(plot::panels(TIMES.map(curves), TIMES.len())?, "curves.png")?;
    let field = |(name, u): (&str, &Tensor)| {
        let field = plot::Field::new(&u.reshape(SIZE)?)?.across("t", 0.0, 1.0).down("x", 1.0, -1.0);
        Ok(field.range(-1.0, 1.0).draw()?.titled(name))
    };
    let rows = [("network", u), ("exact", truth), ("10 x difference", &((u - truth)? * 10.0)?)];
    pictures.save(plot::panels(rows.map(field), 1)?, "field.png")
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = common::device(&arguments.device)?;
    let pictures = common::Pictures::new(&arguments.out)?;
    let dtype = arguments.dtype.unwrap_or(if device == Device::Cpu { DType::F64 } else { DType::F32 });
    let net = Net::new(arguments.width.get(), arguments.seed, dtype, device)?;
    println!("{}", net.0.summary());
    let grid =
        Tensor::meshgrid(&[&line(1.0, -1.0, SIZE[0])?.squeeze(1)?, &line(0.0, 1.0, SIZE[1])?.squeeze(1)?])?;
    let (x, t) = (grid[0].reshape([SIZE[0] * SIZE[1], 1])?, grid[1].reshape([SIZE[0] * SIZE[1], 1])?);
    let truth = exact(&x, &t)?;

    let mut adam = Adam::new(arguments.lr).schedule(CosineDecay::new(arguments.lr, arguments.steps));
    let start = Instant::now();
    for step in 1..=arguments.steps {
        let (size, seed) = ([arguments.points.get(), 2], arguments.seed.wrapping_add(step));
        let [px, pt] = Tensor::rand_dtype(size, dtype, device, seed)?.split_into(1)?;
        let loss = net.residual(&((px * 2.0)? - 1.0)?, &pt)?.square()?.mean(.., false)?;
        adam.step(&loss.backward()?)?;
        if step % 500 == 0 {
            // The only place that waits for the device.
            let (loss, error) = (loss.item::<f64>()?, relative_error(&net.at(&x, &t)?, &truth)?);
            let seconds = start.elapsed().as_secs_f64();
            println!("step {step}: loss {loss:.2e}, error {error:.4}, {seconds:.1} s");
        }
    }

    let u = net.at(&x, &t)?;
    draw(&net, &u, &truth, &pictures)?;
    println!("\nnorm of the error, as a share of the solution's");
    println!("  as at the beginning  {:.4}", relative_error(&exact(&x, &t.zeros_like()?)?, &truth)?);
    println!("  network              {:.4}", relative_error(&u, &truth)?);
    Ok(())
}
