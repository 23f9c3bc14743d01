//! Class `dafka_store`: keeps records on disk.
//!
//! A store is an actor that receives the records of all topics, writes them to its directory, and then acknowledges
//! them to their producers (RFC 46/DAFKA, "ZeroMQ Subscriptions"). With `store/sync = always`, the default, an
//! acknowledged record survives a crash of the process and a power failure. The store answers consumers that ask for
//! earlier records, whether the producer still runs or not. It also sends other stores the records that they lack.
//!
//! `zactor_new` starts a store with a `zconfig_t`. `zactor_destroy` ends it, after it has written all records that it
//! received. The program dafka_stored(1) runs one store.
//!
//! When a store cannot use its directory, it logs why and ends. This happens when the directory is not writable, when
//! another store uses the directory, or when the directory contains another database (such as the LevelDB files of a
//! store of libdafka 0.1.0). When the disk is full, the store acknowledges nothing until there is room again.
//!
//! # Configuration
//!
//! A store reads the keys that begin with `store/` or `beacon/`. The most important ones are `store/db` (the directory,
//! `storedb` by default), and `beacon/sub_address` and `beacon/pub_address` (the addresses of the tower).
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     zconfig_t *config = zconfig_new ("root", NULL);
//!     zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "consumer/offset/reset", "earliest");
//!     zconfig_put (config, "store/db", "example-db");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     zactor_t *store = zactor_new (dafka_store_actor, config);
//!     assert (tower && store);
//!
//!     //  The store acknowledges what a producer publishes ...
//!     dafka_producer_args_t producer_args = { "weather", config };
//!     zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//!     assert (producer);
//!     dafka_producer_msg_t *sent = dafka_producer_msg_new ();
//!     dafka_producer_msg_set_content_str (sent, "20 degrees");
//!     int rc = dafka_producer_msg_send (sent, producer);
//!     assert (rc == 0);
//!     dafka_producer_msg_destroy (&sent);
//!     //  ... and the producer waits for that: the record is on disk now
//!     zactor_destroy (&producer);
//!
//!     //  A consumer that starts later reads it from the store
//!     dafka_consumer_args_t consumer_args = { config, NULL };
//!     dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
//!     assert (consumer);
//!     dafka_consumer_subscribe (consumer, "weather");
//!     dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
//!     rc = dafka_consumer_msg_recv (msg, consumer);
//!     assert (rc == 0);
//!     assert (dafka_consumer_msg_streq (msg, "20 degrees"));
//!     printf ("read back from the store: 20 degrees\n");
//!     dafka_consumer_msg_destroy (&msg);
//!     dafka_consumer_destroy (&consumer);
//!
//!     zactor_destroy (&store);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     //  These records were only an example
//!     zdir_t *db = zdir_new ("example-db", NULL);
//!     zdir_remove (db, true);
//!     zdir_destroy (&db);
//!     return 0;
//! }
//! ```

use super::boundary::{run_actor, settings};
use super::selftest;
use crate::actor::store;
use crate::czmq::sys::{zconfig_t, zsock_t};
use std::ffi::c_void;

/// The store's actor: a function for `zactor_new`, whose `args` is a `zconfig_t *`, or NULL for the defaults. Do not
/// call it directly. `zactor_new` returns when the store has opened its directory, and the towers have answered or
/// `beacon/connect_timeout` (milliseconds) has passed. A store that cannot use its directory logs why and ends.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or a live `zconfig_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_store_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives this end of the pipe to this thread, and waits at the other end for the ready signal.
    unsafe {
        run_actor("Store", pipe, |pipe| store::run(pipe, &settings(args.cast::<zconfig_t>())));
    }
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_store: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_store_test(verbose: bool) {
    selftest::run("dafka_store", verbose, selftest::store);
}
