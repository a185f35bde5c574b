//! Where a cache is written in place, and where it is not.

use super::Cache;
use crate::tensor::{Tensor, Value};
use crate::{DType, Device, Error, Result, Variable, eval};

const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];

/// What tells the memory of a computed value from others.
fn memory(t: &Tensor) -> Result<u64> {
    t.eval()?;
    match t.0.value() {
        Some(Value::Cpu(array)) => Ok(array.raw::<f32>()?.as_ptr() as u64),
        Some(Value::Gpu(array)) => Ok(array.buffer.id),
        None => Err(Error::internal("no value")),
    }
}

fn rows(n: usize, value: f32, device: Device) -> Result<Tensor> {
    Tensor::from_vec(vec![value; 2048 * n], [n, 2048], device)
}

fn cache(device: Device) -> Result<Cache> {
    let mut cache = Cache::new([8, 2048], 0, DType::F32, device)?;
    cache.append(&rows(2, 1.0, device)?)?;
    Ok(cache)
}

/// The first element of each row.
fn heads(t: &Tensor) -> Result<Vec<f32>> {
    t.slice(1, 0, 1)?.to_vec()
}

#[test]
fn appends_stay_in_place() -> Result<()> {
    for device in DEVICES {
        let mut cache = cache(device)?;
        let first = memory(&cache.full())?;
        for step in 0..3 {
            cache.append(&rows(1, 2.0 + step as f32, device)?)?;
            // with and without something that is computed from it
            if step != 1 {
                let sum = cache.full().sum(.., false)?;
                eval(&[&sum, &cache.full()])?;
            }
            assert_eq!(memory(&cache.full())?, first, "{device}");
        }
        // Several between two looks are one after the other, all in place.
        cache.append(&rows(1, 5.0, device)?)?;
        cache.append(&rows(2, 6.0, device)?)?;
        if device != Device::Cpu {
            assert_eq!(memory(&cache.full())?, first, "{device}");
        }
        assert_eq!(heads(&cache.full())?, [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0], "{device}");
    }
    Ok(())
}

#[test]
fn what_is_held_is_not_written_over() -> Result<()> {
    type Hold = fn(&Cache) -> Result<Tensor>;
    let held: [(&str, Hold, &[f32]); 5] = [
        ("the tensor", |c| Ok(c.full()), &[1.0, 1.0, 0.0, 0.0]),
        ("a part that is an alias", |c| c.full().slice(0, 1, 3)?.evaluated(), &[1.0, 0.0, 0.0]),
        (
            "a shape that is an alias",
            |c| c.full().reshape([16384])?.evaluated()?.slice(0, 0, 2048),
            &[1.0; 4],
        ),
        ("a result not computed yet", |c| c.full() * 3.0, &[3.0, 3.0, 0.0]),
        ("a variable", |c| Ok(Variable::not_trainable(c.full()).value()), &[1.0, 1.0, 0.0]),
    ];
    for device in DEVICES {
        for (what, hold, want) in held {
            let mut cache = cache(device)?;
            let first = memory(&cache.full())?;
            let old = hold(&cache)?;
            cache.append(&rows(1, 2.0, device)?)?;
            assert_ne!(memory(&cache.full())?, first, "{what} on {device}");
            let second = memory(&cache.full())?;
            assert_eq!(heads(&cache.full())?[..4], [1.0, 1.0, 2.0, 0.0], "{what} on {device}");
            // From here on it has a buffer of its own.
            cache.append(&rows(1, 4.0, device)?)?;
            assert_eq!(memory(&cache.full())?, second, "{what} on {device}");
            let values: Vec<f32> = old.to_vec()?;
            let step = if old.rank() == 1 { 1 } else { 2048 };
            let got: Vec<f32> = values.into_iter().step_by(step).take(want.len()).collect();
            assert_eq!(got, want, "{what} on {device}");
        }
    }
    Ok(())
}

impl Tensor {
    fn evaluated(self) -> Result<Tensor> {
        self.eval()?;
        Ok(self)
    }
}

