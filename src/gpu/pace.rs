//! How long work is about to take on a device, and how it is cut where that is longer than its driver waits.
//!
//! Windows resets a GPU that is busy with one submission for some two seconds. A plan that is about to take more than
//! [`PATIENCE`] is therefore submitted in pieces of about that, each a command buffer of its own; what takes less, nearly
//! everything, stays one submission. A single dispatch can't be cut; what bounds it is [`Turns`](super::kernels::Turns).
//!
//! What a dispatch takes is estimated when its plan is made ([`Pace::cost`]), from its arithmetic, its bytes and a fixed part, at
//! the speed of a slow device of that kind. What submissions really took corrects this with two factors, one for arithmetic and
//! one for all else ([`Speed`]), which are applied when a plan is replayed. An estimate need only be right within a factor of
//! ten: so much is between the patience and the two seconds. Where data decides what a dispatch takes, or a kernel comes from
//! outside, there are two estimates, the least and the most ([`Cost`]). Plans are cut by the most, and only what takes less than the
//! least, or more than the most, says that the device is another than was thought.
//!
//! Nothing is waited for to learn that. wgpu tells that a submission is done while the host waits for some other reason, or
//! queues the next one. The time until then is an upper bound of what the device took, and exact if the host was waiting:
//! [`Sample`].

use std::iter::Peekable;
use std::ops::{Add, AddAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one submission may take.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// Evaluations that are about to take less say nothing about the device: what the host needs to notice their end is as long.
const TELLING: f32 = 0.5e-3;
/// How late the host may notice the end of what it waits for.
const LATE: Duration = Duration::from_micros(300);
/// Submissions whose ends are noticed within this time are one sample.
const TOGETHER: Duration = Duration::from_millis(1);
/// One sample moves an estimate by this factor at most, before [`GAIN`].
const MOST_AT_ONCE: f32 = 16.0;
/// Of the error that a sample shows (its logarithm), the part that is corrected: samples are noisy.
const GAIN: f32 = 0.5;
/// The fastest device that is believed in, as a factor of [`Rates`].
const FASTEST: f32 = 1e-4;

/// Seconds that a slow device of a kind takes for a unit of work.
struct Rates {
    /// One floating-point operation of a matrix product or a convolution.
    flop: f64,
    /// One turn of a loop of one invocation of any other kernel.
    turn: f64,
    /// One turn after another of the longest invocation: a dispatch lasts as long as that.
    chain: f64,
    byte: f64,
    dispatch: f64,
    /// How much slower than this the device may turn out, as a factor.
    slowest: f32,
}

impl Rates {
    fn of(kind: wgpu::DeviceType) -> Rates {
        let gpu = |gflops: f64, gbytes: f64| Rates {
            flop: 1e-9 / gflops,
            turn: 5e-9 / gflops,
            chain: 2e-7,
            byte: 1e-9 / gbytes,
            dispatch: 1e-5,
            slowest: 64.0,
        };
        match kind {
            // No watchdog waits for a software adapter, and a busy host is no slow device: it is never taken for slower.
            wgpu::DeviceType::Cpu => Rates { turn: 5e-10, chain: 5e-9, slowest: 1.0, ..gpu(20.0, 4.0) },
            wgpu::DeviceType::DiscreteGpu => gpu(500.0, 50.0),
            _ => gpu(50.0, 10.0),
        }
    }

    fn seconds(&self, work: Work) -> Seconds {
        let loops = match work.flops {
            0 if !work.uneven => work.invocations as f64 * work.turns as f64 * self.turn,
            _ => 0.0,
        };
        let arithmetic = work.flops as f64 * self.flop + loops;
        let other = self.dispatch + work.bytes as f64 * self.byte + work.longest as f64 * self.chain;
        Seconds { arithmetic: arithmetic as f32, other: other as f32 }
    }
}

/// What a dispatch has to do.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Floating-point operations of matrix products and convolutions; 0 for all else.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
    pub invocations: u64,
    /// The turns that the loops of an invocation take, in the mean of all, and the most of any one.
    pub turns: u64,
    pub longest: u64,
    /// Whether other invocations may take far fewer: the parts of a joined kernel differ.
    pub uneven: bool,
}

/// Seconds at the speed of [`Rates`]: of arithmetic, and of all else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seconds {
    arithmetic: f32,
    other: f32,
}

impl Add for Seconds {
    type Output = Seconds;
    fn add(self, more: Seconds) -> Seconds {
        Seconds { arithmetic: self.arithmetic + more.arithmetic, other: self.other + more.other }
    }
}

/// What something costs at least, and at most. Both are the same for nearly everything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    least: Seconds,
    most: Seconds,
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, more: Cost) -> Cost {
        Cost { least: self.least + more.least, most: self.most + more.most }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        *self = *self + more;
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Cost::add)
    }
}

/// What a device was found to take, as factors of [`Rates`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    arithmetic: f32,
    other: f32,
}

impl Speed {
    const START: Speed = Speed { arithmetic: 1.0, other: 1.0 };

    fn of(self, seconds: Seconds) -> f32 {
        self.arithmetic * seconds.arithmetic + self.other * seconds.other
    }

    /// The most seconds that this may take.
    pub fn seconds(self, cost: Cost) -> f32 {
        self.of(cost.most)
    }

