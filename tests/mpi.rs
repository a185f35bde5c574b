//! Training on several ranks: the same bits on any number of them, and errors that all ranks get.
//!
//! Without arguments this is a list of checks, each of which has `mpirun` start this program again as the ranks of one case. Real MPI
//! is needed, and where there is none the checks fail.

#[path = "mpi/cases.rs"]
mod cases;
#[path = "mpi/checks.rs"]
mod checks;
#[path = "mpi/synchronized.rs"]
mod synchronized;

/// Names the case that a rank plays.
const CASE: &str = "WGRAD_MPI_CASE";

fn main() {
    match std::env::var(CASE) {
        Ok(case) => cases::play(&case),
        Err(_) => checks::run(),
    }
}
