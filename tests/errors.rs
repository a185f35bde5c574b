//! What bad input says: each error names the operation, what was given, what was expected and the likely fix. And nothing
//! panics, whatever it is given.

mod common;

use common::{Domain, Input, Rng};
use std::panic::{AssertUnwindSafe, catch_unwind};
use wgrad::prelude::*;
use wgrad::{Conv2dOptions, INFER, Pool2dOptions};

const CPU: Device = Device::Cpu;

/// Fails unless the result is an error whose message has all of these parts.
#[track_caller]
fn says<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error; expected one that says {parts:?}") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn ones(dims: &[usize]) -> Result<Tensor> {
    Tensor::ones(dims, CPU)
}

#[test]
fn creation() -> Result<()> {
    says(
        Tensor::from_slice(&[1.0f32, 2.0, 3.0], [2, 2], CPU),
        &["from_slice", "3 elements given", "[2, 2]", "4"],
    );
    says(Tensor::new(vec![vec![1.0f32], vec![1.0, 2.0]], CPU), &["rows differ", "[1]", "[2]", "row 1"]);
    says(Tensor::zeros([1; 9], CPU), &["9 dimensions", "8"]);
    says(Tensor::zeros([1 << 20, 1 << 20], CPU), &["2^32"]);
    says(Tensor::arange(5, 3, CPU), &["arange", "5..3"]);
    says(Tensor::randint(3, 3, [2], CPU, 1), &["randint", "3..3"]);
    says(ones(&[2])?.one_hot(3), &["one_hot", "f32", "integers"]);
    Ok(())
}

#[test]
fn borders_and_draws() -> Result<()> {
    use wgrad::PadMode::{Circular, Reflect, Replicate};
    let x = ones(&[2, 3])?;
    says(x.pad_mode([(1, 1)], Reflect), &["pad_mode", "1 pairs", "[2, 3]", "one per axis"]);
    says(
        x.pad_mode([(0, 0), (0, 3)], Reflect),
        &["pad_mode", "axis 1", "length 3", "border of 3", "at most one of 2"],
    );
    says(x.pad_mode([(3, 0), (0, 0)], Circular), &["axis 0", "length 2", "at most one of 2"]);
    says(ones(&[0])?.pad_mode([(1, 0)], Replicate), &["axis 0", "length 0"]);
    says(x.pad_mode([(usize::MAX, 0), (0, 0)], Replicate), &["pad_mode", "2^32"]);
    assert_eq!(ones(&[0])?.pad_mode([(0, 0)], Reflect)?.dims(), [0]);
    says(x.cast(DType::I32)?.bernoulli(1), &["bernoulli", "i32", "float"]);
    says(x.cast(DType::I32)?.multinomial(1, true, 1), &["multinomial", "i32", "float"]);
    says(ones(&[])?.multinomial(1, true, 1), &["multinomial", "scalar", "[.., classes]"]);
    says(ones(&[2, 0])?.multinomial(1, true, 1), &["multinomial", "[2, 0]", "no classes"]);
    let weights = |w: [f32; 3]| Tensor::new([[1.0, 1.0, 1.0], w], CPU);
    says(weights([1.0, -1.0, 0.0])?.multinomial(1, true, 1), &["class 1", "row 1", "-1", "not negative"]);
    says(weights([1.0, 1.0, f32::NAN])?.multinomial(1, true, 1), &["class 2", "row 1", "NaN"]);
    says(weights([0.0; 3])?.multinomial(4, true, 1), &["row 1", "0 classes", "weight above 0"]);
    says(weights([1.0, 0.0, 2.0])?.multinomial(3, false, 1), &["row 1", "2 classes", "without replacement"]);
    assert_eq!(weights([0.0; 3])?.multinomial(0, true, 1)?.dims(), [2, 0]);
    assert_eq!(ones(&[0, 3])?.multinomial(4, true, 1)?.dims(), [0, 4]);
    says(x.shuffle(2, 1), &["shuffle", "axis 2", "[2, 3]"]);
    says(Tensor::randperm(1 << 31, CPU, 1), &["randperm", "i32"]);
    Ok(())
}

