//! Lowers the priority of work that can wait.

/// Gives the other threads of this machine precedence while processors are scarce. `steps` is added to the niceness,
/// see nice(1). On Linux this applies to the calling thread only. If the system refuses, the priority stays as it is.
pub fn lower_priority(steps: i32) {
    let _ = rustix::process::nice(steps);
}
