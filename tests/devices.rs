//! What concerns a device as a whole, in a process of its own: a device that is lost, the memory that it keeps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wgrad::graph::{ScanOptions, scan};
use wgrad::nn::BatchNorm;
use wgrad::prelude::*;
use wgrad::train::{Callback, Epoch, Flow, History, Run, Step};
use wgrad::{Conv2dOptions, CustomKernel, CustomOp, Pool2dOptions, Shape, apply_custom};

const MIB: u64 = 1 << 20;

/// One test at a time: each has the devices to itself.
struct Alone(#[allow(dead_code)] MutexGuard<'static, ()>);

fn alone() -> Alone {
    static LOCK: Mutex<()> = Mutex::new(());
    Alone(LOCK.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Drop for Alone {
    fn drop(&mut self) {
        Device::Gpu.limit_bindings(u64::MAX).ok();
        Device::Gpu.limit_submissions(Duration::from_millis(200)).ok();
    }
}

#[track_caller]
fn is_lost<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(result, Err(Error::DeviceLost { .. })), "{result:?} instead of a lost device");
}

fn trainer() -> Result<Trainer<wgrad::nn::Model>> {
    let model = Sequential::new()
        .seed(5)
        .add(Conv2d::new(4, [3, 3]).activation(Activation::Relu))
        .add(BatchNorm::new())
        .add(MaxPool2d::new([2, 2]))
        .add(Flatten::new())
        .add(Dropout::new(0.2))
        .add(Dense::new(10))
        .build([28, 28, 1], Device::Gpu)?;
    Trainer::new(model, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits())
        .metric(Accuracy::new())
        .build()
}

fn fit<'a>() -> Fit<'a> {
    Fit::epochs(4).batch_size(32).seed(9).verbose(false)
}

fn bits(trainer: &Trainer<wgrad::nn::Model>) -> Result<Vec<u32>> {
    let mut bits = Vec::new();
    for p in trainer.model().parameters() {
        bits.extend(p.variable.value().to_vec::<f32>()?.into_iter().map(f32::to_bits));
    }
    Ok(bits)
}

/// Saves after every epoch, and destroys the device in the middle of the third.
struct Disaster(std::path::PathBuf);

impl Callback for Disaster {
    fn on_step(&mut self, step: &Step<'_>, _run: &mut Run<'_>) -> Result<Flow> {
        if (step.epoch, step.step) == (3, 4) {
            Device::Gpu.simulate_loss()?;
        }
        Ok(Flow::Continue)
    }
    fn on_epoch_end(&mut self, _epoch: &Epoch, run: &mut Run<'_>) -> Result<Flow> {
        run.save_checkpoint(&self.0);
        Ok(Flow::Continue)
    }
}

#[test]
fn a_lost_adapter_can_not_be_opened_again() -> Result<()> {
    let _alone = alone();
    let (set, _) = data::synthetic::digits(300, 10, 5).into_datasets()?;
    let mut undisturbed = trainer()?;
    let history = undisturbed.fit(&set, fit())?;
    let expected = bits(&undisturbed)?;

    let folder = tempfile::tempdir().map_err(|e| Error::io("a temporary folder", e))?;
    let path = folder.path().join("checkpoint");
    let mut first = trainer()?;
    is_lost(first.fit(&set, fit().with(Disaster(path.clone()))));
    // What was on it is gone, and says so.
    is_lost(bits(&first));
    is_lost(bits(&undisturbed));
    // A trainer of its own goes on, on the same adapter, as if nothing had been.
    let mut second = trainer()?;
    second.resume(&path)?;
    let resumed = second.fit(&set, fit())?;
    assert_eq!(bits(&second)?, expected);
    let losses = |h: &History| h.epochs.iter().map(|e| e.train.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&resumed), losses(&history));
    // So does the trainer to which it happened.
    first.resume(&path)?;
    first.fit(&set, fit())?;
    assert_eq!(bits(&first)?, expected);
    Device::Gpu.synchronize()
}