#[test]
fn matmul() -> Result<()> {
    says(
        ones(&[128, 576])?.matmul(ones(&[64, 10])?),
        &["matmul: inner dimensions differ: lhs [128, 576], rhs [64, 10] (576 vs 64)"],
    );
    says(ones(&[4, 3])?.matmul(ones(&[5, 3])?), &["(3 vs 5)", "did you mean rhs.transpose()?"]);
    says(ones(&[3, 4])?.matmul(ones(&[3, 5])?), &["(4 vs 3)", "did you mean lhs.transpose()?"]);
    says(ones(&[2, 3, 4])?.matmul(ones(&[3, 4, 5])?), &["batch dimensions", "[2, 3, 4]", "[3, 4, 5]"]);
    says(ones(&[])?.matmul(ones(&[2])?), &["matmul", "at least one dimension"]);
    says(
        ones(&[2, 2])?.cast(DType::I32)?.matmul(ones(&[2, 2])?.cast(DType::I32)?),
        &["matmul", "i32", "cast(DType::F32)"],
    );
    Ok(())
}

#[test]
fn broadcasting_and_element_types() -> Result<()> {
    says(ones(&[2, 3])? + ones(&[4])?, &["add", "[2, 3]", "[4]", "broadcast", "equal or 1"]);
    says(ones(&[2, 3])?.lt(ones(&[3, 2])?), &["lt", "[2, 3]", "[3, 2]"]);
    says(ones(&[3])?.broadcast_to([2, 2]), &["broadcast_to", "[3]", "[2, 2]"]);
    let whole = ones(&[2])?.cast(DType::I32)?;
    says(ones(&[2])? * &whole, &["mul", "f32", "i32", "cast"]);
    says(&whole + 0.5, &["0.5", "i32", "cast the tensor to f32"]);
    says(ones(&[2])?.cast(DType::U8)? + -1, &["-1", "u8"]);
    says(whole.exp(), &["exp", "float", "i32", ".cast(DType::F32)"]);
    says(whole.tan(), &["tan", "float", "i32", ".cast(DType::F32)"]);
    says(whole.atan2(1), &["atan2", "float", "i32", ".cast(DType::F32)"]);
    says(ones(&[2])? & 1, &["bitwise_and", "integer", "f32", ".cast(DType::I32)"]);
    says(ones(&[2])?.bitwise_not(), &["bitwise_not", "integer", "f32"]);
    says(&whole << 0.5, &["0.5", "i32"]);
    says(ones(&[2])?.cast(DType::U8)? % &whole, &["fmod", "u8", "i32", "cast"]);
    says(ones(&[2, 3])?.remainder(ones(&[4])?), &["remainder", "[2, 3]", "[4]"]);
    says(whole.mean(.., false), &["mean", "i32", "cast"]);
    says(ones(&[2])?.select(1.0, 2.0), &["where", "f32", "u8", "comparison"]);
    says(ones(&[2])?.clamp(2.0, 1.0), &["clamp", "2..=1"]);
    says(ones(&[2])?.clamp(f64::NAN, 1.0), &["clamp", "NaN"]);
    says(ones(&[2])?.to_vec::<i32>(), &["to_vec", "f32", "i32", "cast"]);
    says(ones(&[2])?.cast(DType::F64)? + ones(&[2])?, &["add", "f64", "f32"]);
    Ok(())
}

