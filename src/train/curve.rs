//! The loss within an epoch.

use super::totals::{Totals, alike, floats};
use crate::backend::eval;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::optim::State;
use crate::shape::Shape;
use crate::tensor::{Tensor, no_grad};

/// As many points a run has, about, where nobody says how many.
const POINTS_OF_RUN: usize = 100;
/// Steps between points are no fewer, where nobody says it.
const FEWEST_STEPS: usize = 10;
/// Points that are kept on the device before they are read.
const CAPACITY: usize = 256;

/// The steps between points: those asked for (0: none), or so many that a run of this length is a curve.
pub(super) fn interval(asked: Option<usize>, epochs: usize, steps: Option<usize>) -> usize {
    asked.unwrap_or_else(|| {
        epochs.saturating_mul(steps.unwrap_or(50 * FEWEST_STEPS)).div_ceil(POINTS_OF_RUN).max(FEWEST_STEPS)
    })
}

/// What the sums of an epoch were after every few of its steps. The loss of the steps between is had from differences.
#[derive(Default)]
pub(super) struct Curve {
    /// Steps and samples so far of each point.
    points: Vec<[usize; 2]>,
    /// The sums of those that were read.
    read: Vec<f64>,
    /// The sums of the others, `[CAPACITY, sums]`, in the device's memory.
    waiting: Option<Tensor>,
}

impl Curve {
    /// Notes the sums after a step. Queued, and read at the end of the epoch: nothing waits.
    pub fn note(&mut self, step: usize, totals: &Totals) -> Result<()> {
        no_grad(|| {
            let sums = alike(totals.loss_sums().map(|sum| sum.reshape([1, 1])).collect::<Result<_>>()?)?;
            let row = match &sums[..] {
                [one] => one.clone(),
                several => Tensor::concat(several, 1)?,
            };
            let width = row.dims()[1];
            if self.points.len() * width - self.read.len() == CAPACITY * width {
                self.fetch()?;
            }
            let mut held = match self.waiting.take() {
                Some(held) => held.cast(row.dtype())?,
                None => zeros(width, row.dtype(), row.device())?,
            };
            let place = self.points.len() - self.read.len() / width;
            // Given the new value, so that nobody refers to the old one: it is written in place.
            held = held.update_slice(0, place, &row)?;
            eval(&[&held])?;
            self.waiting = Some(held);
            self.points.push([step, totals.samples()]);
            Ok(())
        })
    }

    /// Reads what waits.
    fn fetch(&mut self) -> Result<()> {
        if let Some(waiting) = self.waiting.take() {
            let width = waiting.dims()[1];
            let rest = self.points.len() * width - self.read.len();
            self.read.extend(floats(&waiting)?.into_iter().take(rest));
        }
        Ok(())
    }

    /// Has the steps after the last point join those before it, where they are fewer than half of what is between points: the mean of a
    /// step or two, of a batch that is not full maybe, would be a spike at the end of each epoch.
    pub fn join_rest(&mut self, steps: usize, every: usize) {
        let rest = self.points.last().map_or(0, |[step, _]| steps.saturating_sub(*step));
        if rest > 0 && 2 * rest < every {
            self.points.pop();
        }
    }

    /// The mean loss of the steps up to each point, since the one before, with the number of its last step; then that of those after the
    /// last point, up to the end of the epoch: of so many steps, with these sums over so many samples. `mean` makes a loss of sums.
    pub fn finish(
        mut self,
        end: [usize; 2],
        sums: &[f64],
        mean: impl Fn(&[f64], usize) -> f64,
    ) -> Result<Vec<(usize, f64)>> {
        self.fetch()?;
        let mut out = Vec::new();
        let (mut before, mut samples) = (vec![0.0; sums.len()], 0);
        let points = self.points.iter().zip(self.read.chunks(sums.len().max(1)));
        let last = self.points.last().is_none_or(|[step, _]| *step < end[0]).then_some((&end, sums));
        for (point, sums) in points.chain(last) {
            let parts: Vec<f64> = sums.iter().zip(&before).map(|(after, before)| after - before).collect();
            out.push((point[0], mean(&parts, point[1].saturating_sub(samples))));
            (before, samples) = (sums.to_vec(), point[1]);
        }
        Ok(out)
    }

    /// To be saved in the middle of an epoch.
    pub fn export(&self) -> Result<State> {
        let mut state = State::new();
        if !self.points.is_empty() {
            let points: Vec<f64> = self.points.iter().flatten().map(|&n| n as f64).collect();
            state.push(("points".into(), Tensor::from_vec(points, [self.points.len(), 2], Device::Cpu)?));
        }
        if !self.read.is_empty() {
            state.push(("read".into(), Tensor::from_vec(self.read.clone(), [self.read.len()], Device::Cpu)?));
        }
        state.extend(self.waiting.iter().map(|waiting| ("waiting".to_string(), waiting.clone())));
        Ok(state)
    }

