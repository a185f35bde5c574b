//! Ranks that `mpirun` has started.

use super::collective::Collective;
use super::pick::pick;
use crate::device::Device;
use crate::error::{Error, Result};
use mpi::Threading;
use mpi::point_to_point::MatchedReceiveVec;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A part of a message that goes on.
const PART: i32 = 1;
/// The last or only part of a message.
const LAST: i32 = 2;
/// A rank has nothing more to say.
const LEAVES: i32 = 3;
/// A rank can't go on; the message says why.
const FAILS: i32 = 4;

/// MPI counts what is in a message in 32 bits.
const LARGEST_PART: usize = 1 << 30;
/// How long a rank looks for a message without a break. On machines with more ranks than cores, those that compute need them.
const SPIN: Duration = Duration::from_micros(50);
/// The longest break between two looks.
const NAP: Duration = Duration::from_micros(500);

/// All processes that `mpirun` has started, or this one where nothing has. MPI is initialised when a process first asks for it, and
/// left when the last clone is dropped: keep it until nothing more is computed together.
///
/// A thread of its own calls MPI, so that any thread may use this. An error of one rank reaches the others by
/// [`fail`](Collective::fail), which `fit` calls for them; a rank that is killed, or ends by `std::process::exit`, ends the whole
/// job: `mpirun` does that.
///
/// Needs the feature `mpi`, and where it is built an MPI and libclang (Debian and Ubuntu: `apt install openmpi-bin libopenmpi-dev
/// libclang-dev`); where it runs, the same MPI (`openmpi-bin`).
///
/// ```no_run
/// # use wgrad::prelude::*;
/// use wgrad::distributed::{Collective, Mpi};
/// # fn main() -> Result<()> {
/// let world = Mpi::world()?;
/// let device = world.device("best")?;
/// println!("rank {} of {} computes on {device}", world.rank(), world.size());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Mpi {
    shared: Arc<Shared>,
}

/// What all clones share.
struct Shared {
    rank: usize,
    size: usize,
    local_rank: usize,
    host: String,
    /// `None` once the thread was told to leave.
    orders: Mutex<Option<Sender<Order>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread is to do.
enum Order {
    Transfer { send: Option<(usize, Vec<u8>)>, from: Option<usize>, reply: Sender<Result<Option<Vec<u8>>>> },
    Fail(String),
}

/// What is known once MPI is initialised.
struct Greeting {
    rank: usize,
    size: usize,
    local_rank: usize,
    host: String,
}

/// A process initialises MPI once, and can't again.
enum Once {
    Never,
    Now(Weak<Shared>),
}

static ONCE: Mutex<Once> = Mutex::new(Once::Never);

/// No code panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mpi {
    /// All ranks of the job.
    ///
    /// # Errors
    ///
    /// This process has left MPI already, something else has initialised it, or its thread can't be started.
    pub fn world() -> Result<Mpi> {
        let mut once = lock(&ONCE);
        if let Once::Now(shared) = &*once {
            return match shared.upgrade() {
                Some(shared) => Ok(Mpi { shared }),
                None => {
                    let message = "this process has left MPI, and can't enter it again; keep the first Mpi until the end";
                    Err(Error::argument("Mpi::world", message))
                }
            };
        }
        let (orders, taken) = channel();
        let (greet, greeting) = channel();
        let thread = std::thread::Builder::new()
            .name("wgrad-mpi".into())
            .spawn(move || serve(&greet, &taken))
            .map_err(|e| Error::other(format!("the thread that calls MPI can't be started: {e}")))?;
        let Ok(Greeting { rank, size, local_rank, host }) = greeting.recv() else {
            let message =
                "MPI is initialised by something else in this process, which wgrad can't share it with";
            return Err(Error::argument("Mpi::world", message));
        };
        let (orders, thread) = (Mutex::new(Some(orders)), Mutex::new(Some(thread)));
        let shared = Arc::new(Shared { rank, size, local_rank, host, orders, thread });
        *once = Once::Now(Arc::downgrade(&shared));
        Ok(Mpi { shared })
    }