#[test]
fn the_first_read_after_a_loss_is_a_raw_map_error() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let values = || Tensor::new([1.0f32, 2.0, 3.0], device);
    // read
    let x = values()?;
    device.simulate_loss()?;
    is_lost(x.to_vec::<f32>());
    is_lost(x.to_vec::<f32>());
    assert_eq!(values()?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    // read without blocking
    let x = values()?;
    device.simulate_loss()?;
    is_lost(pollster::block_on(x.to_vec_async::<f32>()));
    // compute with what was there, with new kernels and known ones
    let x = values()?;
    (&x * 2.0)?.to_vec::<f32>()?;
    device.simulate_loss()?;
    is_lost((&x * 2.0)?.to_vec::<f32>());
    is_lost((&x * 3.0)?.exp()?.sum(.., false)?.item::<f32>());
    is_lost((x + values()?)?.to_vec::<f32>());
    // wait
    let x = values()?;
    (&x * 2.0)?.eval()?;
    device.simulate_loss()?;
    is_lost(device.synchronize());
    device.synchronize()?;
    // upload
    device.simulate_loss()?;
    let after = values().and_then(|x| x.to_vec::<f32>());
    assert!(
        matches!(&after, Ok(v) if v[..] == [1.0, 2.0, 3.0]) || matches!(after, Err(Error::DeviceLost { .. }))
    );
    assert_eq!((values()? + 1.0)?.to_vec::<f32>()?, [2.0, 3.0, 4.0]);
    Ok(())
}

/// Work that takes 160 MiB and leaves nothing.
fn work(device: Device) -> Result<()> {
    let one = Tensor::ones([], device)?;
    let parts: Vec<Tensor> =
        (0..5).map(|i| one.broadcast_to([8 << 20])? + f64::from(i)).collect::<Result<_>>()?;
    wgrad::eval(&parts.iter().collect::<Vec<_>>())?;
    assert_eq!(parts[4].slice(0, 77, 1)?.item::<f32>()?, 5.0);
    Ok(())
}

#[test]
fn seven_hundred_megabytes_stay_in_the_pool() -> Result<()> {
    let _alone = alone();
    for device in [Device::Cpu, Device::Gpu] {
        device.trim()?;
        work(device)?;
        device.synchronize()?;
        assert!(device.stats()?.bytes_pooled >= 150 * MIB, "{:?}", device.stats()?);
        device.trim()?;
        assert_eq!(device.stats()?.bytes_pooled, 0, "{device}");
        work(device)?;
        // Small work goes on: what only the large needed goes.
        let x = Tensor::ones([100_000], device)?;
        for _ in 0..100 {
            (&x + 1.0)?.eval()?;
        }
        let stats = device.stats()?;
        assert!(stats.bytes_pooled <= 66 * MIB, "{device}: {stats:?}");
        assert_eq!((&x + 1.0)?.sum(.., false)?.item::<f32>()?, 200_000.0);
    }
    Ok(())
}

#[test]
fn a_steady_loop_allocates_nothing() -> Result<()> {
    let _alone = alone();
    for device in [Device::Cpu, Device::Gpu] {
        let x = (Tensor::ones([6 << 20], device)? * 0.5)?;
        x.eval()?;
        let step = |x: &Tensor| -> Result<()> {
            let y = (x * 2.0)?;
            y.eval()?;
            (y + 1.0)?.sqrt()?.eval()
        };
        for _ in 0..3 {
            step(&x)?;
        }
        let before = device.stats()?.allocations;
        for _ in 0..50 {
            step(&x)?;
        }
        assert_eq!(device.stats()?.allocations, before, "{device}");
    }
    Ok(())
}

/// Numbers between -1 and 1.
fn numbers(dims: &[usize], seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..dims.iter().product()).map(|_| next()).collect()
}

/// What `f` gives of these inputs, and its gradients, on both devices.
fn agree(what: &str, dims: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let on = |device: Device| -> Result<Vec<Vec<f32>>> {
        let inputs = (1..).zip(dims).map(|(seed, &d)| Tensor::from_vec(numbers(d, seed), d, device)?.watch());
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let y = f(&inputs)?;
        let grads = y.square()?.mean(.., false)?.backward()?;
        let mut all = vec![y.to_vec::<f32>()?];
        for x in &inputs {
            all.push((grads.get(x)? * y.numel() as f64)?.to_vec::<f32>()?);
        }
        Ok(all)
    };
    let failed = |e: Error| Error::argument(what, e.to_string());
    let (cpu, gpu) = (on(Device::Cpu).map_err(failed)?, on(Device::Gpu).map_err(failed)?);
    for (k, (a, b)) in cpu.iter().zip(&gpu).enumerate() {
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= 2e-4 * (1.0 + a.abs()), "{what}: result {k}, element {i}: {a} and {b}");
        }
    }
    Ok(())
}

