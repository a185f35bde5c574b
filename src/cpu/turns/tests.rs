//! What is cut, and what is not.

use super::*;
use crate::graph::{ScanOptions, scan};
use crate::tensor::Value;

/// The parts of a loop over a batch, the nodes of a turn, and how many of its products are with packed matrices.
fn planned(
    [batch, width]: [usize; 2],
    body: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
) -> (Vec<[usize; 2]>, Vec<&'static str>, usize) {
    let random = |shape: &[usize]| Tensor::rand(shape, Device::Cpu, 1).unwrap();
    let (start, rows) = (random(&[batch, width]), random(&[5, batch, width]));
    let weight = random(&[width, width]);
    let scanned = scan(&[&start], &[&rows], ScanOptions::new(), |h, x| {
        let next = body(&h[0], &x[0], &weight)?;
        Ok((vec![next.clone()], vec![next]))
    });
    let out = scanned.unwrap().carry.remove(0);
    let graph = Pending::collect(&[&out]);
    let node = graph.entries.iter().find(|e| Looped::of(&*e.tensor.0.op).is_some()).unwrap();
    let inputs = node.inputs.iter().map(|&i| {
        let tensor = &graph.entries[i as usize].tensor;
        tensor.eval().unwrap();
        let Some(Value::Cpu(array)) = tensor.0.value() else { panic!("not on the CPU") };
        array.contiguous().unwrap()
    });
    let plan = plan(Looped::of(&*node.tensor.0.op).unwrap(), &inputs.collect::<Vec<_>>()).unwrap();
    let turns = &plan.turns[0];
    let names = turns.graph.entries.iter().filter(|e| !e.ready).map(|e| e.tensor.0.op.name());
    let packed = turns.prepared.iter().flatten().count();
    (plan.parts.into_iter().map(|p| [p.0.start, p.0.end]).collect(), names.collect(), packed)
}

#[test]
fn rows_go_their_ways_apart_by_a_matrix_packed_once() {
    let vectors = usize::from(wgrad_tiles::width::<f32>().is_some());
    let (parts, nodes, packed) =
        planned([40, 128], |h, x, w| (h.matmul(&(w * 2.0)?.transpose()?)? + x)?.tanh());
    assert_eq!(parts, [[0, 14], [14, 28], [28, 40]]);
    assert_eq!((&nodes[..], packed), (&["matmul", "add", "tanh"][..], vectors));
    // Too few rows, and too little work.
    let step = |h: &Tensor, x: &Tensor, w: &Tensor| (h.matmul(w)? + x)?.tanh();
    assert_eq!(planned([23, 256], step).0, [[0, 1]]);
    assert_eq!(planned([24, 64], step).0, [[0, 1]]);
    assert_eq!(planned([24, 256], step).0, [[0, 12], [12, 24]]);
}

#[test]
fn rows_that_need_others_stay_together() {
    let mean = planned([128, 128], |h, x, w| {
        let y = (h.matmul(w)? + x)?;
        &y - y.mean([0], true)?
    });
    let turned = planned([128, 128], |h, x, w| h.transpose()?.matmul(w)? + x);
    let right = planned([128, 128], |h, x, w| w.matmul(h)? + x);
    // Taken in two ways: as rows, and as the matrix of a product.
    let both = planned([128, 128], |h, x, w| (h.matmul(x)? + x)? + h.matmul(w)?);
    for (parts, _, _) in [mean, turned, right, both] {
        assert_eq!(parts, [[0, 1]]);
    }
}