    /// Moves towards a device that takes from `least` to `most` seconds for this; each factor by its share of the estimate.
    fn correct(&mut self, cost: Cost, least: f32, most: f32, slowest: f32) {
        // That it took something from the least to the most says nothing of the device.
        let (estimate, took) = match self.of(cost.least) > most {
            true => (cost.least, most),
            false => (cost.most, least.min(most).max(self.of(cost.most))),
        };
        let seconds = self.of(estimate);
        if seconds <= 0.0 {
            return;
        }
        let error = (took / seconds).clamp(1.0 / MOST_AT_ONCE, MOST_AT_ONCE);
        let share = self.arithmetic * estimate.arithmetic / seconds;
        // So that the estimate of the same work moves by the whole gain, however it is shared out.
        let gain = GAIN / (share * share + (1.0 - share) * (1.0 - share));
        self.arithmetic = (self.arithmetic * error.powf(gain * share)).clamp(FASTEST, slowest);
        self.other = (self.other * error.powf(gain * (1.0 - share))).clamp(FASTEST, slowest);
    }
}

/// Evaluations that were found done at once.
#[derive(Clone, Copy)]
struct Sample {
    cost: Cost,
    /// When the device began with them, or before.
    start: Instant,
    /// Whether it began just then.
    exact: bool,
    /// When they were found done.
    end: Instant,
    /// How long the device was busy with them for certain.
    least: Duration,
}

struct State {
    /// What one submission may take.
    patience: Duration,
    speed: Speed,
    /// When the latest evaluation of a sample was found done, and whether it was done just then.
    done: Option<(Instant, bool)>,
    sample: Option<Sample>,
}

/// What is known of a device's speed, and how long its driver waits.
pub(crate) struct Pace {
    rates: Rates,
    state: Mutex<State>,
}

impl Pace {
    pub fn new(kind: wgpu::DeviceType, patience: Duration) -> Pace {
        Pace { rates: Rates::of(kind), state: Mutex::new(State::new(patience)) }
    }

    /// From now on a submission may take so long.
    pub fn set_patience(&self, patience: Duration) {
        self.state().patience = patience;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a dispatch costs that has so much to do at least, and at most.
    pub fn cost(&self, [least, most]: [Work; 2]) -> Cost {
        Cost { least: self.rates.seconds(least), most: self.rates.seconds(most) }
    }

    /// The speed at present, and the seconds that a submission of a plan of this cost may take: no bound where all of it may be
    /// one.
    pub fn bound(&self, plan: Cost) -> (Speed, f32) {
        let state = self.state();
        let (speed, patience) = (state.speed, state.patience.as_secs_f32());
        (speed, if speed.seconds(plan) <= patience { f32::INFINITY } else { patience })
    }

    /// Has an evaluation that was just submitted tell when it is done. `start`: when its first piece was submitted; `inside`: how
    /// long the driver worked within the calls.
    pub fn submitted(
        self: &Arc<Self>,
        queue: &wgpu::Queue,
        speed: Speed,
        cost: Cost,
        start: Instant,
        inside: Duration,
    ) {
        if speed.of(cost.least) >= TELLING {
            let pace = self.clone();
            queue.on_submitted_work_done(move || {
                pace.state().done(cost, start, inside, Instant::now(), &pace.rates)
            });
        }
    }

    /// After a wait for a submission that began then.
    pub fn waited(&self, start: Instant) {
        self.state().waited(start, &self.rates);
    }
}

impl State {
    fn new(patience: Duration) -> State {
        State { patience, speed: Speed::START, done: None, sample: None }
    }

    /// An evaluation was found done.
    fn done(&mut self, cost: Cost, submitted: Instant, inside: Duration, now: Instant, rates: &Rates) {
        if self.sample.is_some_and(|s| now.saturating_duration_since(s.end) > TOGETHER) {
            self.learn(false, rates);
        }
        if let Some(sample) = &mut self.sample {
            sample.cost += cost;
            sample.least += inside;
            sample.end = now;
            return;
        }
        // The device began when the evaluation was submitted, or when it was done with what came before. Where the host noticed
        // that late, it began at some time between.
        let (start, exact) = match self.done {
            Some((done, true)) if done > submitted => (done, true),
            Some((done, false)) if done > submitted => (submitted, false),
            _ => (submitted, true),
        };
        self.sample = Some(Sample { cost, start, exact, end: now, least: inside });
    }

    /// The host has waited since `start`. What was found done meanwhile was done just then, unless it was at once.
    fn waited(&mut self, start: Instant, rates: &Rates) {
        let Some(sample) = &self.sample else { return };
        let exact = sample.end.saturating_duration_since(start) > LATE;
        self.learn(exact, rates);
    }

    /// Learns from the sample. `exact`: whether its end is when it was done, or later.
    fn learn(&mut self, exact: bool, rates: &Rates) {
        let Some(sample) = self.sample.take() else { return };
        self.done = Some((sample.end, exact));
        let most = sample.end.saturating_duration_since(sample.start);
        let least = if exact && sample.exact { most.saturating_sub(LATE) } else { sample.least };
        self.speed.correct(sample.cost, least.as_secs_f32(), most.as_secs_f32(), rates.slowest);
    }
}

/// The next of `rest`, each with its seconds, that take at most `most` seconds together; at least one, which can't be cut.
pub(super) fn piece<T, I: Iterator<Item = (f32, T)>>(
    rest: &mut Peekable<I>,
    most: f32,
) -> impl Iterator<Item = T> + use<'_, T, I> {
    let mut taken: Option<f32> = None;
    std::iter::from_fn(move || {
        let (seconds, next) = rest.next_if(|(s, _)| taken.is_none_or(|t| t + s <= most))?;
        taken = Some(taken.unwrap_or(0.0) + seconds);
        Some(next)
    })
}

#[cfg(test)]
mod tests;
