//! Models made of parts of others: what some layers give, and a new layer on trained ones.

use super::layer::{Build, Layer};
use super::network::Work;
use super::{Context, Model, Module};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Model {
    /// What some layers give for a batch, all of one evaluation; for a model of one input. It is [`outputs_of`](Self::outputs_of) at once,
    /// and can be differentiated with respect to any of them.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// use wgrad::nn::Context;
    /// # fn main() -> Result<()> {
    /// let model = Sequential::new()
    ///     .add_named("hidden", Dense::new(8).activation(Activation::Relu))
    ///     .add_named("scores", Dense::new(3))
    ///     .build([4], Device::Cpu)?;
    /// let x = Tensor::rand([5, 4], Device::Cpu, 1)?;
    /// let [hidden, scores] = model.forward_layers(["hidden", "scores"], &x, &Context::eval())?;
    /// assert_eq!((hidden.dims(), scores.dims()), (&[5, 8][..], &[5, 3][..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`outputs_of`](Self::outputs_of); or the batch is not of the shape that the model takes.
    pub fn forward_layers<const N: usize>(
        &self,
        layers: [&str; N],
        x: &Tensor,
        cx: &Context,
    ) -> Result<[Tensor; N]> {
        let outputs = self.outputs_of(&layers)?.forward_all(std::slice::from_ref(x), cx)?;
        outputs.try_into().map_err(|_| Error::internal("a model gave another number of outputs than it has"))
    }

    /// The same model with another layer in place of the one of this name, built with fresh weights from this seed: PyTorch's
    /// `model.head = nn.Linear(288, 5)`. All other layers are those of this model, with their weights in common, and stay frozen where
    /// they are. It is saved and loaded as any model. Names of classes go where the output gets another shape.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # fn main() -> Result<()> {
    /// let trained = Sequential::new()
    ///     .add_named("features", Dense::new(8).activation(Activation::Relu))
    ///     .add_named("head", Dense::new(10))
    ///     .build([4], Device::Cpu)?;
    /// let model = trained.with_layer("head", Dense::new(5), 1)?;
    /// model.set_layer_trainable("features", false)?;
    /// assert_eq!((model.output_shape().to_string(), model.trainable_parameter_count()), ("[5]".into(), 45));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// No layer has the name (the error lists those there are); it is an input, a merge or a layer that is used again; the new layer
    /// can't be built there, or gives another shape than one that reads it was built for.
    pub fn with_layer(&self, name: &str, layer: impl Layer, seed: u64) -> Result<Model> {
        const OP: &str = "Model::with_layer";
        let at = self.node(OP, name)?;
        if !matches!(self.network.nodes[at].work, Work::Layer { .. }) {
            let message = format!("{name} is an input, a merge, or has the weights of another layer");
            return Err(Error::argument(OP, message));
        }
        let mut cx = Build::new(self.device(), seed).with_dtype(self.dtype());
        let network = self.network.with_layer(at, &layer, &mut cx).map_err(|e| e.within(name).named(OP))?;
        let model = Model::new(network, &cx);
        let same = model.output_shape() == self.output_shape();
        Ok(if same { model.with_classes(self.classes()) } else { model })
    }
}

#[cfg(test)]
mod tests {
    use crate::nn::{Context, Functional, Merge, Model};
    use crate::prelude::*;

    fn trained(device: Device) -> Model {
        Sequential::new()
            .add(Flatten::new())
            .add_named("features", Dense::new(4).activation(Activation::Relu))
            .add_named("head", Dense::new(3))
            .seed(1)
            .build([2, 3], device)
            .unwrap()
            .with_classes(["a", "b", "c"])
    }

