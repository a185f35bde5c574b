//! Connectionist temporal classification: sequences against shorter ones, without saying which step is which label.

use super::base::Loss;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::graph::{ScanOptions, scan};
use crate::ops::check_index::check_index;
use crate::ops::fault::FaultKind;
use crate::ops::random::iota;
use crate::ops::{require_float, same_device};
use crate::tensor::Tensor;

/// The logarithm of what cannot be: finite, so that differences of two are numbers, and so far down that nothing reaches it.
const NEVER: f64 = -1e30;
/// What no real sum of logarithms comes near.
const HARDLY: f64 = -1e29;

/// CTC (Graves et al., 2006): minus the logarithm of the probability that a sequence of outputs reads as the labels, over all
/// ways of repeating labels and of putting blanks between them. For speech and handwriting.
///
/// Outputs are logits, `[batch, steps, classes]`, of which one class is the blank: 0 where nothing else is said. Targets are integer
/// labels, `[batch, labels]`; rows that are shorter are filled up with blanks, which begin after the last label
/// (`keras.losses.CTC`). The loss of a sample is that of all of its labels; PyTorch's `mean` divides it by their number first.
/// Where a row has more labels than its steps can say, the loss is infinite and the gradient 0.
///
/// ```
/// use wgrad::nn::Ctc;
/// # use wgrad::prelude::*;
/// # fn main() -> Result<()> {
/// // Two steps, and a blank, a and b of equal probability: "a" is read from "aa", "a-" and "-a", three of nine.
/// let logits = Tensor::zeros([1, 2, 3], Device::Cpu)?;
/// let loss = Ctc::new().compute(&logits, &Tensor::new([[1u32]], Device::Cpu)?)?;
/// assert!((loss.item::<f32>()? - 3f32.ln()).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// Outputs that are no floats or not `[batch, steps, classes]`; targets that are no integers or not `[batch, labels]`; a blank that is
/// none of the classes. A label that is none of the classes: on the CPU of the call that computes, on a GPU of the next one that
/// waits for the device.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Ctc {
    blank: usize,
}

impl Ctc {
    const NAME: &str = "Ctc";

    /// With class 0 as the blank.
    pub fn new() -> Self {
        Ctc { blank: 0 }
    }

    /// Another class as the blank, which also fills up targets.
    pub fn blank(self, class: usize) -> Self {
        Ctc { blank: class }
    }

    /// The loss of each sample, `[batch]`, where a sample's sequence has only so many steps: `steps` `[batch]`, integers, more than there
    /// are being all, and less than none being none. What outputs have beyond them is not looked at.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let logits = Tensor::randn([2, 9, 4], Device::Cpu, 1)?;
    /// let labels = Tensor::new([[1u32, 2, 2], [3, 0, 0]], Device::Cpu)?;
    /// let loss = wgrad::nn::Ctc::new().of_lengths(&logits, &labels, &Tensor::new([9u32, 5], Device::Cpu)?)?;
    /// assert_eq!(loss.dims(), [2]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As of the loss; or there is not one length for each sample.
    pub fn of_lengths(&self, outputs: &Tensor, targets: &Tensor, steps: &Tensor) -> Result<Tensor> {
        integers("lengths", steps)?;
        if steps.rank() != 1 || steps.dims()[0] != outputs.dims().first().copied().unwrap_or(0) {
            let message = format!(
                "lengths are {}, outputs {}; expected one length for each sample",
                steps.shape(),
                outputs.shape()
            );
            return Err(Error::shape(Self::NAME, message));
        }
        self.rows(outputs, targets, Some(steps))
    }

    /// The labels that the likeliest class of each step reads as: repetitions are one, blanks nothing (best path decoding). Reads the
    /// outputs back.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let steps = Tensor::new([[1u32, 1, 0, 1, 2, 2, 0]], Device::Cpu)?;
    /// let logits = steps.one_hot(3)?;
    /// assert_eq!(wgrad::nn::Ctc::new().decode(&logits)?, [[1, 1, 2]]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Outputs that are no floats or not `[batch, steps, classes]`; or the device fails.
    pub fn decode(&self, outputs: &Tensor) -> Result<Vec<Vec<u32>>> {
        self.check(outputs)?;
        let steps = outputs.dims()[1];
        if outputs.numel() == 0 {
            return Ok(vec![Vec::new(); outputs.dims()[0]]);
        }
        let best: Vec<u32> = outputs.argmax(-1, false)?.cast(DType::U32)?.to_vec()?;
        let read = |row: &[u32]| {
            let changes = row.iter().enumerate().filter(|&(i, class)| i == 0 || row[i - 1] != *class);
            changes.map(|(_, &class)| class).filter(|&class| class as usize != self.blank).collect()
        };
        Ok(best.chunks(steps).map(read).collect())
    }