/// What reads the old value in the same evaluation reads it as it was.
#[test]
fn readers_in_the_same_evaluation() -> Result<()> {
    for device in DEVICES {
        let mut cache = cache(device)?;
        cache.full().eval()?;
        let before = cache.full().sum(-1, false)?;
        cache.append(&rows(1, 2.0, device)?)?;
        let between = (cache.full() + 1.0)?.sum(-1, false)?;
        cache.append(&rows(2, 3.0, device)?)?;
        let after = cache.full().sum(-1, false)?;
        eval(&[&after, &between, &before])?;
        let sums =
            |t: &Tensor| -> Result<Vec<f32>> { Ok(t.to_vec::<f32>()?.iter().map(|s| s / 2048.0).collect()) };
        assert_eq!(sums(&before)?, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "{device}");
        assert_eq!(sums(&between)?, [2.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0], "{device}");
        assert_eq!(sums(&after)?, [1.0, 1.0, 2.0, 3.0, 3.0, 0.0, 0.0, 0.0], "{device}");
        // Slices that were appended from the cache itself.
        let mut cache = self::cache(device)?;
        cache.full().eval()?;
        let again = (cache.full().slice(0, 0, 2)? * 5.0)?;
        cache.append(&again)?;
        drop(again);
        assert_eq!(heads(&cache.full())?, [1.0, 1.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0], "{device}");
    }
    Ok(())
}

/// Gradients need what was there before; so do values that are computed from them later.
#[test]
fn what_gradients_need_is_kept() -> Result<()> {
    for device in DEVICES {
        let w = Variable::new(Tensor::from_slice(&[3.0f32], [1], device)?);
        let mut cache = cache(device)?;
        cache.full().eval()?;
        // An intermediate of the loss, not held by anybody else, is computed from the buffer.
        let loss = ((cache.full().slice(0, 0, 2)? * 1.0)? * w.value())?.sum(.., false)?;
        cache.append(&rows(1, 2.0, device)?)?;
        eval(&[&loss, &cache.full()])?;
        cache.append(&rows(1, 2.0, device)?)?;
        cache.full().eval()?;
        assert_eq!(loss.backward()?.get(&w)?.to_vec::<f32>()?, [4096.0], "{device}");
        // Slices that gradients flow through.
        let first = memory(&cache.full())?;
        cache.append(&(rows(2, 2.0, device)? * w.value())?)?;
        let loss = cache.full().square()?.sum(.., false)?;
        eval(&[&loss, &cache.full()])?;
        assert_ne!(memory(&cache.full())?, first, "{device}");
        assert_eq!(loss.backward()?.get(&w)?.to_vec::<f32>()?, [2.0 * 3.0 * 4.0 * 4096.0], "{device}");
    }
    Ok(())
}

/// An evaluation that fails leaves caches as they are, whatever part of it was computed.
#[test]
fn a_failed_evaluation() -> Result<()> {
    for device in DEVICES {
        let table = Tensor::zeros([3, 2048], device)?;
        for order in [false, true] {
            let mut cache = cache(device)?;
            cache.full().eval()?;
            cache.append(&rows(1, 2.0, device)?)?;
            let bad = (table.index_select(0, &Tensor::new([7], device)?)? + cache.full().slice(0, 2, 1)?)?;
            let full = cache.full();
            let roots = if order { [&bad, &full] } else { [&full, &bad] };
            assert!(eval(&roots).and_then(|()| bad.to_vec::<f32>()).is_err(), "{device}");
            assert_eq!(heads(&full)?[..4], [1.0, 1.0, 2.0, 0.0], "{device}");
        }
        // Where it is the slices that fail, what was cloned before is whole.
        let mut cache = cache(device)?;
        let before = cache.clone();
        cache.append(&table.index_select(0, &Tensor::new([7], device)?)?)?;
        assert!(cache.full().to_vec::<f32>().is_err(), "{device}");
        assert_eq!(heads(&before.filled()?)?, [1.0, 1.0], "{device}");
    }
    Ok(())
}

/// A bound of the elements that the host knows does not outlive what it was of.
#[test]
fn indices_in_a_cache_are_checked() -> Result<()> {
    for device in DEVICES {
        let table = Tensor::new([10.0f32, 20.0, 30.0], device)?;
        let mut indices = Cache::new([3], 0, DType::U32, device)?;
        indices.append(&Tensor::new([2u32], device)?)?;
        indices.full().eval()?;
        assert_eq!(table.index_select(0, &indices.full())?.to_vec::<f32>()?, [30.0, 10.0, 10.0]);
        indices.append(&Tensor::new([5u32], device)?)?;
        indices.full().eval()?;
        assert!(table.index_select(0, &indices.full())?.to_vec::<f32>().is_err(), "{device}");
    }
    Ok(())
}