#[test]
fn shapes_and_axes() -> Result<()> {
    let x = ones(&[2, 3])?;
    says(x.reshape([4]), &["reshape", "[2, 3]", "6 elements", "4", "INFER"]);
    says(x.reshape([INFER, 4]), &["reshape", "6 elements", "multiple of 4"]);
    says(x.reshape([INFER, INFER]), &["reshape", "only one"]);
    says(x.reshape([INFER, 0]), &["reshape"]);
    says(x.sum(2, false), &["sum", "axis 2", "[2, 3]", "-2 to 1"]);
    says(x.max([0, -2], false), &["max", "twice"]);
    says(x.softmax(-3), &["softmax", "axis -3"]);
    says(x.squeeze(0), &["squeeze", "axis 0", "length 2"]);
    says(x.unsqueeze(4), &["unsqueeze", "axis 4"]);
    says(x.permute([0, 0]), &["permute", "[0, 0]", "every axis once"]);
    says(x.permute([0]), &["permute", "1 axes", "[2, 3]"]);
    says(ones(&[3])?.transpose(), &["transpose", "[3]"]);
    says(x.slice(1, 2, 2), &["slice", "axis 1", "length 3"]);
    says(x.slice_step(0, 0, 1, 0), &["slice"]);
    says(x.cumsum(2), &["cumsum", "axis 2", "[2, 3]"]);
    says(x.cast(DType::I32)?.cumsum(0), &["cumsum", "i32"]);
    says(x.cumprod(2), &["cumprod", "axis 2", "[2, 3]"]);
    says(x.cast(DType::I32)?.cumprod(0), &["cumprod", "i32"]);
    says(x.slice_step(1, 1, 3, -1), &["slice", "by -1"]);
    says(x.flip(5), &["flip", "axis 5"]);
    says(x.pad([(1, 1)], 0.0), &["pad", "1 pairs", "[2, 3]", "one per axis"]);
    says(x.item::<f32>(), &["item", "[2, 3]", "6 elements", "not one"]);
    says(Tensor::concat::<Tensor>(&[], 0), &["concat", "at least one"]);
    says(Tensor::concat(&[&x, &ones(&[3, 3])?], 1), &["concat", "[2, 3]", "[3, 3]", "axis 1"]);
    says(Tensor::concat(&[&x, &ones(&[2])?], 0), &["concat", "[2, 3]", "[2]"]);
    says(Tensor::stack(&[&x, &ones(&[2, 2])?], 0), &["[1, 2, 3]", "[1, 2, 2]"]);
    Ok(())
}

#[test]
fn reductions_of_nothing() -> Result<()> {
    let empty = ones(&[0, 3])?;
    says(empty.max(.., false), &["max", "no elements", "[0, 3]"]);
    says(empty.min(0, false), &["min", "no elements"]);
    says(empty.argmax(0, false), &["argmax", "no elements"]);
    assert_eq!(empty.max(1, false)?.dims(), [0]);
    assert_eq!(empty.sum(0, false)?.to_vec::<f32>()?, [0.0; 3]);
    assert_eq!(empty.prod(.., false)?.item::<f32>()?, 1.0);
    assert_eq!(empty.cumsum(0)?.dims(), [0, 3]);
    assert_eq!(empty.cumprod(1)?.dims(), [0, 3]);
    assert!(empty.mean(.., false)?.item::<f32>()?.is_nan());
    Ok(())
}

#[test]
fn images() -> Result<()> {
    let options = Conv2dOptions::default();
    let w = ones(&[3, 3, 3, 8])?;
    says(
        ones(&[2, 3, 28, 28])?.conv2d(&w, options),
        &["conv2d", "[3, 3, 3, 8]", "[2, 3, 28, 28]", "NCHW", "[0, 2, 3, 1]"],
    );
    says(ones(&[2, 9, 9, 4])?.conv2d(&w, options), &["conv2d", "takes 3 channels", "has 4"]);
    says(ones(&[9, 9, 3])?.conv2d(&w, options), &["conv2d", "[9, 9, 3]", "[n, h, w, c]"]);
    says(ones(&[1, 2, 9, 3])?.conv2d(&w, options), &["conv2d", "3 rows", "2", "Padding::Same"]);
    says(ones(&[1, 9, 9, 3])?.conv2d(&w, options.stride([0, 1])), &["conv2d", "stride [0, 1]", "at least 1"]);
    says(ones(&[1, 9, 9, 3])?.conv2d(&w, options.groups(2)), &["conv2d", "3 input and 8 output", "2 groups"]);
    says(ones(&[9, 9])?.max_pool2d(Pool2dOptions::new([2, 2])), &["max_pool2d", "[9, 9]", "[n, h, w, c]"]);
    says(ones(&[1, 2, 2, 1])?.avg_pool2d(Pool2dOptions::new([3, 3])), &["avg_pool2d", "3 rows"]);
    says(ones(&[9, 9])?.adaptive_avg_pool2d([1, 1]), &["adaptive_avg_pool2d", "[9, 9]", "[n, h, w, c]"]);
    says(ones(&[1, 0, 2, 1])?.adaptive_max_pool2d([1, 1]), &["adaptive_max_pool2d", "[0, 2]", "nothing"]);
    says(ones(&[1, 3, 2, 1])?.adaptive_max_pool2d([0, 1]), &["adaptive_max_pool2d", "[0, 1]", "at least 1"]);
    let padding = Padding::Explicit([2, 0, 0, 0]);
    let wide = Pool2dOptions::new([2, 2]).padding(padding);
    says(ones(&[1, 4, 4, 1])?.max_pool2d(wide), &["max_pool2d", "[2, 0, 0, 0]", "[2, 2]"]);
    Ok(())
}