    #[test]
    fn a_new_head_is_on_the_same_trunk() {
        for device in [Device::Cpu, Device::Gpu] {
            let old = trained(device);
            old.set_layer_trainable("features", false).unwrap();
            let model = old.with_layer("head", Dense::new(2), 7).unwrap();
            let names = |m: &Model| m.parameters().into_iter().map(|p| p.name).collect::<Vec<_>>();
            assert_eq!((names(&model), model.classes().len()), (names(&old), 0));
            assert_eq!((old.output_shape().to_vec(), old.classes().len()), (vec![Some(3)], 3));
            assert_eq!((model.parameter_count(), model.trainable_parameter_count()), (28 + 10, 10));
            assert!(model.summary().contains("28 of them not trainable"), "{}", model.summary());
            // One step changes the new head alone; what is released in one is in both.
            let x = Tensor::rand([5, 2, 3], device, 1).unwrap();
            let value = |name: &str| model.parameter(name).unwrap().variable.value().to_vec::<f32>().unwrap();
            let before = (value("features.weight"), value("head.weight"));
            let loss = model.forward(&x, &Context::train(1)).unwrap().square().unwrap();
            let loss = loss.mean(.., false).unwrap();
            Sgd::new(0.1).step(&loss.backward().unwrap()).unwrap();
            assert_eq!(value("features.weight"), before.0);
            assert_ne!(value("head.weight"), before.1);
            old.set_trainable(true).unwrap();
            assert_eq!(model.trainable_parameter_count(), 38);
            // The features of both are the same, bit for bit, and so is a copy from a file.
            let features =
                |m: &Model| m.outputs_of(&["features"]).unwrap().infer(&x).unwrap().to_vec::<f32>();
            assert_eq!(features(&model).unwrap(), features(&old).unwrap());
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("model.safetensors");
            model.save_model(&file).unwrap();
            let again = Model::load_model(&file, device).unwrap();
            let y = |m: &Model| m.infer(&x).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(y(&again), y(&model));
            // The seed says what the new weights are; a head of the same shape keeps the names of classes.
            let same = |seed| old.with_layer("head", Dense::new(3), seed).unwrap();
            assert_eq!((y(&same(5)), same(5).classes().len()), (y(&same(5)), 3));
            assert_ne!(y(&same(5)), y(&same(6)));
        }
    }

    #[test]
    fn what_others_read_keeps_its_shape() {
        let mut net = Functional::new(Device::Cpu);
        let x = net.input("input", [4]).unwrap();
        let a = net.named("a", Dense::new(3), x).unwrap();
        let again = net.again(a, x).unwrap();
        let sum = net.merge(Merge::Add, &[a, again]).unwrap();
        let model = net.build(&[("sum", sum)]).unwrap();
        let wider = model.with_layer("a", Dense::new(4), 0).unwrap_err().to_string();
        assert!(
            wider.contains("Model::with_layer") && wider.contains("was built for what a gave"),
            "{wider}"
        );
        // The new layer is used again where the old one was.
        let zeros = Dense::new(3).kernel_initializer(crate::nn::Initializer::Zeros);
        let zeros = zeros.bias_initializer(crate::nn::Initializer::Ones);
        let new = model.with_layer("a", zeros, 0).unwrap();
        let y = new.infer(&Tensor::ones([1, 4], Device::Cpu).unwrap()).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [2.0; 3]);
        for (name, said) in
            [("input", "is an input, a merge"), ("b", "no layer is named b; there are input, a")]
        {
            let e = model.with_layer(name, Dense::new(3), 0).unwrap_err().to_string();
            assert!(e.contains(said), "{e}");
        }
        let e = model.with_layer("a", Conv2d::new(3, [2, 2]), 0).unwrap_err().to_string();
        assert!(e.contains("Model::with_layer") && e.contains("[4]"), "{e}");
    }

    #[test]
    fn layers_give_what_they_give_alone() {
        let model = trained(Device::Cpu);
        let x = Tensor::rand([5, 2, 3], Device::Cpu, 1).unwrap();
        let [scores] = model.forward_layers(["head"], &x, &Context::eval()).unwrap();
        let alone = model.infer(&x).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(scores.to_vec::<f32>().unwrap(), alone);
        // The slope of the sum of scores is the sum of the head's weights over its columns.
        let weight = model.parameter("head.weight").unwrap().variable;
        let whole = Tensor::arange(0, 12, Device::Cpu).unwrap().cast(DType::F32).unwrap();
        weight.set(whole.reshape([4, 3]).unwrap()).unwrap();
        let [whole, features] = model.forward_layers(["head", "features"], &x, &Context::eval()).unwrap();
        let slopes = whole.sum(.., false).unwrap().gradients(&[&features]).unwrap().remove(0);
        assert_eq!(slopes.slice(0, 4, 1).unwrap().to_vec::<f32>().unwrap(), [3.0, 12.0, 21.0, 30.0]);
        for wrong in [["head", "head"], ["head", "none"]] {
            assert!(model.forward_layers(wrong, &x, &Context::eval()).is_err());
        }
        assert!(model.forward_layers([], &x, &Context::eval()).is_err());
        assert!(model.forward_layers(["head"], &x.flatten(1).unwrap(), &Context::eval()).is_err());
    }
}
