//! The first use of CZMQ in a process, by several threads at the same time.

use dafka::net::{Kind, Socket};
use std::process::Command;
use std::sync::Barrier;

/// Set in the processes that this test starts, each of which uses CZMQ for the first time.
const CHILD: &str = "DAFKA_FIRST_USE";

#[test]
fn threads_may_be_the_first_at_the_same_time() {
    if std::env::var_os(CHILD).is_some() {
        return use_first();
    }
    let program = std::env::current_exe().expect("a path");
    for _ in 0..100 {
        let mut child = Command::new(&program);
        child.args(["--exact", "threads_may_be_the_first_at_the_same_time", "--nocapture"]);
        let output = child.env(CHILD, "1").output().expect("a process");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn use_first() {
    const COUNT: usize = 8;
    let barrier = Barrier::new(COUNT);
    std::thread::scope(|scope| {
        for _ in 0..COUNT {
            scope.spawn(|| {
                barrier.wait();
                Socket::new(Kind::PAIR).expect("a socket");
            });
        }
    });
}