    /// The device that this rank computes on, by name: as [`device`](super::device).
    ///
    /// # Errors
    ///
    /// A rank has no such device. All ranks get the error, which names that rank.
    pub fn device(&self, wanted: &str) -> Result<Device> {
        pick(self, wanted)
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { rank, size, host, .. } = &*self.shared;
        write!(f, "Mpi(rank {rank} of {size} on {host})")
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.shared.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    fn local_rank(&self) -> usize {
        self.shared.local_rank
    }

    fn host(&self) -> String {
        self.shared.host.clone()
    }

    fn transfer(&self, send: Option<(usize, Vec<u8>)>, from: Option<usize>) -> Result<Option<Vec<u8>>> {
        let peers = send.as_ref().map(|(to, _)| *to).into_iter().chain(from);
        for peer in peers {
            if peer >= self.size() || peer == self.rank() {
                let message =
                    format!("there is no rank {peer} beside rank {} of {}", self.rank(), self.size());
                return Err(Error::argument("Collective::transfer", message));
            }
        }
        let (reply, answer) = channel();
        let order = Order::Transfer { send, from, reply };
        let sent = lock(&self.shared.orders).as_ref().is_some_and(|orders| orders.send(order).is_ok());
        let gone = || Error::internal("the thread that calls MPI has ended");
        if !sent {
            return Err(gone());
        }
        answer.recv().map_err(|_| gone())?
    }

    fn fail(&self, reason: &str) {
        if let Some(orders) = &*lock(&self.shared.orders) {
            // Where the thread has ended, there is nobody left to be told.
            let _ = orders.send(Order::Fail(reason.into()));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        lock(&self.orders).take();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// The thread that calls MPI, from its beginning to its end.
fn serve(greet: &Sender<Greeting>, orders: &Receiver<Order>) {
    // Of all threads only this one calls MPI.
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
    let world = universe.world();
    let own = world.split_shared(world.rank());
    let greeting = Greeting {
        rank: world.rank() as usize,
        size: world.size() as usize,
        local_rank: own.rank() as usize,
        host: mpi::environment::processor_name().unwrap_or_else(|_| "an unnamed machine".into()),
    };
    let mut ranks = Ranks { left: vec![false; greeting.size], broken: None, failed: false, world: &world };
    if greet.send(greeting).is_ok() {
        loop {
            match orders.recv_timeout(Duration::from_millis(200)) {
                Ok(Order::Transfer { send, from, reply }) => {
                    // Who asked may have gone.
                    let _ = reply.send(ranks.transfer(send, from));
                }
                Ok(Order::Fail(reason)) => ranks.fail(&reason),
                Err(RecvTimeoutError::Timeout) => {
                    ranks.hear();
                    // What was sent to a rank that can't go on is never asked for.
                    if ranks.failed || ranks.broken.is_some() {
                        ranks.pass_over();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }
    ranks.leave();
}

/// What the thread knows of all ranks.
struct Ranks<'a> {
    world: &'a SimpleCommunicator,
    /// Who has nothing more to say.
    left: Vec<bool>,
    /// The first error that was heard of, and whose it is.
    broken: Option<(usize, String)>,
    /// Whether this rank has told of one.
    failed: bool,
}

impl Ranks<'_> {
    /// Takes a message. What it tells of its sender is noted.
    fn take(&mut self, found: (mpi::point_to_point::Message, mpi::point_to_point::Status)) -> (Vec<u8>, i32) {
        let (from, tag) = (found.1.source_rank() as usize, found.1.tag());
        let (message, _) = found.matched_receive_vec::<u8>();
        match tag {
            FAILS => {
                self.broken.get_or_insert((from, String::from_utf8_lossy(&message).into_owned()));
            }
            LEAVES => self.left[from] = true,
            _ => {}
        }
        (message, tag)
    }

    /// Hears who fails or leaves.
    fn hear(&mut self) {
        for tag in [FAILS, LEAVES] {
            while let Some(found) = self.world.any_process().immediate_matched_probe_with_tag(tag) {
                self.take(found);
            }
        }
    }

    fn error(&self) -> Option<Error> {
        self.broken.as_ref().map(|(rank, reason)| Error::rank(*rank, reason.clone()))
    }

    fn transfer(&mut self, send: Option<(usize, Vec<u8>)>, from: Option<usize>) -> Result<Option<Vec<u8>>> {
        let mut wait = Wait::new();
        if self.failed {
            return Err(Error::argument(
                "Collective::transfer",
                "this rank has told the others that it can't go on",
            ));
        }
        let world = self.world;
        let parts: Vec<(&[u8], i32)> = match &send {
            Some((_, message)) => {
                let count = message.len().div_ceil(LARGEST_PART).max(1);
                let part = |k: usize| &message[k * LARGEST_PART..message.len().min((k + 1) * LARGEST_PART)];
                (0..count).map(|k| (part(k), if k + 1 == count { LAST } else { PART })).collect()
            }
            None => Vec::new(),
        };
        mpi::request::scope(|scope| {
            let mut sending: Vec<_> = parts
                .iter()
                .filter_map(|(part, tag)| {
                    let to = send.as_ref()?.0;
                    Some(world.process_at_rank(to as i32).immediate_send_with_tag(scope, *part, *tag))
                })
                .collect();
            let mut received = Vec::new();
            let mut whole = from.is_none();
            let result = loop {
                let mut moved = false;
                // Whoever was heard to leave may have sent something before: that is there when it is looked for from now on.
                let gone = from.filter(|_| !whole).or_else(|| send.as_ref().map(|(to, _)| *to));
                let gone = gone.filter(|&peer| self.left[peer]);
                if let Some(from) = from.filter(|_| !whole) {
                    while let Some(found) = world.process_at_rank(from as i32).immediate_matched_probe() {
                        moved = true;
                        let (mut part, tag) = self.take(found);
                        match tag {
                            PART | LAST if received.is_empty() => received = part,
                            PART | LAST => received.append(&mut part),
                            _ => continue,
                        }
                        whole = tag == LAST;
                        if whole {
                            break;
                        }
                    }
                }
                let before = sending.len();
                sending = sending.into_iter().filter_map(|request| request.test().err()).collect();
                moved |= sending.len() < before;
                if whole && sending.is_empty() {
                    break Ok(from.map(|_| received));
                }
                self.hear();
                if let Some(error) = self.error() {
                    break Err(error);
                }
                if let Some(gone) = gone.filter(|_| !moved) {
                    let reason = "has left while this rank waits for it; see what it has printed";
                    break Err(Error::rank(gone, reason));
                }
                if moved {
                    wait = Wait::new();
                } else {
                    wait.a_moment();
                }
            };
            // A message under way can't be taken back: it goes where whoever has failed or left throws it away, as is done here.
            while !sending.is_empty() {
                sending = sending.into_iter().filter_map(|request| request.test().err()).collect();
                self.hear();
                self.pass_over();
                wait.a_moment();
            }
            result
        })
    }

    /// Tells all others.
    fn fail(&mut self, reason: &str) {
        if !self.failed && self.broken.is_none() {
            self.tell(reason.as_bytes(), FAILS);
        }
        self.failed = true;
    }

    /// A few bytes to everybody, which MPI takes at once.
    fn tell(&self, message: &[u8], tag: i32) {
        // What is said in an error is short; what isn't would wait for its reader.
        let message = &message[..message.len().min(2_000)];
        for rank in (0..self.world.size()).filter(|&rank| rank != self.world.rank()) {
            self.world.process_at_rank(rank).send_with_tag(message, tag);
        }
    }

    /// Waits until all others have nothing more to say either: MPI may be left only then.
    fn leave(&mut self) {
        self.tell(&[], LEAVES);
        self.left[self.world.rank() as usize] = true;
        let mut wait = Wait::new();
        loop {
            self.hear();
            self.pass_over();
            if self.left.iter().all(|&left| left) {
                return;
            }
            wait.a_moment();
        }
    }

    /// Takes messages that nobody here waits for any more: their senders wait until they are taken.
    fn pass_over(&self) {
        for tag in [PART, LAST] {
            while let Some(found) = self.world.any_process().immediate_matched_probe_with_tag(tag) {
                drop(found.matched_receive_vec::<u8>());
            }
        }
    }
}

/// Looks without a break at first, then with longer and longer ones.
struct Wait {
    since: Instant,
    nap: Duration,
}

impl Wait {
    fn new() -> Wait {
        Wait { since: Instant::now(), nap: Duration::from_micros(20) }
    }

    fn a_moment(&mut self) {
        if self.since.elapsed() < SPIN {
            std::thread::yield_now();
        } else {
            std::thread::sleep(self.nap);
            self.nap = (2 * self.nap).min(NAP);
        }
    }
}
