//! Tables, ratios and reports of counted answers.

use super::*;
use crate::prelude::*;

fn matrix() -> ConfusionMatrix {
    let counts = vec![vec![8, 2, 0], vec![1, 120, 0], vec![0, 3, 0]];
    ConfusionMatrix::new(counts).unwrap().with_classes(["cat", "dog", "a, \"b\""]).unwrap()
}

#[test]
fn tables_read_well() {
    assert_eq!(
        matrix().to_string(),
        "target \\ answer  cat  dog  a, \"b\"\n            cat    8    2       0\n            dog    1  120       \
         0\n         a, \"b\"    0    3       0"
    );
    let csv = "target,cat,dog,\"a, \"\"b\"\"\"\ncat,8,2,0\ndog,1,120,0\n\"a, \"\"b\"\"\",0,3,0\n";
    assert_eq!(matrix().to_csv(), csv);
    let report = matrix().report();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines[0], "          precision  recall      f1  support");
    assert_eq!(lines[1], "     cat     0.8889  0.8000  0.8421       10");
    assert_eq!(lines[3], "  a, \"b\"     0.0000  0.0000  0.0000        3");
    assert_eq!(lines[5], "accuracy                     0.9552      134");
}

#[test]
fn ratios() {
    let m = matrix();
    assert_eq!((m.total(), m.support(1), m.answers(1)), (134, 121, 125));
    assert_eq!(m.accuracy(), 128.0 / 134.0);
    assert_eq!((m.precision(0), m.recall(0)), (8.0 / 9.0, 0.8));
    assert_eq!((m.iou(0), m.iou(2)), (8.0 / 11.0, 0.0));
    assert_eq!((m.precision(2), m.recall(2), m.f1(2)), (0.0, 0.0, 0.0));
    assert_eq!((m.precision(9), m.support(9), m.count(0, 9)), (0.0, 0, 0));
    assert!(m.with_classes(["a"]).is_err());
    assert!(ConfusionMatrix::new(vec![vec![1, 2]]).is_err());
    assert_eq!(ConfusionMatrix::new(Vec::new()).unwrap().accuracy(), 0.0);
}

/// Labels outside of the classes are left out; batches of any size give the same counts.
#[test]
fn of_a_model() {
    struct Echo;
    impl Module for Echo {
        fn forward(&self, x: &Tensor, _: &crate::nn::Context) -> Result<Tensor> {
            x * 1.0
        }
        fn visit(&self, _parameters: &mut crate::nn::Parameters<'_>) {}
    }
    let outputs: Vec<f32> = (0..70).flat_map(|i| [(i % 3) as f32, 1.0, (i % 7) as f32]).collect();
    let labels: Vec<u8> = (0..70).map(|i| if i == 5 { 255 } else { i % 3 }).collect();
    let outputs = Tensor::from_vec(outputs, [70, 3], Device::Cpu).unwrap();
    let labels = Tensor::from_vec(labels, [70], Device::Cpu).unwrap();
    let set = data::Dataset::from_tensors("echoes", &outputs, &labels).unwrap();
    let whole = confusion_matrix(&Echo, &set, 70).unwrap();
    assert_eq!(whole.total(), 69);
    assert_eq!(confusion_matrix(&Echo, &set, 16).unwrap(), whole);
    let e = Confusion::new(2).matrix(&[1.0]).unwrap_err().to_string();
    assert!(e.contains("1 sums for 2 classes"), "{e}");
}

/// A model with one output has two classes; what it gives decides whether that is a logit or a probability.
#[test]
fn of_a_model_of_no_and_yes() {
    struct Echo;
    impl Module for Echo {
        fn forward(&self, x: &Tensor, _: &crate::nn::Context) -> Result<Tensor> {
            x * 1.0
        }
        fn visit(&self, _parameters: &mut crate::nn::Parameters<'_>) {}
    }
    let logits = Tensor::new([[2.0f32], [-1.0], [0.4], [-3.0], [0.0]], Device::Cpu).unwrap();
    let targets = Tensor::new([[1.0f32], [0.0], [0.0], [1.0], [0.0]], Device::Cpu).unwrap();
    let set = data::Dataset::from_tensors("echoes", &logits, &targets).unwrap().with_classes(&["no", "yes"]);
    let expected = vec![vec![2, 1], vec![1, 1]];
    for batch_size in [2, 5] {
        let matrix = confusion_matrix(&Echo, &set, batch_size).unwrap();
        assert_eq!((matrix.counts, matrix.classes), (expected.clone(), vec!["no".into(), "yes".into()]));
    }
    // The same as probabilities, and integer targets without the outputs' dimension.
    let likely = set.map_features(|x| x.sigmoid()).unwrap();
    assert_eq!(confusion_matrix(&Echo, &likely, 2).unwrap().counts, expected);
    let whole = likely.map_labels(|y| y.cast(crate::DType::U32)?.flatten(0)).unwrap();
    assert_eq!(confusion_matrix(&Echo, &whole, 5).unwrap().counts, expected);
    let strict = Confusion::from_logits().threshold(0.8);
    let sum = strict.sum(&logits, &targets).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(strict.matrix(&sum).unwrap().counts, [[3, 0], [1, 1]]);
    let nan = Tensor::new([[f32::NAN]], Device::Cpu).unwrap();
    let sum = Confusion::from_logits().sum(&nan, &nan.zeros_like().unwrap()).unwrap();
    assert!(Confusion::from_logits().matrix(&sum.to_vec::<f32>().unwrap()).is_err());
}