    /// What [`export`](Self::export) gave in an epoch of so many steps and samples so far, with so many sums; `None` where it is not whole.
    pub fn import(state: &State, device: Device, end: [usize; 2], sums: usize) -> Result<Option<Curve>> {
        let entry = |name: &str| state.iter().find(|(other, _)| other == name).map(|(_, tensor)| tensor);
        let Some(points) = entry("points") else { return Ok(Some(Curve::default())) };
        let points: Vec<f64> = points.to_vec()?;
        let points: Vec<[usize; 2]> =
            points.chunks(2).filter_map(|p| Some([*p.first()? as usize, *p.get(1)? as usize])).collect();
        let read: Vec<f64> = entry("read").map(Tensor::to_vec).transpose()?.unwrap_or_default();
        let waiting = entry("waiting").map(|waiting| waiting.to_device(device)).transpose()?;
        let ordered = points.windows(2).all(|p| p[0][0] < p[1][0] && p[0][1] <= p[1][1])
            && points.last().is_none_or(|last| last[0] <= end[0] && last[1] <= end[1]);
        let whole = match &waiting {
            None => read.len() == points.len() * sums,
            Some(waiting) => match waiting.dims() {
                &[CAPACITY, width] => {
                    let all = points.len() * width;
                    // One waits at least.
                    width == sums
                        && read.len() < all
                        && all - read.len() <= CAPACITY * width
                        && read.len().is_multiple_of(width)
                }
                _ => false,
            },
        };
        Ok((whole && ordered).then_some(Curve { points, read, waiting }))
    }
}

/// Real zeros, not a repeated scalar: the first point is then like all others.
fn zeros(width: usize, dtype: DType, device: Device) -> Result<Tensor> {
    Tensor::filled_dtype(Shape::new(&[CAPACITY, width])?, 0.0, dtype, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_about_a_hundred_points() {
        assert_eq!(interval(None, 1, Some(469)), 10);
        assert_eq!(interval(None, 5, Some(469)), 24);
        assert_eq!(interval(None, 100, Some(5)), 10);
        assert_eq!(interval(None, 1, None), 10);
        assert!(interval(None, usize::MAX, Some(469)) > 10);
        assert_eq!((interval(Some(3), 1, Some(469)), interval(Some(0), 1, None)), (3, 0));
    }

    #[test]
    fn points_are_means_of_the_steps_between() {
        let totals = |sum: f32, samples| {
            let mut totals = Totals::new(&[], Device::Cpu).unwrap();
            totals.set_for_test(sum, samples);
            totals
        };
        let mut curve = Curve::default();
        for k in 1..=2 * CAPACITY + 3 {
            curve.note(2 * k, &totals((k * k) as f32, 4 * k)).unwrap();
        }
        let saved = curve.export().unwrap();
        let import = |step, samples, sums| Curve::import(&saved, Device::Cpu, [step, samples], sums).unwrap();
        let steps = 2 * (2 * CAPACITY + 3);
        // What is of another epoch, or of other losses, is damaged.
        for (step, samples, sums) in
            [(steps - 1, 2 * steps, 1), (steps, 2 * steps - 1, 1), (steps, 2 * steps, 3)]
        {
            assert!(import(step, samples, sums).is_none());
        }
        // Of points all of which were read none waits.
        let mut damaged = saved.clone();
        damaged.retain(|(name, _)| name != "read");
        damaged.push((
            "read".into(),
            Tensor::full_dtype([2 * CAPACITY + 3], 1.0, DType::F64, Device::Cpu).unwrap(),
        ));
        assert!(Curve::import(&damaged, Device::Cpu, [steps, 2 * steps], 1).unwrap().is_none());
        let curve = import(steps, 2 * steps, 1).unwrap();
        let mean = |sums: &[f64], samples: usize| sums[0] / samples as f64;
        let end = 2 * CAPACITY + 3;
        let last = ((end * end) as f64 + 3.0, 4 * end + 1);
        let points = curve.finish([2 * end + 1, last.1], &[last.0], mean).unwrap();
        assert_eq!(points.len(), end + 1);
        for (i, (step, loss)) in points[..end].iter().enumerate() {
            let k = i + 1;
            assert_eq!((*step, *loss), (2 * k, (2 * k - 1) as f64 / 4.0));
        }
        assert_eq!(points[end], (2 * end + 1, 3.0));
        // a short rest joins the point before, a longer one stands by itself
        let of_two = || {
            let mut curve = Curve::default();
            curve.note(10, &totals(30.0, 20)).unwrap();
            curve.note(20, &totals(50.0, 40)).unwrap();
            curve
        };
        for (steps, expected) in [
            (20, vec![(10, 1.5), (20, 1.0)]),
            (24, vec![(10, 1.5), (24, 1.5)]),
            (25, vec![(10, 1.5), (20, 1.0), (25, 2.0)]),
        ] {
            let mut curve = of_two();
            curve.join_rest(steps, 10);
            let samples = 2 * steps;
            let sum = 50.0 + if steps == 24 { 22.0 } else { 4.0 * (steps - 20) as f64 };
            assert_eq!(curve.finish([steps, samples], &[sum], mean).unwrap(), expected, "{steps}");
        }
        let mut curve = Curve::default();
        curve.join_rest(3, 10);
        assert_eq!(curve.finish([3, 2], &[6.0], mean).unwrap(), [(3, 3.0)]);
        // a point at the end of the epoch is not told twice
        let mut curve = Curve::default();
        curve.note(3, &totals(6.0, 2)).unwrap();
        assert_eq!(curve.finish([3, 2], &[6.0], mean).unwrap(), [(3, 3.0)]);
        assert_eq!(Curve::default().finish([3, 2], &[6.0], mean).unwrap(), [(3, 3.0)]);
    }
}
