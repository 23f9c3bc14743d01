//! Class `dafka_tower`: introduces nodes to each other.
//!
//! A tower is an actor that receives the endpoint of each node and forwards the endpoint to all other nodes. No records
//! pass through a tower (RFC 46/DAFKA, "Interconnection Model"). A network needs at least one tower. With several
//! towers, each node is configured with all of them, and any one tower may fail. Nodes that are connected to each other
//! continue without a tower.
//!
//! `zactor_new` starts a tower with a `zconfig_t`, and `zactor_destroy` ends it. The program dafka_towerd(1) runs one
//! tower.
//!
//! # Configuration
//!
//! `tower/sub_address`: the address that the tower binds to receive from nodes, `tcp://*:5556` by default.
//! `tower/pub_address`: the address that the tower binds to send to nodes, `tcp://*:5557` by default.
//! `tower/endpoints_file`: a file to which the tower writes its real addresses, with the actual ports in place of `*`
//! or 0. `tower/verbose`: 1 to log each node that announces itself.
//!
//! If a node without `beacon/address` connects over loopback, `ipc://` or `inproc://`, the tower announces the node at
//! the address of this host's first network interface. Exception: if each address of the tower is a loopback, `ipc://`
//! or `inproc://` address, but not both are `inproc://`, the tower announces the node at 127.0.0.1.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     zconfig_t *config = zconfig_new ("root", NULL);
//!     //  Where the tower binds; other hosts need tcp://*:5556
//!     zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//!     //  The same addresses, for nodes that connect to it
//!     zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     assert (tower);
//!
//!     //  A consumer is a node. It connects to the tower, so it starts
//!     //  before beacon/connect_timeout has passed
//!     dafka_consumer_args_t args = { config, NULL };
//!     dafka_consumer_t *consumer = dafka_consumer_new (&args);
//!     assert (consumer);
//!     printf ("consumer %s has joined\n",
//!             dafka_consumer_address (consumer));
//!     dafka_consumer_destroy (&consumer);
//!
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return 0;
//! }
//! ```

use super::boundary::{run_actor, settings};
use super::selftest;
use crate::actor::tower;
use crate::czmq::sys::{zconfig_t, zsock_t};
use std::ffi::c_void;

/// The tower's actor: a function for `zactor_new`, whose `args` is a `zconfig_t *`, or NULL for the defaults. Do not
/// call it directly. `zactor_new` returns when the tower has bound to both addresses. A tower that cannot bind logs
/// why, and waits for `zactor_destroy`.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or a live `zconfig_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_tower_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives this end of the pipe to this thread, and waits at the other end for the ready signal.
    unsafe {
        run_actor("Tower", pipe, |pipe| tower::run(pipe, &settings(args.cast::<zconfig_t>()).tower));
    }
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_tower: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_tower_test(verbose: bool) {
    selftest::run("dafka_tower", verbose, selftest::tower);
}
