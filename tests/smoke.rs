use wgrad::prelude::*;
fn go(d: Device) -> Result<Vec<f32>> {
    let w = Variable::new(Tensor::randn([784, 10], d, 1)?);
    let x = Tensor::rand([32, 784], d, 2)?;
    let y = Tensor::randint(0, 10, [32], d, 3)?;
    let mut out = vec![];
    for _ in 0..10 {
        let loss = x.matmul(&w)?.cross_entropy(&y)?;
        let g = loss.backward()?;
        w.set(no_grad(|| w.value() - (g.get(&w)? * 0.02)?))?;
        out.push(loss.item::<f32>()?);
    }
    let img = Tensor::randn([2, 8, 8, 3], d, 5)?.watch()?;
    let k = Variable::new(Tensor::randn([3, 3, 3, 4], d, 6)?);
    let b = Variable::new(Tensor::randn([4], d, 7)?);
    let o = (img.conv2d(&k, Conv2dOptions { padding: Padding::Same, ..Default::default() })? + &b)?.relu()?.max_pool2d(Pool2dOptions::new([2, 2]))?;
    let g = o.square()?.mean(&[], false)?.backward()?;
    out.extend(g.get(&img)?.slice(0, 0, 1)?.to_vec::<f32>()?);
    out.extend(g.get(&k)?.sum(&[0, 1], false)?.to_vec::<f32>()?);
    out.extend(g.get(&b)?.to_vec::<f32>()?);
    Ok(out)
}
#[test]
fn smoke() -> Result<()> {
    let a = go(Device::Cpu)?;
    let b = go(Device::Gpu)?;
    println!("{:?}", &a[..12]);
    println!("{:?}", &b[..12]);
    println!("{:?}", Device::Gpu.stats()?);
    for (i, (x, y)) in a.iter().zip(&b).enumerate() { assert!((x - y).abs() < 1e-4 * (1.0 + x.abs()), "{i} {x} {y}"); }
    Ok(())
}