#[test]
fn indices_and_labels() -> Result<()> {
    let x = ones(&[4, 3])?;
    let at = |values: &[i32]| Tensor::new(values.to_vec(), CPU);
    says(
        x.index_select(0, &at(&[1, 4])?)?.to_vec::<f32>(),
        &["index_select", "index 4", "position 1", "length 4"],
    );
    says(x.index_select(0, &at(&[-1])?)?.to_vec::<f32>(), &["index_select", "position 0", "length 4"]);
    says(x.index_select(0, &x), &["index_select", "integers", "f32"]);
    says(x.gather(1, &at(&[0])?), &["gather", "[4, 3]", "same rank"]);
    says(x.gather(1, &Tensor::new([[3i32]], CPU)?).and_then(|t| t.to_vec::<f32>()), &["gather", "axis 1"]);
    says(x.cross_entropy(&at(&[0, 1])?), &["cross_entropy", "[4, 3]", "[2]", "integer labels [4]"]);
    says(
        x.cross_entropy(&at(&[0, 3, 1, 2])?)?.item::<f32>(),
        &["cross_entropy", "label 3", "row 1", "3 classes"],
    );
    says(x.cross_entropy(&ones(&[4])?), &["cross_entropy", "probabilities [4, 3]"]);
    says(x.cast(DType::I32)?.cross_entropy(&at(&[0, 0, 0, 0])?), &["cross_entropy", "logits", "i32"]);
    Ok(())
}

#[test]
fn writes_by_index_and_sorts() -> Result<()> {
    let x = ones(&[4, 3])?;
    let at = |values: &[i32]| Tensor::new(values.to_vec(), CPU);
    let two = Tensor::new([[0, 1]], CPU)?;
    says(x.scatter(0, &at(&[0])?, 1.0), &["scatter", "[4, 3]", "same rank"]);
    says(x.scatter(0, &x, &x), &["scatter", "integers", "f32"]);
    says(x.scatter(1, &two, &ones(&[3])?), &["scatter", "values [3]", "expected [1, 2]"]);
    says(x.scatter(1, &two, &two), &["scatter", "f32 and i32", "cast"]);
    says(x.scatter_add(2, &two, 1.0), &["scatter_add", "axis 2"]);
    says(x.scatter_add(0, &ones(&[1, 4])?.cast(DType::I32)?, 1.0), &["scatter_add", "[1, 4]", "no larger"]);
    says(ones(&[0, 3])?.scatter(0, &two, 1.0), &["scatter", "axis 0", "no index fits"]);
    says(x.index_add(0, &two, &x), &["index_add", "[1, 2]", "one dimension"]);
    says(x.index_add(0, &at(&[0, 1])?, &x), &["index_add", "values [4, 3]", "expected [2, 3]"]);
    says(x.index(&[]), &["index", "0 tensors", "[4, 3]"]);
    says(x.index(&[&two, &two, &two]), &["index", "3 tensors"]);
    says(x.index(&[&at(&[0, 1])?, &at(&[0, 1, 2])?]), &["index", "[2], [3]", "one shape"]);
    says(x.index(&[&x]), &["index", "axis 0", "f32"]);
    says(x.index_put(&[&at(&[0])?], &ones(&[2])?, true), &["index_put", "values [2]", "[1, 3]"]);
    says(
        x.take_along_axis(0, &ones(&[2, 2])?.cast(DType::U8)?),
        &["take_along_axis", "[2, 2]", "equal or 1"],
    );
    for device in [CPU, Device::Gpu] {
        let x = x.to_device(device)?;
        let out = |value: i32| Tensor::new([[0], [value]], device);
        for value in [4, -1] {
            let at = out(value)?;
            let bad = &[&format!("index {value}")[..], "axis 0", "length 4"];
            says(x.scatter(0, &at, 1.0)?.to_vec::<f32>(), &[&["scatter"], &bad[..]].concat());
            says(x.scatter_add(0, &at, 1.0)?.to_vec::<f32>(), &[&["scatter_add"], &bad[..]].concat());
            says(x.take_along_axis(0, &at)?.to_vec::<f32>(), &[&["take_along_axis"], &bad[..]].concat());
            says(x.index(&[&at])?.to_vec::<f32>(), &[&["index:"], &bad[..]].concat());
            says(x.index_put(&[&at], 1.0, false)?.to_vec::<f32>(), &[&["index_put"], &bad[..]].concat());
            says(x.index_add(0, &at.squeeze(1)?, 1.0)?.to_vec::<f32>(), &[&["index_add"], &bad[..]].concat());
        }
        says(x.index(&[&out(0)?, &out(3)?])?.to_vec::<f32>(), &["index: index 3", "axis 1 of length 3"]);
    }
    says(x.sort(2, false), &["sort", "axis 2", "[4, 3]"]);
    says(x.argsort(-3, false), &["argsort", "axis -3"]);
    says(x.topk(4, 1), &["topk", "k = 4", "has 3"]);
    says(x.median(3, false), &["median", "axis 3"]);
    says(two.median(.., false), &["median", "i32", "cast"]);
    says(ones(&[0, 2])?.quantile(0.5, 0, false), &["quantile", "no elements", "[0, 2]"]);
    says(x.quantile(1.5, 0, false), &["quantile", "1.5", "0 to 1"]);
    says(x.quantile(f64::NAN, 0, false), &["quantile", "NaN"]);
    says(x.masked_select(&x), &["masked_select", "f32", "u8"]);
    says(x.masked_select(&ones(&[2])?.gt(0.0)?), &["masked_select", "[4, 3]", "[2]"]);
    assert_eq!(ones(&[0, 2])?.sort(0, true)?.dims(), [0, 2]);
    assert_eq!(ones(&[3, 0])?.topk(2, 0)?.1.dims(), [2, 0]);
    assert_eq!(ones(&[0])?.unique()?.values.dims(), [0]);
    Ok(())
}