#[test]
fn a_tensor_larger_than_a_binding_is_a_raw_driver_message() -> Result<()> {
    let _alone = alone();
    // 64 KiB: 16,384 floats
    Device::Gpu.limit_bindings(64 << 10)?;
    let big: &[usize] = &[210, 190];
    agree("pointwise", &[big, big], |x| (&x[0] * &x[1])?.tanh()? + 1.0)?;
    agree("a row for all", &[big, &[190]], |x| (&x[0] - &x[1])?.exp())?;
    agree("permuted", &[big, &[190, 210]], |x| &x[0].transpose()? + &x[1])?;
    agree("scattered", &[&[33, 7, 190]], |x| x[0].permute([2, 0, 1])?.sin())?;
    agree("sum", &[big], |x| x[0].sum(.., false))?;
    agree("sums of rows", &[big], |x| x[0].sum(1, false))?;
    agree("sums of columns", &[big], |x| x[0].sum(0, false))?;
    agree("maxima", &[big], |x| x[0].max(0, false))?;
    agree("many sums", &[&[20_000, 3]], |x| x[0].sum(1, false))?;
    agree("slices", &[big], |x| x[0].slice(0, 3, 200)?.slice(1, 7, 100))?;
    agree("joined", &[big, &[5, 190]], |x| Tensor::concat(&[&x[0], &x[1], &x[0]], 0))?;
    agree("rows times", &[big, &[190, 40]], |x| x[0].matmul(&x[1]))?;
    agree("a large product", &[&[300, 20], &[20, 210]], |x| x[0].matmul(&x[1]))?;
    agree("columns times", &[big, &[210, 30]], |x| x[0].transpose()?.matmul(&x[1]))?;
    agree("many products", &[&[40, 30, 20], &[40, 20, 30]], |x| x[0].matmul(&x[1]))?;
    agree("softmax", &[big], |x| x[0].softmax(-1))?;
    agree("convolution", &[&[12, 20, 20, 8], &[3, 3, 8, 8]], |x| {
        x[0].conv2d(&x[1], Conv2dOptions::default())
    })?;
    agree("pooling", &[&[12, 20, 20, 8]], |x| x[0].max_pool2d(Pool2dOptions::new([2, 2])))?;
    agree("averages", &[&[12, 20, 20, 8]], |x| x[0].avg_pool2d(Pool2dOptions::new([3, 3])))?;
    agree("rows picked", &[big], |x| {
        let rows: Vec<i32> = (0..400).map(|i| (i * 37) % 210).collect();
        x[0].index_select(0, &Tensor::from_vec(rows, [400], x[0].device())?)
    })?;
    agree("elements picked", &[big], |x| {
        let columns: Vec<i32> = (0..210 * 150).map(|i| (i * 11) % 190).collect();
        x[0].gather(1, &Tensor::from_vec(columns, [210, 150], x[0].device())?)
    })?;
    agree("a part written over", &[big, &[30, 190]], |x| x[0].update_slice(0, 170, &x[1]))?;
    agree("losses", &[big], |x| {
        let labels: Vec<i32> = (0..210).map(|i| (i * 7) % 190).collect();
        x[0].cross_entropy_rows(&Tensor::from_vec(labels, [210], x[0].device())?)
    })?;
    agree("a loop", &[&[150, 120], &[2, 150, 120]], |x| {
        let out = scan(&[&x[0]], &[&x[1]], ScanOptions::new(), |c, x| {
            let next = ((&c[0] * 0.5)? + &x[0])?;
            Ok((vec![next.clone()], vec![next.tanh()?]))
        })?;
        &out.carry[0] + out.rows[0].sum(0, false)?
    })?;
    let written_in_place = |device: Device| -> Result<Vec<f32>> {
        let part = Tensor::from_vec(numbers(&[30, 190], 2), [30, 190], device)?;
        let mut y = Tensor::from_vec(numbers(big, 1), big, device)?;
        for row in [0, 75, 180] {
            y = y.update_slice(0, row, &(&part + row as f64)?)?;
        }
        y.to_vec()
    };
    assert_eq!(written_in_place(Device::Cpu)?, written_in_place(Device::Gpu)?);
    for device in [Device::Cpu, Device::Gpu] {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let x = Tensor::from_slice(&bytes, [300_000], device)?;
        assert_eq!(x.to_vec::<u8>()?, bytes);
        let doubled: Vec<u8> = bytes.iter().map(|b| b.wrapping_mul(2)).collect();
        assert_eq!((&x + &x)?.to_vec::<u8>()?, doubled);
        let most = Tensor::from_vec(numbers(&[3, 50_000], 9), [3, 50_000], device)?.argmax(1, false)?;
        let values = numbers(&[3, 50_000], 9);
        let first = |row: &[f32]| (1..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as i32;
        assert_eq!(most.to_vec::<i32>()?, values.chunks(50_000).map(first).collect::<Vec<_>>());
    }
    // More than all bindings of a kernel together: an error that says what to do.
    let huge = Tensor::from_vec(vec![1.0f32; 600_000], [600_000], Device::Gpu)?;
    match (huge + 1.0).and_then(|y| y.to_vec::<f32>()) {
        Err(e @ Error::OutOfMemory { .. }) => {
            let text = e.to_string();
            assert!(text.contains("65536 bytes") && text.contains("smaller batch"), "{text}");
        }
        other => panic!("{:?}", other.map(|v| v.len())),
    }
    Device::Gpu.limit_bindings(u64::MAX)
}

#[test]
fn a_data_set_larger_than_a_binding_can_not_be_trained_on() -> Result<()> {
    let _alone = alone();
    let train = |limit: u64| -> Result<Vec<u32>> {
        Device::Gpu.limit_bindings(limit)?;
        let (set, _) = data::synthetic::digits(300, 10, 5).into_datasets()?;
        let mut trainer = trainer()?;
        trainer.fit(&set, fit())?;
        bits(&trainer)
    };
    let whole = train(u64::MAX)?;
    assert_eq!(train(200 << 10)?, whole);
    Device::Gpu.limit_bindings(u64::MAX)?;
    // CIFAR-10's training images have 153.6 MB; lavapipe binds 128 MiB.
    let (rows, columns) = (50_000, 3072);
    let images: Vec<u8> = (0..rows * columns).map(|i| (i % 253 + i / 7_000_000) as u8).collect();
    let picked = [49_999usize, 0, 44_000, 25_001, 43_690, 43_691];
    let expected: Vec<u8> =
        picked.iter().flat_map(|r| &images[r * columns..(r + 1) * columns]).copied().collect();
    let x = Tensor::from_vec(images, [rows, columns], Device::Gpu)?;
    let at = Tensor::from_vec(picked.map(|r| r as i32).to_vec(), [picked.len()], Device::Gpu)?;
    assert_eq!(x.index_select(0, &at)?.to_vec::<u8>()?, expected);
    let last = x.slice(0, rows - 1, 1)?.cast(DType::F32)?.sum(.., false)?.item::<f32>()?;
    assert_eq!(f64::from(last), expected[..columns].iter().map(|&b| f64::from(b)).sum::<f64>());
    drop(x);
    Device::Gpu.trim()
}

/// An epoch of a small network: what it ended in, and its dispatches. Where the host knows that all labels
/// are classes nothing is checked; one that is none makes the kernels check all.
fn epoch(stray: Option<usize>) -> Result<(Result<()>, u64)> {
    let (set, _) = data::synthetic::digits(1280, 10, 5).into_datasets()?;
    let mut labels = set.labels().cast(DType::U32)?.to_vec::<u32>()?;
    if let Some(at) = stray {
        labels[at] = 10;
    }
    let set = set.with_targets(&[&Tensor::from_vec(labels, [1280], Device::Cpu)?])?;
    let mut trainer = trainer()?;
    let fit = || Fit::epochs(1).batch_size(64).seed(9).verbose(false);
    let first = trainer.fit(&set, fit());
    let before = Device::Gpu.stats()?.dispatches;
    let result = trainer.fit(&set, fit());
    assert_eq!(first.is_ok(), result.is_ok());
    Ok((result.map(drop), Device::Gpu.stats()?.dispatches - before))
}

#[test]
fn checking_labels_costs_dispatches() -> Result<()> {
    let _alone = alone();
    let (without, checked) = (epoch(None)?, epoch(Some(700))?);
    without.0?;
    assert!(matches!(checked.0, Err(Error::Argument { .. })), "{:?}", checked.0);
    // (The last few read what is shown; the run that fails does not come to it.)
    assert!(checked.1 <= without.1 && without.1 - checked.1 < 30, "{} and {}", without.1, checked.1);
    Ok(())
}

/// What `f` gives, with how many submissions (those that values are read with are some) and dispatches.
fn counted<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, u64, u64)> {
    let before = Device::Gpu.stats()?;
    let result = f()?;
    let now = Device::Gpu.stats()?;
    Ok((result, now.submits - before.submits, now.dispatches - before.dispatches))
}

