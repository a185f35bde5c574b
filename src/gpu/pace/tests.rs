//! Estimates, what is learned of them, and how work is cut.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn cost(arithmetic: f32, other: f32) -> Cost {
    let seconds = Seconds { arithmetic, other };
    Cost { least: seconds, most: seconds }
}

fn cut(seconds: &[f32], most: f32) -> Vec<Vec<usize>> {
    let mut rest = seconds.iter().copied().zip(0..).peekable();
    let mut pieces = Vec::new();
    while rest.peek().is_some() {
        pieces.push(piece(&mut rest, most).collect());
    }
    pieces
}

#[test]
fn pieces_are_as_large_as_may_be_and_never_empty() {
    assert_eq!(cut(&[], 1.0), Vec::<Vec<usize>>::new());
    assert_eq!(cut(&[1.0, 1.0, 1.0], f32::INFINITY), [vec![0, 1, 2]]);
    assert_eq!(cut(&[1.0, 1.0, 1.0], 2.0), [vec![0, 1], vec![2]]);
    assert_eq!(cut(&[1.0, 9.0, 1.0, 1.0], 2.0), [vec![0], vec![1], vec![2, 3]]);
    assert_eq!(cut(&[1e-5; 3], 0.0), [[0], [1], [2]]);
    assert_eq!(cut(&[f32::INFINITY; 2], 0.2), [[0], [1]]);
}

#[test]
fn one_piece_up_to_the_patience() {
    let pace = Pace::new(wgpu::DeviceType::DiscreteGpu, PATIENCE);
    assert_eq!(pace.bound(cost(0.1, 0.05)).1, f32::INFINITY);
    assert_eq!(pace.bound(cost(0.1, 0.15)).1, 0.2);
    pace.set_patience(Duration::ZERO);
    assert_eq!(pace.bound(cost(0.0, 1e-5)).1, 0.0);
    pace.set_patience(Duration::MAX);
    assert_eq!(pace.bound(cost(1e6, 1e6)).1, f32::INFINITY);
}

#[test]
fn no_dispatch_is_free_and_more_work_costs_more() {
    let work = Work { flops: 0, bytes: 0, invocations: 64, turns: 0, longest: 0, uneven: false };
    let long = Work { turns: 60_000, longest: 60_000, ..work };
    for kind in [wgpu::DeviceType::Cpu, wgpu::DeviceType::DiscreteGpu, wgpu::DeviceType::Other] {
        let pace = Pace::new(kind, PATIENCE);
        let seconds = |work: Work| Speed::START.seconds(pace.cost([work; 2]));
        let none = seconds(work);
        assert!(none > 0.0);
        assert!(seconds(Work { flops: 1 << 40, ..work }) > 1.0);
        assert!(seconds(Work { bytes: 1 << 40, ..work }) > 1.0);
        assert!(seconds(Work { invocations: 1 << 30, ..long }) > 1.0);
        // The longest that a single invocation may be does not make a submission.
        let alone = seconds(long);
        assert!(alone > none && alone < 0.2);
        assert!(seconds(Work { invocations: 1 << 30, uneven: true, ..long }) <= alone);
    }
}

/// A device that takes what [`Cost`] says times these factors.
struct Fake {
    state: State,
    rates: Rates,
    now: Instant,
    factors: [f32; 2],
}

impl Fake {
    fn new(factors: [f32; 2]) -> Fake {
        Fake {
            state: State::new(PATIENCE),
            rates: Rates::of(wgpu::DeviceType::Other),
            now: Instant::now(),
            factors,
        }
    }

    fn takes(&self, cost: Cost) -> Duration {
        let [arithmetic, other] = self.factors;
        Duration::from_secs_f32(Speed { arithmetic, other }.seconds(cost))
    }

    /// How far the estimate is from what the device takes, as a factor.
    fn error(&self, cost: Cost) -> f32 {
        let error = self.state.speed.seconds(cost) / self.takes(cost).as_secs_f32();
        error.max(1.0 / error)
    }

    /// An evaluation that the host waits for at once, or so much later.
    fn run(&mut self, cost: Cost, later: Duration) {
        let start = self.now;
        let done = start + self.takes(cost);
        let wait = start + later;
        self.now = done.max(wait);
        self.state.done(cost, start, Duration::ZERO, self.now, &self.rates);
        self.state.waited(wait, &self.rates);
    }
}

#[test]
fn what_submissions_took_corrects_the_estimate() {
    let [products, copies] = [cost(0.05, 0.001), cost(0.0, 0.02)];
    let mixed = cost(0.03, 0.03);
    for factors in [[0.01, 0.002], [0.002, 0.1], [0.3, 0.3], [8.0, 1.0], [5.0, 20.0]] {
        let mut device = Fake::new(factors);
        for _ in 0..12 {
            device.run(products, Duration::ZERO);
            device.run(copies, Duration::ZERO);
        }
        for cost in [products, copies, mixed] {
            assert!(device.error(cost) < 3.0, "{factors:?} {cost:?}: {:?}", device.state.speed);
        }
    }
}