#[test]
fn gradients() -> Result<()> {
    let x = ones(&[2, 3])?.watch()?;
    says((&x * 2.0)?.backward(), &["backward", "[2, 3]", "mean", "backward_with"]);
    says(ones(&[])?.backward(), &["backward", "does not depend"]);
    says(x.sum(.., false)?.backward()?.get(&ones(&[2])?), &["Gradients::get", "watch"]);
    Ok(())
}

#[test]
fn an_error_when_computing_leaves_the_graph_usable() -> Result<()> {
    let (x, bad) = (ones(&[2])?, Tensor::new([7i32], CPU)?);
    let h = (&x * 3.0)?;
    let y = (h.index_select(0, &bad)? + 1.0)?;
    for _ in 0..2 {
        says(y.to_vec::<f32>(), &["index 7"]);
    }
    assert_eq!((h + 1.0)?.to_vec::<f32>()?, [4.0, 4.0]);
    Ok(())
}

#[test]
fn f64_on_the_gpu() -> Result<()> {
    let gpu = Device::Gpu;
    let x = Tensor::ones([2], gpu)?;
    says(x.cast(DType::F64), &["cast", "f64", "Device::Cpu"]);
    says(Tensor::full_dtype([2], 1.0, DType::F64, gpu), &["full", "f64", "cast to f32"]);
    says(Tensor::new([1.0f64], gpu), &["f64"]);
    says(ones(&[2])?.cast(DType::F64)?.to_device(gpu), &["to_device", "f64"]);
    Ok(())
}

#[test]
fn two_devices_in_one_operation() -> Result<()> {
    let (x, y) = (ones(&[2, 2])?, Tensor::ones([2, 2], Device::Gpu)?);
    says(&x + &y, &["add", "different devices (cpu and gpu)", "to_device"]);
    says(y.matmul(&x), &["matmul", "(gpu and cpu)"]);
    says(Tensor::concat(&[&x, &y], 0), &["concat", "to_device"]);
    says(x.gt(0.0)?.select(&x, &y), &["where", "to_device"]);
    let w = Variable::new(x.clone());
    says(w.set(&y), &["Variable::set", "cpu", "gpu"]);
    assert_eq!((&x + y.to_device(CPU)?)?.to_vec::<f32>()?, [2.0; 4]);
    Ok(())
}