/// A plan of many dispatches: products that follow each other.
fn products(x: &Tensor) -> Result<Tensor> {
    (0..20).try_fold(x.clone(), |y, _| (y.matmul(x)? * 0.05)?.tanh())
}

#[test]
fn a_driver_that_waits_two_seconds_resets_the_device() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let x = Tensor::from_vec(numbers(&[96, 96], 3), [96, 96], device)?;
    let compute = || -> Result<Vec<u32>> {
        let y = products(&x)?;
        let sum = y.sum(0, false)?;
        wgrad::eval(&[&y, &sum])?;
        let values = [y.to_vec::<f32>()?, sum.to_vec()?].concat();
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    let (whole, submits, dispatches) = counted(compute)?;
    // One, and one for each value that is read.
    assert_eq!(submits, 1 + 2);
    assert!(dispatches >= 20, "{dispatches}");
    // No time at all: every dispatch is a piece of its own.
    device.limit_submissions(Duration::ZERO)?;
    assert_eq!(counted(compute)?, (whole.clone(), dispatches + 2, dispatches));
    // A part of what all of them take, whatever that is here.
    let mut seen = Vec::new();
    for microseconds in [10, 30, 100, 300, 1000, 3000, 10_000] {
        device.limit_submissions(Duration::from_micros(microseconds))?;
        let (values, submits, again) = counted(compute)?;
        assert_eq!((&values, again), (&whole, dispatches));
        seen.push(submits - 2);
    }
    assert!(seen.iter().any(|&n| 1 < n && n < dispatches), "{seen:?}");
    // Kernels are timed in pieces as well, and each is counted once.
    device.limit_submissions(Duration::ZERO)?;
    let profile = device.profile(|| products(&x)?.eval())?;
    let (_, _, calls) = counted(|| products(&x)?.eval())?;
    assert_eq!(profile.kernels.iter().map(|k| k.calls).sum::<u64>(), calls);
    device.limit_submissions(Duration::MAX)?;
    assert_eq!(counted(compute)?, (whole, 1 + 2, dispatches));
    Ok(())
}

