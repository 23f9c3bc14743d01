//! Lowers the priority of work that can wait.

/// Lets the other threads of this machine go first when there are not enough processors for all: `steps` is what
/// nice(1) calls the niceness to add. On Linux it applies to the calling thread alone; where the system refuses, the
/// thread goes on as before.
pub fn lower_priority(steps: i32) {
    // SAFETY: nice changes a number in the kernel, and touches no memory of ours.
    unsafe {
        libc::nice(steps);
    }
}