#[test]
fn unknown_devices() {
    says("no such adapter".parse::<Device>(), &["no such adapter"]);
    says("cuda".parse::<Device>(), &["\"cuda\"", "cpu, gpu", "best", "adapter's name"]);
    says(" ".parse::<Device>(), &["names no device"]);
    says(Device::adapter(4711), &["4711"]);
    assert_eq!("cpu".parse::<Device>().ok(), Some(CPU));
    assert!(Device::list().iter().any(|d| d.device == CPU));
}

/// Arguments that a careless or hostile caller might give.
struct Bad(Rng);

impl Bad {
    fn axis(&mut self) -> isize {
        self.0.pick(&[0, 0, 1, 1, 2, 3, -1, -1, -2, -4, 7, isize::MAX, isize::MIN])
    }
    fn axes(&mut self) -> Vec<isize> {
        (0..self.0.int(0, 3)).map(|_| self.axis()).collect()
    }
    fn size(&mut self) -> usize {
        self.0.pick(&[
            0,
            1,
            1,
            2,
            2,
            3,
            3,
            4,
            5,
            6,
            12,
            1 << 20,
            1 << 33,
            usize::MAX / 2,
            usize::MAX - 1,
            usize::MAX,
        ])
    }
    fn small(&mut self) -> usize {
        self.0.pick(&[0, 1, 1, 2, 2, 3])
    }
    fn sizes(&mut self, most: usize) -> Vec<usize> {
        (0..self.0.int(0, most)).map(|_| self.size()).collect()
    }
    fn number(&mut self) -> f64 {
        self.0.pick(&[0.0, 1.0, -1.0, 2.0, 0.5, 255.0, 256.0, 1e300, -1e300, f64::NAN, f64::INFINITY, -0.0])
    }
    fn step(&mut self) -> isize {
        self.0.pick(&[1, 1, 2, -1, -2, 0, isize::MIN, isize::MAX])
    }
    fn padding(&mut self) -> Padding {
        match self.0.int(0, 3) {
            0 => Padding::Valid,
            1 => Padding::Same,
            2 => Padding::Explicit([self.small(), self.small(), self.small(), self.small()]),
            _ => Padding::Explicit([self.size(), self.size(), self.size(), self.size()]),
        }
    }
    fn pair(&mut self) -> [usize; 2] {
        match self.0.int(0, 4) {
            0 => [self.size(), self.size()],
            _ => [self.small().max(1), self.small().max(1)],
        }
    }

    fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.int(0, from.len() - 1)]
    }

    /// A call of any method with any arguments.
    fn call(&mut self, pool: &[Tensor]) -> Result<Tensor> {
        let (x, y, z) = (self.one_of(pool), self.one_of(pool), self.one_of(pool));
        match self.0.int(0, 50) {
            0 => x + y,
            1 => x - self.number(),
            2 => x * y,
            3 => x / y,
            4 => x.pow(y),
            5 => x.maximum(self.number()),
            6 => x.minimum(y),
            7 => x.eq(y),
            8 => x.lt(self.number()),
            9 => x.select(y, z),
            10 => x.select(self.number(), y),
            11 => x.exp(),
            12 => x.neg()?.abs()?.sign(),
            13 => x.sqrt()?.gelu()?.erf(),
            14 => x.clamp(self.number(), self.number()),
            15 => x.cast(self.0.pick(&[DType::F32, DType::F64, DType::I32, DType::U32, DType::U8])),
            16 => x.sum(self.axes(), self.0.flag()),
            17 => x.mean(self.axes(), self.0.flag()),
            18 => x.max(self.axes(), self.0.flag()),
            19 => x.prod(self.axes(), self.0.flag()),
            20 => x.argmax(self.axis(), self.0.flag()),
            21 => x.argmin(self.axis(), self.0.flag()),
            22 => x.reshape(self.sizes(4)),
            23 => x.flatten(self.axis()),
            24 => x.permute(self.axes()),
            25 => x.transpose(),
            26 => x.swap_axes(self.axis(), self.axis()),
            27 => x.broadcast_to(self.sizes(4)),
            28 if self.0.flag() => x.update_slice(self.axis(), self.size(), y),
            28 => x.slice(self.axis(), self.size(), self.size()),
            29 => x.slice_step(self.axis(), self.small(), self.size(), self.step()),
            30 => x.flip(self.axis())?.cumsum(self.axis())?.cumprod(self.axis()),
            31 => Tensor::concat(&[x, y, z], self.axis()),
            32 => Tensor::stack(&[x, y], self.axis()),
            33 => x.squeeze(self.axis()),
            34 => x.unsqueeze(self.axis()),
            35 => {
                let pads: Vec<_> = (0..self.0.int(0, 4)).map(|_| (self.size(), self.small())).collect();
                x.pad(pads, self.number())
            }
            36 if self.0.flag() => self.sorted_or_written([x, y, z]),
            36 => x.gather(self.axis(), y),
            37 => x.index_select(self.axis(), y),
            38 => x.matmul(y),
            39 => {
                let options = Conv2dOptions::new()
                    .stride(self.pair())
                    .padding(self.padding())
                    .dilation(self.pair())
                    .groups(self.small());
                x.conv2d(y, options)
            }
            40 if self.0.flag() => x.adaptive_max_pool2d(self.pair())?.adaptive_avg_pool2d(self.pair()),
            40 => x.max_pool2d(self.pool()),
            41 => x.avg_pool2d(self.pool()),
            42 => x.softmax(self.axis())?.log_softmax(self.axis()),
            43 => x.cross_entropy(y),
            44 => x.one_hot(self.size()),
            45 => match self.0.int(0, 4) {
                0 => Tensor::arange(self.axis() as i64, self.axis() as i64, x.device()),
                1 => Tensor::eye(self.size(), x.device()),
                2 => Tensor::linspace(self.number(), self.number(), self.size(), x.device()),
                3 => Tensor::randint(self.axis() as i32, self.axis() as i32, self.sizes(3), x.device(), 1),
                _ => Tensor::randn(self.sizes(3), x.device(), 1),
            },
            46..=49 => self.made_of_others([x, y, z]),
            _ => {
                let watched = x.watch()?;
                let y = (&watched * y)?.sum(.., false)?;
                y.backward()?.get(&watched)
            }
        }
    }

    /// A call of what sorts, or reads and writes by index.
    fn sorted_or_written(&mut self, [x, y, z]: [&Tensor; 3]) -> Result<Tensor> {
        match self.0.int(0, 13) {
            0 => x.sort(self.axis(), self.0.flag()),
            1 => x.argsort(self.axis(), self.0.flag()),
            2 => Ok(x.topk(self.small(), self.axis())?.0),
            3 => Ok(x.topk(self.size(), self.axis())?.1),
            4 => x.quantile(self.number(), self.axes(), self.0.flag())?.median(self.axis(), true),
            5 => Ok(x.unique()?.inverse),
            6 => x.nonzero(),
            7 => x.masked_select(y),
            8 => x.take_along_axis(self.axis(), y),
            9 => x.scatter(self.axis(), y, z),
            10 => x.scatter_add(self.axis(), y, self.number()),
            11 => x.index_add(self.axis(), y, z),
            12 => x.index(&[y, z][..self.0.int(0, 2)]),
            _ => x.index_put(&[y, z][..self.0.int(1, 2)], self.number(), self.0.flag()),
        }
    }

    /// A call of what is made of other operations.
    fn made_of_others(&mut self, [x, y, z]: [&Tensor; 3]) -> Result<Tensor> {
        let first = |parts: Vec<Tensor>| parts.into_iter().next().ok_or_else(|| Error::other("no parts"));
        match self.0.int(0, 25) {
            0 => x.roll(self.step(), self.axis()),
            1 => x.repeat(self.size(), self.axis()),
            2 => x.tile(self.sizes(4)),
            3 => first(x.split(self.size(), self.axis())?),
            4 => first(x.split(self.sizes(3), self.axis())?),
            5 => first(x.chunk(self.size(), self.axis())?),
            6 => x.tril(self.axis()),
            7 => x.triu(self.step())?.trace(),
            8 => x.diag(self.axis()),
            9 => x.diagonal(self.step(), self.axis(), self.axis()),
            10 => first(Tensor::meshgrid(&[x, y, z])?),
            11 => {
                let equations = [
                    "ij,jk",
                    "ii",
                    "...i,i...",
                    "i,j,k->kij",
                    "ij,kl->",
                    "i->ij",
                    ",",
                    "ab->",
                    "...,...->...",
                    "a,a,a->a",
                ];
                let equation = *self.one_of(&equations);
                Tensor::einsum(equation, &[x, y, z][..equation.split(',').count()])
            }
            12 => x.tensordot(y, self.axes(), self.axes()),
            13 => x.outer(y)?.dot(z),
            14 => x.addmm(y, z),
            15 => x.lerp(y, self.number()),
            16 => x.any(self.axes(), self.0.flag())?.all(self.axes(), self.0.flag()),
            17 => x.bincount(self.small()),
            18 => x.logsumexp(self.axes(), self.0.flag()),
            19 => x.norm_p(self.number(), self.axes(), self.0.flag()),
            20 => x.logical_and(y)?.logical_xor(z)?.count_nonzero(self.axes(), self.0.flag()),
            21 => x.masked_fill(y, self.number())?.nan_to_num()?.isfinite(),
            22 => x.remainder(y)?.floor_divide(z)? % self.number(),
            23 => (((x & y)? | z)? ^ !x)?.shl(y)? >> z,
            24 => x.tan()?.atan2(y)?.asin()?.round()?.acosh(),
            _ => x.log2()?.exp2()?.sinh()?.rsqrt(),
        }
    }

    fn pool(&mut self) -> Pool2dOptions {
        let (count_include_pad, ceil_mode) = (self.0.flag(), self.0.flag());
        Pool2dOptions::new(self.pair())
            .ceil_mode(ceil_mode)
            .stride(self.pair())
            .padding(self.padding())
            .count_include_pad(count_include_pad)
    }
}

