use wgrad::prelude::*;
#[test]
fn smoke() -> Result<()> {
    let d = Device::Cpu;
    let w = Variable::new(Tensor::randn([784, 10], d, 1)?);
    let x = Tensor::rand([32, 784], d, 2)?;
    let y = Tensor::randint(0, 10, [32], d, 3)?;
    let mut last = 1e9;
    for _ in 0..20 {
        let loss = x.matmul(&w)?.cross_entropy(&y)?;
        let g = loss.backward()?;
        w.set(no_grad(|| w.value() - (g.get(&w)? * 0.02)?))?;
        let v: f32 = loss.item()?;
        println!("{v}");
        
        last = v; let _ = last;
    }
    let img = Tensor::randn([2, 8, 8, 3], d, 5)?.watch()?;
    let k = Variable::new(Tensor::randn([3, 3, 3, 4], d, 6)?);
    let out = img.conv2d(&k, Conv2dOptions { padding: Padding::Same, ..Default::default() })?.relu()?.max_pool2d(Pool2dOptions::new([2, 2]))?;
    println!("{out:?}");
    let g = out.mean(&[], false)?.backward()?;
    println!("{}", g.get(&img)?.slice(0, 0, 1)?);
    println!("{}", g.get(&k)?.sum(&[0, 1], false)?);
    Ok(())
}
