//! The peak memory of processes.

use crate::process::Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the anonymous memory is read. The kernel keeps no peak of it.
const INTERVAL: Duration = Duration::from_millis(10);

/// The peak memory of a process, in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Peak {
    /// All resident memory (VmHWM). It includes the mapped pages of the database.
    pub(crate) resident: f64,
    /// The memory that the process has allocated (RssAnon).
    pub(crate) anonymous: f64,
}

/// Watches processes until [`Watch::end`]. Ends by itself when the processes have ended.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Peak>>,
}

impl Watch {
    /// Resets the peaks of the processes, and begins to watch the processes.
    pub(crate) fn start(processes: &[&Process]) -> Watch {
        let ids: Vec<u32> = processes.iter().map(|process| process.id()).collect();
        for id in &ids {
            // The value 5 resets VmHWM.
            std::fs::write(format!("/proc/{id}/clear_refs"), "5").expect("the peak can be reset");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let must_stop = stop.clone();
        let thread = std::thread::spawn(move || watch(&ids, &must_stop));
        Watch { stop, thread }
    }

    /// The peaks, in the order of the processes. Each process must still exist.
    pub(crate) fn end(self) -> Vec<Peak> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the watch does not panic")
    }
}

fn watch(ids: &[u32], stop: &AtomicBool) -> Vec<Peak> {
    let mut peaks = vec![Peak::default(); ids.len()];
    loop {
        let is_last = stop.load(Ordering::Acquire);
        let mut lives = false;
        for (id, peak) in ids.iter().zip(&mut peaks) {
            // After a process has ended, these lines are missing.
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            if let (Some(resident), Some(anonymous)) = (bytes(&status, "VmHWM:"), bytes(&status, "RssAnon:"))
            {
                lives = true;
                peak.resident = resident;
                peak.anonymous = peak.anonymous.max(anonymous);
            }
        }
        if is_last || !lives {
            return peaks;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The value of a line of /proc/PID/status, in bytes. The line has the value in units of 1024 bytes.
fn bytes(status: &str, name: &str) -> Option<f64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().trim_end_matches(" kB").parse::<f64>().ok()? * 1024.0)
}