/// Tensors of all types and of odd shapes.
fn odd_tensors(rng: &mut Rng, device: Device) -> Result<Vec<Tensor>> {
    let shapes: [&[usize]; 11] =
        [&[], &[0], &[1], &[3], &[2, 3], &[3, 0], &[0, 2, 2], &[2, 4, 3, 2], &[2, 2, 2, 2], &[1; 8], &[3, 3]];
    let mut pool = Vec::new();
    for dims in shapes {
        pool.push(Input::float(rng, dims, Domain::Ties).tensor(device, DType::F32)?);
        for dtype in [DType::I32, DType::U32, DType::U8] {
            pool.push(Input::int(rng, dtype, dims, Domain::Whole(0, 3)).tensor(device, DType::F32)?);
        }
        pool.push(Input::float(rng, dims, Domain::Any).tensor(device, DType::F32)?.watch()?);
        if device == CPU {
            pool.push(Input::float(rng, dims, Domain::Any).tensor(device, DType::F64)?.watch()?);
        }
    }
    Ok(pool)
}

/// Makes calls at random, computes every `every`-th small result and its gradient, and feeds results back as inputs.
fn calls_never_panic(device: Device, calls: usize, every: usize, seed: u64) -> Result<()> {
    let mut bad = Bad(Rng(seed));
    let start = odd_tensors(&mut bad.0, device)?;
    let mut pool = start.clone();
    let (mut fine, mut computed) = (0, 0);
    for i in 0..calls {
        let before = bad.0.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let y = bad.call(&pool)?;
            if y.numel() <= 5000 && i % every == 0 {
                common::values(&y)?;
                if y.is_tracked() {
                    let grads = y.sum(.., false)?.backward()?;
                    wgrad::eval(&[grads.loss()])?;
                }
            }
            Ok::<_, wgrad::Error>(y)
        }));
        match outcome {
            Ok(Ok(y)) => {
                fine += 1;
                computed += usize::from(y.numel() <= 5000);
                if y.numel() <= 200 && pool.len() < start.len() + 40 {
                    pool.push(y);
                } else {
                    pool.truncate(start.len());
                }
            }
            Ok(Err(_)) => {}
            Err(_) => panic!("call {i} of seed {seed} on {device} panicked (state {:#x})", before.0),
        }
    }
    assert!(
        fine > calls / 20 && computed > calls / 40,
        "{fine} of {calls} calls were valid: too few to mean anything"
    );
    Ok(())
}

#[test]
fn nothing_panics_on_the_cpu() -> Result<()> {
    (1..=20).try_for_each(|seed| calls_never_panic(CPU, 6000, 1, seed))
}

#[test]
fn nothing_panics_on_the_gpu() -> Result<()> {
    calls_never_panic(Device::Gpu, 1500, 4, 9)
}
