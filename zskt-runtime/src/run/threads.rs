//! The threads of the kernels.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use rayon::{ThreadBuilder, ThreadPoolBuilder};

/// The tape of a deep network is walked by recursion.
const STACK: usize = 64 << 20;

/// A thread that waits for what it is to do, and ends when nothing can come any more.
struct Waiting {
    job: Sender<ThreadBuilder>,
    thread: JoinHandle<()>,
}

impl Waiting {
    fn start() -> io::Result<Self> {
        let (sender, jobs) = channel::<ThreadBuilder>();
        let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
            if let Ok(job) = jobs.recv() {
                job.run();
            }
        })?;
        Ok(Self { job: sender, thread })
    }
}

/// Starts as many threads as the user or the machine says. Where so many cannot be had, half of those that can leave room for
/// all else; without any, the calling thread does all the work. That is said then.
pub fn start() -> Option<String> {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|number| number.trim().parse().ok());
    let wanted =
        asked.filter(|wanted| *wanted > 0).unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    // rayon's pool cannot be made again after one of its threads could not be started: they are started before.
    let mut waiting = Vec::new();
    let mut shortage = None;
    while waiting.len() < wanted && shortage.is_none() {
        match Waiting::start() {
            Ok(thread) => waiting.push(thread),
            Err(error) => shortage = Some(error),
        }
    }
    if shortage.is_some() {
        for Waiting { job, thread } in waiting.drain(waiting.len() / 2..) {
            drop(job);
            // It did nothing, and its stack is free once it has ended.
            let _ = thread.join();
        }
    }
    let count = waiting.len();
    let pool = ThreadPoolBuilder::new().num_threads(count.max(1));
    // Whoever has made a pool before has chosen its size.
    let _ = if count == 0 {
        pool.use_current_thread().build_global()
    } else {
        let unused = || io::Error::from(io::ErrorKind::BrokenPipe);
        let spawn = |job| waiting.pop().ok_or_else(unused)?.job.send(job).map_err(|_| unused());
        pool.spawn_handler(spawn).build_global()
    };
    let goes_on_with = if count == 0 { "the program's own".into() } else { count.to_string() };
    shortage.map(|error| {
        format!("{wanted} threads cannot be had ({error}): the run goes on with {goes_on_with}, and takes longer")
    })
}