#[derive(Debug)]
struct Halved;

impl CustomOp for Halved {
    fn name(&self) -> &'static str {
        "halved"
    }
    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(inputs[0])
    }
    fn cpu(&self, inputs: &[&[f32]], _: &[Shape], output: &mut [f32]) -> Result<()> {
        output.iter_mut().zip(inputs[0]).for_each(|(y, x)| *y = 0.5 * x);
        Ok(())
    }
    fn gpu(&self, shapes: &[Shape]) -> Option<CustomKernel> {
        let source = "
            @group(0) @binding(1) var<storage, read> x: array<f32>;
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;
            @compute @workgroup_size(256)
            fn main(
                @builtin(workgroup_id) group: vec3<u32>,
                @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) local: u32,
            ) {
                let i = (group.y * groups.x + group.x) * 256u + local;
                if i < arrayLength(&y) { y[i] = 0.5 * x[i]; }
            }";
        Some(CustomKernel::new(source, shapes[0].numel(), 256))
    }
    fn vjp(&self, _: &[Tensor], _: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some((grad * 0.5)?)])
    }
}

/// Nobody knows how long it takes: at worst each of its invocations goes through all that there is.
#[test]
fn a_kernel_from_outside_keeps_the_others_waiting_in_one_submission() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let op = Arc::new(Halved);
    let compute = |n: usize, outside: bool| -> Result<Vec<u32>> {
        let x = (Tensor::arange(0, n as i64, device)?.cast(DType::F32)? * 0.001)?.sin()?;
        let sums = x.cumsum(0)?;
        let y = if outside { apply_custom(op.clone(), &[&sums])? } else { (sums * 0.5)?.cumsum(0)? };
        let z = y.cumsum(0)?;
        Ok(z.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    // A small one is no reason for more submissions: one, and one for the value that is read.
    assert_eq!(counted(|| compute(1000, true))?.1, 1 + 1);
    device.limit_submissions(Duration::MAX)?;
    let (whole, submits, _) = counted(|| compute(400_000, true))?;
    assert_eq!(submits, 1 + 1);
    // There are times at which it is cut off on both sides, and one like it of our own is not.
    let mut seen = Vec::new();
    for milliseconds in [1000, 300, 100, 30, 10, 3, 1] {
        device.limit_submissions(Duration::from_millis(milliseconds))?;
        let (values, submits, _) = counted(|| compute(400_000, true))?;
        assert_eq!(values, whole);
        seen.push((submits - 1, counted(|| compute(400_000, false))?.1 - 1));
    }
    assert!(seen.contains(&(3, 1)), "{seen:?}");
    Ok(())
}

#[test]
fn a_run_in_pieces_has_other_bits() -> Result<()> {
    let _alone = alone();
    let (set, _) = data::synthetic::digits(200, 10, 5).into_datasets()?;
    let train = |patience: Duration| {
        Device::Gpu.limit_submissions(patience)?;
        counted(|| {
            let mut trainer = trainer()?;
            trainer.fit(&set, fit())?;
            bits(&trainer)
        })
    };
    let (whole, few, dispatches) = train(Duration::MAX)?;
    let (pieces, many, again) = train(Duration::ZERO)?;
    assert_eq!(pieces, whole);
    assert_eq!(again, dispatches);
    assert!(many > dispatches && few < dispatches, "{few} submissions, {many} in pieces");
    // The checks of the engine's own table hold in pieces, too.
    agree("softmax", &[&[37, 300]], |x| x[0].softmax(-1))?;
    agree("a long sum", &[&[200_000]], |x| x[0].sum(.., false))?;
    agree("running sums", &[&[5, 3000]], |x| x[0].cumsum(1))?;
    agree("rows picked", &[&[50, 9]], |x| {
        let rows: Vec<i32> = (0..400).map(|i| (i * 37) % 50).collect();
        x[0].index_select(0, &Tensor::from_vec(rows, [400], x[0].device())?)
    })?;
    agree("convolution", &[&[2, 9, 9, 4], &[3, 3, 4, 8]], |x| x[0].conv2d(&x[1], Conv2dOptions::default()))?;
    Ok(())
}

#[test]
fn what_goes_wrong_in_a_piece_is_lost() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    device.limit_submissions(Duration::ZERO)?;
    let x = Tensor::from_vec(numbers(&[64, 64], 3), [64, 64], device)?;
    // An index outside its axis, in the middle of the plan.
    let rows = (Tensor::arange(0, 64, device)? + 1.0)?;
    let picked = || products(&products(&x)?.index_select(0, &rows)?);
    let message = picked()?.to_vec::<f32>().unwrap_err().to_string();
    assert!(message.contains("64"), "{message}");
    picked()?.eval()?;
    assert!(device.synchronize().is_err());
    device.synchronize()?;
    assert_eq!(products(&x)?.numel(), products(&x)?.to_vec::<f32>()?.len());
    // No room: nothing of it ran, and the device goes on.
    let huge = x.reshape([4096, 1])?.broadcast_to([4096, 1 << 19])?;
    match (&huge + 1.0)?.eval() {
        Err(Error::OutOfMemory { .. }) => {}
        other => panic!("{other:?}"),
    }
    let expected = products(&x)?.to_vec::<f32>()?;
    assert_eq!(products(&x)?.to_vec::<f32>()?, expected);
    // A device that is lost says so, whichever piece it was at; the next one cuts as it wants.
    device.simulate_loss()?;
    is_lost(products(&x)?.to_vec::<f32>());
    let x = Tensor::from_vec(numbers(&[64, 64], 3), [64, 64], device)?;
    let (values, submits, _) = counted(|| products(&x)?.to_vec::<f32>())?;
    assert_eq!((values, submits), (expected, 1 + 1));
    Ok(())
}
