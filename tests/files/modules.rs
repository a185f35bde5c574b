//! Weights of PyTorch in modules of one's own.

use super::*;
use wgrad::Pool2dOptions;
use wgrad::io::import::{self, Mapping, Weights};
use wgrad::nn::{BatchNorm, Build, Built, Context};

fn norm() -> BatchNorm {
    BatchNorm::new().momentum(0.9).epsilon(1e-5)
}

#[derive(Module)]
struct Block {
    conv: Built,
    norm: Built,
}

impl Block {
    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(x, cx)?, cx)?.relu()
    }
}

/// The network of `examples/transfer.rs` as a module, with a number of its own.
#[derive(Module)]
struct Net {
    blocks: Vec<Block>,
    head: Built,
    scale: Variable,
}

impl Net {
    fn new(together: bool, device: Device) -> Result<Net> {
        let (mut cx, mut shape) = (Build::new(device, 3), [28, 28, 1]);
        let mut blocks = Vec::new();
        for (filters, size) in [(8, 13), (16, 5), (32, 3)] {
            let conv = cx.layer(Conv2d::new(filters, [3, 3]), shape)?;
            let norm = cx.layer(norm(), conv.output)?;
            shape = [size, size, filters];
            blocks.push(Block { conv, norm });
        }
        let head = match together {
            true => cx.layer(Sequential::new().add(Flatten::new()).add_named("fc", Dense::new(5)), shape)?,
            false => cx.layer(Dense::new(5), [288])?,
        };
        Ok(Net { blocks, head, scale: cx.full([1], 1.0)? })
    }

    fn forward(&self, x: &Tensor, cx: &Context) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, cx)?;
            if i < 2 {
                x = x.max_pool2d(Pool2dOptions::new([2, 2]))?;
            }
        }
        self.head.forward(&x, cx)? * &self.scale
    }
}

/// PyTorch's weights of that network, as a model of layers reads them, and the same with the number.
fn digits(scale: f32) -> Result<(Weights, Weights)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/digits_0_to_4.pt");
    let plain = import::pytorch(path)?;
    let mut tensors = plain.tensors().to_vec();
    tensors.push(("scale".into(), Tensor::new([scale], Device::Cpu)?));
    Ok((plain, Weights::new("digits", tensors)))
}

fn reference(device: Device) -> Result<Model> {
    let conv =
        |net: Sequential, filters| net.add(Conv2d::new(filters, [3, 3])).add(norm()).add(Activation::Relu);
    let net = conv(Sequential::new(), 8).add(MaxPool2d::new([2, 2]));
    let net = conv(conv(net, 16).add(MaxPool2d::new([2, 2])), 32).add(Flatten::new()).add(Dense::new(5));
    net.build([28, 28, 1], device)
}

#[test]
fn a_module_of_ones_own_has_the_weights_of_pytorch() -> Result<()> {
    let (plain, with_scale) = digits(2.0)?;
    for device in DEVICES {
        let (model, net) = (reference(device)?, Net::new(true, device)?);
        model.import_weights(&plain, &Mapping::pytorch())?;
        with_scale.import_into(&net, &Mapping::pytorch())?;
        let x = Tensor::rand([3, 28, 28, 1], device, 1)?;
        let twice = (model.infer(&x)? * 2.0)?.to_vec::<f32>()?;
        assert_eq!(net.infer(&x)?.to_vec::<f32>()?, twice);
        // The same by names: those of the file's layers, which are counted in one list.
        let again = Net::new(true, device)?;
        let rename = |layer: &str| match layer.split('.').collect::<Vec<_>>()[..] {
            ["blocks", i, part] => {
                let place = 4 * i.parse::<usize>().unwrap() + usize::from(part == "norm");
                format!("features.{place}")
            }
            ["head", "fc"] => "head".to_string(),
            _ => layer.to_string(),
        };
        with_scale.import_into(&again, &Mapping::pytorch().rename(rename))?;
        assert_eq!(again.infer(&x)?.to_vec::<f32>()?, twice);
        // A model, a layer alone, and what points to a module, too.
        let other = reference(device)?;
        plain.import_into(&other, &Mapping::pytorch())?;
        assert_eq!((other.infer(&x)? * 2.0)?.to_vec::<f32>()?, twice);
        let boxed: Box<dyn Module> = Box::new(Net::new(true, device)?);
        with_scale.import_into(&*boxed, &Mapping::pytorch())?;
        assert_eq!(boxed.infer(&x)?.to_vec::<f32>()?, twice);
        plain.under("head").import_into(&net.head, &Mapping::pytorch())?;
        assert_eq!(net.infer(&x)?.to_vec::<f32>()?, twice);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_a_module_is_listed_and_nothing_is_changed() -> Result<()> {
    let (plain, with_scale) = digits(2.0)?;
    let says = |net: &Net, weights: &Weights, parts: &[&str]| {
        let values = || {
            net.parameters().iter().map(|p| p.variable.value().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
        };
        let before = values();
        let text = message(weights.import_into(net, &Mapping::pytorch()));
        parts.iter().for_each(|part| assert!(text.contains(part), "no {part:?} in {text}"));
        assert_eq!(values(), before);
    };
    let net = Net::new(true, Device::Cpu)?;
    says(&net, &plain, &["does not fit the model; 1 difference:", "scale [1]: the file has no scale"]);
    let mut tensors = with_scale.tensors().to_vec();
    tensors.push(("extra.weight".into(), Tensor::zeros([3, 3], Device::Cpu)?));
    says(
        &net,
        &Weights::new("more", tensors.clone()),
        &["the file's extra.weight [3, 3] is not in the model"],
    );
    tensors.retain(|(name, _)| name != "extra.weight" && name != "scale");
    tensors.push(("scale".into(), Tensor::zeros([2], Device::Cpu)?));
    says(&net, &Weights::new("two", tensors), &["scale is f32 [1]; the file's scale is f32 [2]"]);
    // A Dense that reads an image which forward flattens: PyTorch has its rows in another order.
    let apart = Net::new(false, Device::Cpu)?;
    says(
        &apart,
        &with_scale,
        &["head reads [288], as many numbers as the image [3, 3, 32] of blocks.2.conv", "Flatten"],
    );
    // A layer alone has no name.
    let alone = Build::new(Device::Cpu, 1).layer(Dense::new(2), [3])?;
    let text = message(Weights::new("none", Vec::new()).import_into(&alone, &Mapping::pytorch()));
    assert!(text.contains("\n  weight [3, 2] is not in the file"), "{text}");
    Ok(())
}