#[test]
fn what_may_take_more_or_less_says_nothing_within_its_bounds() {
    let of = |least: [f32; 2], most: [f32; 2]| {
        let seconds = |[arithmetic, other]: [f32; 2]| Seconds { arithmetic, other };
        Cost { least: seconds(least), most: seconds(most) }
    };
    // Where the data lies as it mostly does the longest loop is a hundredth of its bound; a kernel from outside does anything.
    let open = [of([0.002, 0.001], [0.002, 0.1]), of([0.0, 0.001], [3.0, 1.0])];
    let plain = cost(0.01, 0.01);
    for open in open {
        let mut device = Fake::new([1.0, 1.0]);
        for _ in 0..20 {
            for took in [open.least, open.most, plain.most] {
                let cost = if took == plain.most { plain } else { open };
                let start = device.now;
                device.now += Duration::from_secs_f32(device.state.speed.of(took) * 1.01);
                device.state.done(cost, start, Duration::ZERO, device.now, &device.rates);
                device.state.waited(start, &device.rates);
            }
        }
        assert!(device.error(plain) < 1.5, "{open:?}: {:?}", device.state.speed);
        // Beyond its bounds it tells as others do.
        for (factors, faster) in [([0.01, 0.01], true), ([30.0, 30.0], false)] {
            let mut device = Fake::new(factors);
            let took = if faster { open.least } else { open.most };
            for _ in 0..12 {
                let start = device.now;
                let [arithmetic, other] = factors;
                device.now += Duration::from_secs_f32(Speed { arithmetic, other }.of(took));
                device.state.done(open, start, Duration::ZERO, device.now, &device.rates);
                device.state.waited(start, &device.rates);
            }
            let (before, now) = (Speed::START.of(took), device.state.speed.of(took));
            assert!(if faster { now < before / 3.0 } else { now > before * 3.0 }, "{open:?}: {before} {now}");
        }
    }
}

#[test]
fn of_work_under_way_together_each_counts_once() {
    let cost = cost(0.04, 0.01);
    let mut device = Fake::new([0.5, 0.5]);
    let takes = device.takes(cost);
    // Three are queued all the time; the host waits for the oldest.
    let begin = device.now;
    for k in 0..20u32 {
        let end = begin + takes * (k + 1);
        let wait = end - takes / 2;
        device.state.done(cost, begin + takes * k.saturating_sub(2), Duration::ZERO, end, &device.rates);
        device.state.waited(wait, &device.rates);
    }
    assert!(device.error(cost) < 1.1, "{:?}", device.state.speed);
    // And where the latest is waited for, all are found done at once.
    let mut device = Fake::new([0.5, 0.5]);
    for k in 0..20u32 {
        let start = device.now;
        device.now += takes * 3;
        for _ in 0..3 {
            device.state.done(cost, start, Duration::ZERO, device.now, &device.rates);
        }
        device.state.waited(start + MS / 10 * k, &device.rates);
    }
    assert!(device.error(cost) < 1.1, "{:?}", device.state.speed);
}

#[test]
fn a_host_that_looks_late_does_not_make_a_device_slow() {
    let cost = cost(0.01, 0.01);
    let mut device = Fake::new([1.0, 1.0]);
    for _ in 0..10 {
        device.run(cost, Duration::from_secs(5));
    }
    assert!(device.error(cost) < 1.01, "{:?}", device.state.speed);
    // Found done when the next is submitted, which began before that.
    let start = device.now;
    for k in 0..10 {
        device.state.done(cost, start + MS * k, Duration::ZERO, start + MS * 500 * (k + 1), &device.rates);
    }
    assert!(device.error(cost) < 1.01, "{:?}", device.state.speed);
    // But where it is done before one thinks that it could be, it is faster.
    let mut device = Fake::new([0.1, 0.1]);
    for _ in 0..10 {
        device.run(cost, device.takes(cost) * 2);
    }
    assert!(device.error(cost) < 2.1, "{:?}", device.state.speed);
}

#[test]
fn time_inside_of_the_driver_is_the_device_s_at_least() {
    let cost = cost(0.01, 0.0);
    let mut device = Fake::new([4.0, 1.0]);
    for _ in 0..10 {
        let (start, takes) = (device.now, device.takes(cost));
        device.now += takes + MS * 300;
        device.state.done(cost, start, takes, device.now, &device.rates);
        device.state.waited(device.now, &device.rates);
    }
    assert!(device.error(cost) < 1.1, "{:?}", device.state.speed);
    // A software adapter is never taken for slower than it began.
    device.rates = Rates::of(wgpu::DeviceType::Cpu);
    device.state.speed = Speed::START;
    device.run(cost, Duration::ZERO);
    assert_eq!(device.state.speed.seconds(cost), 0.01);
}
