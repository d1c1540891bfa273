//! Where points run: how many at once, on which devices, each with its share of the threads.

use std::thread;

use zskt_api::Diagnostic;

use crate::device_request::DeviceRequest;
use crate::text_format;

/// How many threads the kernels of a run have (`run/threads.rs`).
const THREADS: &str = "RAYON_NUM_THREADS";

/// Which GPUs a program sees, by CUDA's own numbers.
const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";

/// Where one point runs at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    threads: usize,
    /// The only GPU that the run sees, or that it sees none.
    gpu: Option<Option<String>>,
}

impl Slot {
    /// What the environment of its runs has more than that of the sweep.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![(THREADS, self.threads.to_string())];
        environment.extend(self.gpu.clone().map(|gpu| (VISIBLE_GPUS, gpu.unwrap_or_default())));
        environment
    }
}

/// The slots of a sweep: `jobs` of them, or one for each device; devices are dealt out in turn. Each has all threads until they are
/// shared.
///
/// # Errors
/// When a device is not one, or this program cannot use it.
pub fn slots(jobs: Option<usize>, devices: &[String]) -> Result<Vec<Slot>, Diagnostic> {
    let threads =
        std::env::var(THREADS).ok().and_then(|number| number.trim().parse().ok()).filter(|threads| *threads > 0);
    let threads = threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let visible = std::env::var(VISIBLE_GPUS).ok();
    let gpus = devices.iter().map(|device| gpu(device, visible.as_deref())).collect::<Result<Vec<_>, _>>()?;
    let count = jobs.unwrap_or(gpus.len()).max(1);
    Ok((0..count).map(|place| Slot { threads, gpu: gpus.get(place % gpus.len().max(1)).cloned() }).collect())
}

/// As many of the slots as there are points to run, each with its share of the threads.
pub fn share(slots: &[Slot], points: usize) -> Vec<Slot> {
    let count = slots.len().min(points);
    let shared = |slot: &Slot| Slot { threads: (slot.threads / count).max(1), gpu: slot.gpu.clone() };
    slots[..count].iter().map(shared).collect()
}

/// How a device is the only one that a program sees. The pipeline stays as it is: a point may go on on another device than it began on.
fn gpu(device: &str, visible: Option<&str>) -> Result<Option<String>, Diagnostic> {
    let problem = |what: String| Err(Diagnostic::global(format!("--devices {device}: {what}")));
    match DeviceRequest::parse(device) {
        Some(DeviceRequest::Cpu) => Ok(None),
        Some(DeviceRequest::Cuda(_)) if !cfg!(feature = "cuda") => problem("this build has no CUDA".into()),
        Some(DeviceRequest::Cuda(number)) => match visible {
            None => Ok(Some(number.to_string())),
            Some(visible) => match visible.split(',').map(str::trim).filter(|gpu| !gpu.is_empty()).nth(number) {
                Some(gpu) => Ok(Some(gpu.to_owned())),
                None => problem(format!(
                    "{VISIBLE_GPUS} is {:?}, and has no number {number}",
                    text_format::one_line(visible)
                )),
            },
        },
        Some(DeviceRequest::Auto) | None => problem("expected \"cpu\" or \"cuda:0\"".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{gpu, share, slots};

    #[test]
    fn threads_are_shared_and_devices_dealt_out() {
        let cpus = |jobs: usize| slots(Some(jobs), &["cpu".to_owned()]).unwrap();
        assert_eq!(cpus(3).len(), 3);
        assert_eq!(
            share(&cpus(10_000), 10_000)[0].environment(),
            [("RAYON_NUM_THREADS", "1".into()), ("CUDA_VISIBLE_DEVICES", String::new())]
        );
        // One point that is left has all threads.
        assert_eq!(share(&cpus(3), 1), cpus(1));
        assert_eq!(share(&cpus(3), 0), []);
        assert_eq!(slots(None, &[]).unwrap().len(), 1);
        assert!(gpu("gpu", None).unwrap_err().message.contains("expected \"cpu\""));
        if cfg!(feature = "cuda") {
            assert_eq!(gpu("cuda:1", Some("4,GPU-7")).unwrap(), Some("GPU-7".into()));
            assert!(gpu("cuda:2", Some("4,5")).is_err());
        }
    }
}