    fn check(&self, outputs: &Tensor) -> Result<()> {
        require_float(Self::NAME, "the output", outputs)?;
        let &[_, _, classes] = outputs.dims() else {
            let message = format!("outputs are {}; expected [batch, steps, classes]", outputs.shape());
            return Err(Error::shape(Self::NAME, message));
        };
        if self.blank < classes {
            return Ok(());
        }
        let message = format!("the blank is class {}, but the outputs have {classes} classes", self.blank);
        Err(Error::argument(Self::NAME, message))
    }

    fn rows(&self, outputs: &Tensor, targets: &Tensor, steps: Option<&Tensor>) -> Result<Tensor> {
        self.check(outputs)?;
        integers("labels", targets)?;
        let &[batch, length, classes] = outputs.dims() else {
            return Err(Error::shape(Self::NAME, "outputs have three dimensions"));
        };
        let labels = match *targets.dims() {
            [rows, labels] if rows == batch => labels,
            _ => {
                let message = format!(
                    "labels are {} for outputs {}; expected [{batch}, labels]",
                    targets.shape(),
                    outputs.shape()
                );
                return Err(Error::shape(Self::NAME, message));
            }
        };
        let mut all = vec![outputs, targets];
        all.extend(steps);
        same_device(Self::NAME, &all)?;
        let (device, dtype) = (outputs.device(), outputs.dtype());
        let targets = check_index(targets, FaultKind::CtcLabel, 2, classes)?.cast(DType::I32)?;
        let count = targets.ne(self.blank as f64)?.cast(DType::I32)?.sum(-1, true)?;
        // A blank before, between and after the labels: 2 * labels + 1 places.
        let blanks = Tensor::full_dtype([batch, labels, 1], self.blank as f64, DType::I32, device)?;
        let pairs = Tensor::concat(&[&blanks, &targets.unsqueeze(-1)?], -1)?.reshape([batch, 2 * labels])?;
        let last = Tensor::full_dtype([batch, 1], self.blank as f64, DType::I32, device)?;
        let places = Tensor::concat(&[&pairs, &last], 1)?;
        let width = 2 * labels + 1;
        // A label may follow the one before at once, without a blank, if it is another.
        let before = places.slice(1, 0, width.saturating_sub(2))?.pad([(0, 0), (width.min(2), 0)], -1.0)?;
        let leaps = places.ne(self.blank as f64)?.logical_and(places.ne(&before)?)?;

        let log = outputs.log_softmax(-1)?;
        let index = places.unsqueeze(1)?.broadcast_to([batch, length, width])?;
        // What has no probability at all would be minus infinity, and differences of it no numbers.
        let emitted = log.gather(2, &index)?.maximum(NEVER)?.permute([1, 0, 2])?;
        let first = iota(width, device)?.eq(0.0)?.broadcast_to([batch, width])?;
        let zero = Tensor::full_dtype([batch, width], 0.0, dtype, device)?;
        let start = first.select(&zero, NEVER)?;
        let number = match steps {
            Some(_) => Some(iota(length, device)?.cast(DType::I32)?.reshape([length, 1, 1])?),
            None => None,
        };
        let steps = steps.map(|s| s.cast(DType::I32)?.reshape([batch, 1])).transpose()?;
        let mut rows = vec![&emitted];
        rows.extend(&number);
        let out = scan(&[&start], &rows, ScanOptions::new(), |state, rows| {
            let stay = &state[0];
            let moved = |by: usize| {
                let kept = stay.slice(1, 0, width.saturating_sub(by))?;
                kept.pad([(0, 0), (by.min(width), 0)], NEVER)
            };
            let next = moved(1)?;
            let leap = leaps.select(&moved(2)?, NEVER)?;
            let most = stay.maximum(&next)?.maximum(&leap)?.detach()?;
            let sum = (((stay - &most)?.exp()? + (next - &most)?.exp()?)? + (leap - &most)?.exp()?)?;
            let mut new = ((sum.log()? + most)? + &rows[0])?.maximum(NEVER)?;
            if let (Some(steps), Some(number)) = (&steps, rows.get(1)) {
                new = steps.gt(number)?.select(new, stay)?;
            }
            Ok((vec![new], vec![]))
        })?;
        // Read are all labels, and perhaps a blank after them.
        let end = (count * 2.0)?;
        let place = iota(width, device)?.cast(DType::I32)?;
        let ends = place.eq(&end)?.logical_or(place.eq((&end - 1.0)?)?)?;
        let sum = ends.select(&out.carry[0], NEVER)?.logsumexp(-1, false)?;
        sum.lt(HARDLY)?.select(f64::INFINITY, sum.neg()?)
    }
}

fn integers(what: &str, t: &Tensor) -> Result<()> {
    if !t.dtype().is_float() {
        return Ok(());
    }
    Err(Error::dtype(Ctc::NAME, format!("{what} are {}; integers are expected", t.dtype())))
}

impl Loss for Ctc {
    fn per_sample(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        self.rows(outputs, targets, None)
    }
}
