/*  =========================================================================
    dafka - decentralized, distributed streaming on ZeroMQ

    This Source Code Form is subject to the terms of the Mozilla Public
    License, v. 2.0. If a copy of the MPL was not distributed with this
    file, You can obtain one at http://mozilla.org/MPL/2.0/.

    Generated from src/capi by cbindgen (make header). Do not edit.
    =========================================================================
*/

//  OVERVIEW
//
//  Dafka streams records between programs, without a broker. Producers publish
//  records to topics, and consumers read them. Stores keep records on disk and
//  acknowledge them. These nodes connect directly to each other over ZeroMQ, as
//  RFC 46/DAFKA defines (https://rfc.zeromq.org/spec/46/). A tower only
//  announces the other nodes to each other.
//
//  A producer writes one partition of its topic. The partition is named after
//  the producer's address. Its records have the sequences 0, 1, 2 and so on. A
//  consumer receives the records of each partition in this order, and each
//  record once.
//
//  A program uses this library together with CZMQ. `zactor_new` starts towers,
//  stores and producers, and a `zconfig_t` configures them. The contents of
//  records can be `zframe_t` objects. Log lines go to `zsys`.
//
//  COMPILE AND LINK
//
//      gcc app.c -o app $(pkg-config --cflags --libs libdafka)
//
//  To link the archive instead of the shared library:
//
//      gcc app.c -o app $(pkg-config --cflags libdafka) $(pkg-config --variable=archive_libs libdafka)
//
//  With CMake: `find_package (dafka REQUIRED)`, then
//  `target_link_libraries (app dafka::dafka)`; the archive is
//  `dafka::dafka-static`. The header is for C99 and later, and for C++.
//  libdafka 0.1.0 had one header for each class (`dafka_producer.h` and so on).
//  These headers exist too, and each includes `dafka.h`.
//
//  CLASSES
//
//    - `dafka_producer`: publishes records to a topic
//    - `dafka_producer_msg`: a record to publish
//    - `dafka_consumer`: reads the records of topics
//    - `dafka_consumer_msg`: a record that was received
//    - `dafka_tower`: introduces nodes to each other
//    - `dafka_store`: keeps records on disk
//    - `dafka_publisher`: publishes records to a topic (first generation of the
//      API)
//    - `dafka_subscriber`: reads the records of topics (first generation of the
//      API)
//    - `dafka_beacon`: announces a node, and reports its peers
//    - `dafka_proto`: a message of the wire protocol
//
//  There are two generations of the API. Producers and consumers belong to the
//  current generation, publishers and subscribers to the older one. Subscribers
//  also receive the records of producers, and consumers also receive the
//  records of publishers.
//
//  CONFIGURATION
//
//  A node reads its keys from a `zconfig_t *` when it starts. If this pointer
//  is NULL, all keys have their defaults. A missing key has its default. A key
//  may be nested, as zconfig_put creates it, or flat: one item named
//  `store/db`. If a value is invalid, the node logs the key and the value, and
//  uses the default. Exception: for some keys of libdafka 0.1.0, the node
//  interprets an invalid value as 0.1.0 does. The manual page dafka(7) and
//  doc/configuration.md list the keys with their units and defaults. Most
//  programs need these keys:
//
//    - `tower/sub_address`, `tower/pub_address`: the addresses that a tower
//      binds to
//    - `beacon/sub_address`, `beacon/pub_address`: the addresses of the tower,
//      to which the other nodes connect
//    - `consumer/offset/reset`: where a consumer begins to read: `earliest`,
//      `latest` (the default), an offset, `-N` for the last N records, or
//      `@TIME`
//    - `store/db`: the directory of a store
//
//  RETURN VALUES
//
//    - A function that returns `int`: 0 on success, -1 on failure
//      (`dafka_proto_recv` also returns -2)
//    - A function that returns a pointer: NULL when there is nothing to return,
//      or no memory
//    - A function that returns a number or `bool`: 0 or false when there is
//      nothing to return. Exceptions: `dafka_producer_unacked` and
//      `dafka_consumer_msg_timestamp` return -1, `dafka_consumer_msg_sequence`
//      returns UINT64_MAX
//
//  ERRORS
//
//  A function that fails logs one line that begins with the function's name
//  (`zsys_error`). When a signal or a timeout ends the wait of a function, that
//  is not an error: the function returns -1 without a log line. Some functions
//  set `errno`, as their descriptions say. After a failure of another function,
//  the value of `errno` has no meaning.
//
//  Every pointer argument may be NULL. A function treats NULL as an error (see
//  above) if it cannot work without the argument. Destructors ignore NULL. They
//  set the caller's pointer to NULL, so that destroying twice is harmless.
//
//  An actor that cannot start logs why, and ends. For example, an address may
//  be in use, or a directory may not be writable. `zactor_new` returns the
//  actor even so. Functions that are called with this actor return errors, and
//  `zactor_destroy` returns at once. No input from a peer, a file or a
//  configuration ends the process.
//
//  OWNERSHIP
//
//    - The caller owns the result of a function named `_new` or `_dup`, and
//      destroys it with the function named `_destroy`. That function takes a
//      pointer to the caller's pointer, and sets the caller's pointer to NULL.
//    - A result that is a `const char *` or a `const byte *`, or that a
//      description calls borrowed, belongs to the object with which the
//      function was called. The function's description says how long the result
//      stays valid.
//    - A result that is a `char *` is a new copy. The caller frees it with
//      `zstr_free`.
//    - A function whose parameter is a pointer to a pointer (`zframe_t **`,
//      `zlist_t **`) takes over the object, and sets the caller's pointer to
//      NULL.
//    - The caller keeps the arguments of a node, with their strings and their
//      configuration, and may free them after `zactor_new` or
//      `dafka_consumer_new` has returned. The exception is a sink for records,
//      which `dafka_consumer_new` takes over.
//
//  THREADS
//
//  A node has its own threads. Only one thread at a time may use an object (an
//  actor, a consumer, a message), as with CZMQ's sockets. A program may hand an
//  object to another thread. Different threads may use different objects at the
//  same time. There are exceptions: several threads may call
//  `dafka_producer_msg_send`, `dafka_producer_msg_try_send`,
//  `dafka_producer_flush`, `dafka_producer_unacked` and `dafka_producer_acked`
//  with one producer at the same time.
//
//  All sockets belong to CZMQ's context of the process. So `inproc://`
//  addresses work between the nodes of a process, and between the nodes and the
//  application. Calls of `zsys_set_linger`, `zsys_set_pipehwm`,
//  `zsys_set_io_threads` and `zsys_set_ipv6` affect only nodes that start after
//  the call. Destroy all nodes before `zsys_shutdown`.
//
//  A program may leave `main`, or call `exit`, without destroying its nodes.
//  `exit` then ends the nodes. For up to 200 ms, they process messages that
//  they have already received. They do not wait for acknowledgements. Records
//  that a store has acknowledged stay in this store. `exit` waits for the
//  nodes, usually less than 200 ms, and at most 5 seconds. CZMQ then closes the
//  sockets, which takes another 200 ms, and sends the remaining messages for at
//  most 3 more seconds (`zsys_set_linger` changes this limit). To lose no
//  record, destroy producers before the program ends. An `atexit` function that
//  destroys them must be registered after the first node has started: `exit`
//  first calls the functions that were registered last. A function that was
//  registered before the first node started is called too late, because the
//  producers have already ended.
//
//  SIGNALS
//
//  CZMQ catches SIGINT and SIGTERM, unless the application has replaced CZMQ's
//  signal handler (`zsys_handler_set`). With CZMQ's handler, a function that
//  waits for a record or a message returns -1 after either signal, and
//  `zsys_interrupted` is set. The same applies to `dafka_producer_msg_send` and
//  `dafka_producer_flush`, which notice the signal within 100 ms. No data is
//  lost, and the program can call the function again. While `zsys_interrupted`
//  is set, these functions do not wait.
//
//  An application may have its own signal handler. If the handler runs in a
//  thread that waits for a record or a message, the waiting function returns
//  -1. SA_RESTART makes no difference, because ZeroMQ waits in poll. All other
//  functions continue to wait after the signal.
//
//  `zactor_new` (CZMQ 4.2.1) returns early when a signal interrupts it. The
//  actor may then not be ready. Every function of this library first waits
//  until the actor is ready, so nothing is lost. The library cannot prevent the
//  following:
//
//    - The arguments of the actor must stay valid until the actor has started.
//    - An application that reads the actor's pipe directly may first read the
//      actor's ready signal (a message that `zsock_signal` sends).
//    - If the program has called no function of this library with the actor,
//      `zactor_destroy` returns before the actor has ended.
//    - In CZMQ 4.2.1 a signal can even end the process while `zactor_new` makes
//      the pipe (an assertion).
//
//  To avoid these problems, block signals (`pthread_sigmask`) while
//  `zactor_new` runs.
//
//  FORK
//
//  A child that is forked without exec has its parent's nodes in memory, but
//  none of their threads. In the child, functions that need these threads log
//  an error and return -1 or NULL at once. `dafka_consumer_destroy` only frees
//  memory, and does not touch the parent's sockets. In the child, do not call
//  `zactor_destroy` or `zsock_destroy` on the parent's objects: CZMQ would then
//  count its sockets wrongly. The child may start its own nodes. The child
//  holds copies of its parent's connections until it ends or calls exec. Until
//  then, peers do not notice that a node of the parent has ended.
//
//  LIMITS OF THE PROCESS
//
//  A consumer takes up to 14 ZeroMQ sockets, a producer, a publisher or a
//  subscriber 12, a store 28, a tower 4, a beacon 6. All these sockets count
//  towards ZMQ_MAX_SOCKETS, which is 1,024 in CZMQ. An application that needs
//  more calls `zsys_set_max_sockets` (0: as many as ZeroMQ allows, 65,535)
//  before it makes its first socket, or sets ZSYS_MAX_SOCKETS in the
//  environment. If no limit was set and the first socket of the process belongs
//  to a consumer, the library allows as many sockets as the process may open
//  files.
//
//  Each socket uses a file descriptor. Each node uses one more descriptor to
//  listen, and each connection to or from a peer uses another one. All these
//  descriptors count towards RLIMIT_NOFILE (`ulimit -n`). Each node has two
//  threads or more. Consumers of one process do not connect to each other. From
//  the ninth consumer on, the consumers of the process receive the beacons over
//  one shared connection to the towers. A thousand consumers with a producer in
//  one process take about 17,000 file descriptors and 2,000 threads.
//
//  When a limit is reached, the log names the limit. `dafka_consumer_new` then
//  returns NULL. An actor that cannot start logs why, and ends. `zactor_new`
//  and `zsock_new` themselves end the process (CZMQ 4.2.1) when no socket is
//  left for them.

#ifndef DAFKA_H_INCLUDED
#define DAFKA_H_INCLUDED

#include <czmq.h>

//  The version of this library.
#define DAFKA_VERSION_MAJOR 0
#define DAFKA_VERSION_MINOR 2
#define DAFKA_VERSION_PATCH 0

#define DAFKA_MAKE_VERSION(major, minor, patch) \
    ((major) * 10000 + (minor) * 100 + (patch))
#define DAFKA_VERSION \
    DAFKA_MAKE_VERSION(DAFKA_VERSION_MAJOR, DAFKA_VERSION_MINOR, DAFKA_VERSION_PATCH)

#if defined (__GNUC__)
#   define DAFKA_EXPORT __attribute__ ((visibility ("default")))
#   define DAFKA_PRIVATE __attribute__ ((visibility ("hidden")))
#else
#   define DAFKA_EXPORT
#   define DAFKA_PRIVATE
#endif

//  The messages of the wire protocol (RFC 46/DAFKA), by their first octet.
#define DAFKA_PROTO_RECORD 'M'
#define DAFKA_PROTO_MSG DAFKA_PROTO_RECORD
#define DAFKA_PROTO_DIRECT_RECORD 'D'
#define DAFKA_PROTO_FETCH 'F'
#define DAFKA_PROTO_ACK 'K'
#define DAFKA_PROTO_HEAD 'H'
#define DAFKA_PROTO_DIRECT_HEAD 'E'
#define DAFKA_PROTO_GET_HEADS 'G'
#define DAFKA_PROTO_CONSUMER_HELLO 'W'
#define DAFKA_PROTO_STORE_HELLO 'L'

//  Opaque types.
typedef struct _dafka_proto_t dafka_proto_t;
#define DAFKA_PROTO_T_DEFINED
typedef struct _dafka_beacon_t dafka_beacon_t;
#define DAFKA_BEACON_T_DEFINED
typedef struct _dafka_tower_t dafka_tower_t;
#define DAFKA_TOWER_T_DEFINED
typedef struct _dafka_store_t dafka_store_t;
#define DAFKA_STORE_T_DEFINED
typedef struct _dafka_producer_t dafka_producer_t;
#define DAFKA_PRODUCER_T_DEFINED
typedef struct _dafka_producer_msg_t dafka_producer_msg_t;
#define DAFKA_PRODUCER_MSG_T_DEFINED
typedef struct _dafka_consumer_t dafka_consumer_t;
#define DAFKA_CONSUMER_T_DEFINED
typedef struct _dafka_consumer_msg_t dafka_consumer_msg_t;
#define DAFKA_CONSUMER_MSG_T_DEFINED
typedef struct _dafka_publisher_t dafka_publisher_t;
#define DAFKA_PUBLISHER_T_DEFINED
typedef struct _dafka_subscriber_t dafka_subscriber_t;
#define DAFKA_SUBSCRIBER_T_DEFINED

#ifdef __cplusplus
extern "C" {
#endif
// Checks the internals of the library, for the dafka_selftest of libdafka 0.1.0. Runs all tests ("$ALL"), or one of
// "dafka_unacked_list_test", "dafka_util_test" and "dafka_test_peer_test". Prints a line that ends with OK for each. A
// failed check aborts the process. For any other name, nothing happens.
DAFKA_EXPORT void
    dafka_private_selftest (bool verbose, const char *subtest);
#ifdef __cplusplus
}
#endif

#ifdef __cplusplus
extern "C" {
#endif

//  ============================================================================
//  dafka_producer: publishes records to a topic
//  ============================================================================
//
//  A producer is an actor that writes one partition of one topic. It numbers
//  its records from 0 and publishes them to all subscribed nodes. It keeps each
//  record until stores have acknowledged it, so that consumers and stores can
//  request records that they missed (RFC 46/DAFKA, "Topics, Partitions and
//  Records" and "The RECORD Command"). `zactor_new` starts a producer with a
//  `dafka_producer_args_t`. `dafka_producer_msg_send` hands records to the
//  producer. Several threads may call this function with one producer at the
//  same time, and also `dafka_producer_msg_try_send`, `dafka_producer_flush`,
//  `dafka_producer_unacked` and `dafka_producer_acked`. Call all other
//  functions with this producer only while no other thread uses it.
//
//  `zactor_destroy` ends a producer. The producer first publishes all records
//  that were sent to it. Then it waits until every record is acknowledged.
//  Without a store it waits for ever, unless `producer/terminate_unacked` is 1.
//
//  A record that is not acknowledged is lost when the process dies.
//  `dafka_producer_flush` waits until all records are acknowledged, with a
//  timeout. A program can send many records and then flush once. The producer
//  publishes records in batches, and stores acknowledge them in batches. So a
//  flush costs about one round trip to a store and its disk.
//
//  CONFIGURATION
//
//  A producer reads the keys that begin with `producer/` or `beacon/`. The most
//  important ones are `beacon/sub_address` and `beacon/pub_address` (the
//  addresses of the tower), `producer/terminate_unacked`, `producer/min_stores`
//  (how many stores must acknowledge a record), `producer/max_unacked_bytes`
//  (memory limit for records that wait for acknowledgement), and
//  `producer/max_record_bytes` (maximum length of a record).
//
//  With `producer/name`, a producer continues the partition of the last
//  producer with the same name and topic, also when that one was killed. It
//  keeps its records in `producer/directory` until they are acknowledged. If it
//  continues a partition, it publishes new records when `producer/start_stores`
//  stores have responded. `zactor_new` and `dafka_producer_msg_send` do not
//  wait for this. While another producer uses the same name and topic in the
//  same directory, the producer logs an error and ends.
//
//  COMMANDS
//
//  Programs that write to the actor's pipe directly (`zsock_send`, `zmsg_send`)
//  may send these commands:
//
//    - `P`: publish. A second frame holds the content. If the content is longer
//      than `producer/max_record_bytes`, the producer logs an error and drops
//      the record. The pipe's high-water mark applies (`zsys_set_pipehwm`). A
//      program that also uses `dafka_producer_msg_send` calls
//      `dafka_producer_address` after its first `P`: that function returns when
//      the producer has read all earlier commands. From then on, the producer
//      publishes all records in the order in which they were sent. Without that
//      call, a record that is sent with `dafka_producer_msg_send` may overtake
//      `P`s that the producer has not read yet.
//    - `GET ADDRESS`: the answer is the pointer that `dafka_producer_address`
//      returns (`zsock_brecv` with picture `p`).
//    - `$TERM`: end. `zactor_destroy` sends it, and does not wait for room in
//      the pipe. If a program's own commands may have filled the pipe, the
//      program calls `dafka_producer_address` before `zactor_destroy`: when
//      that function returns, there is room.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          //  A tower inside this process, and its addresses for the nodes
//          zconfig_t *config = zconfig_new ("root", NULL);
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          //  There is no store: let the producer end without an ACK
//          zconfig_put (config, "producer/terminate_unacked", "1");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          dafka_producer_args_t args = { "weather", config };
//          zactor_t *producer = zactor_new (dafka_producer, &args);
//          assert (producer);
//          printf ("publishing partition %s of weather\n",
//                  dafka_producer_address (producer));
//
//          dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//          assert (msg);
//          int number;
//          for (number = 0; number < 3; number++) {
//              char content [32];
//              snprintf (content, sizeof (content), "%d degrees", 20 + number);
//              int rc = dafka_producer_msg_set_content_str (msg, content);
//              assert (rc == 0);
//              rc = dafka_producer_msg_send (msg, producer);
//              assert (rc == 0);
//          }
//          dafka_producer_msg_destroy (&msg);
//
//          //  Without a store, the records stay unacknowledged
//          int rc = dafka_producer_flush (producer, 100);
//          assert (rc == -1 && errno == EAGAIN);
//          assert (dafka_producer_unacked (producer) == 3);
//
//          zactor_destroy (&producer);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return 0;
//      }

//  The arguments of `dafka_producer`. The caller keeps topic and configuration,
//  and may free them after `zactor_new` has returned.
typedef struct {
    //  The topic to publish to, 1 to 255 bytes.
    const char *topic;
    //  The configuration. NULL for the defaults.
    zconfig_t *config;
} dafka_producer_args_t;

//  The producer's actor: a function for `zactor_new`, whose `args` is a
//  `dafka_producer_args_t *`. Do not call it directly. `zactor_new` returns
//  when the towers have answered or `beacon/connect_timeout` (milliseconds) has
//  passed. Without a topic the producer logs an error and ends.
DAFKA_EXPORT void
    dafka_producer (zsock_t *pipe, void *args);

//  The address of a producer, which is also the name of the partition that it
//  writes: 32 hexadecimal digits. The string is borrowed, and valid as long as
//  the actor lives. NULL when `self` is NULL or the producer has ended.
//
//  When the producer detects another producer with the same address, it takes a
//  new address. This happens for example in a cloned virtual machine or a
//  restored snapshot. The producer logs the change and continues in a new
//  partition. It publishes all unacknowledged records again in the new
//  partition, numbered from 0. A string that this function returned before the
//  change stays valid and holds the old address. A producer with
//  `producer/name` does not change its address, and has the address of the last
//  producer with this name.
DAFKA_EXPORT const char *
    dafka_producer_address (zactor_t *self);

//  Waits until all records that were sent before the call are acknowledged.
//  Records of other threads count too, if the sending function had returned
//  before. An acknowledged record is on the disks of `producer/min_stores`
//  different stores (1 by default), unless `store/sync` is `never`. Records
//  that are sent during the call do not prolong the wait. A producer that
//  gathers records publishes them at once. Records of an earlier producer with
//  the same `producer/name` come before all records that were sent to this one.
//  They do not count if none were sent.
//
//  `timeout_msecs` limits the wait, in milliseconds. -1: no limit. 0: the
//  function only checks.
//
//  Returns 0 when all these records are acknowledged, also if there are none.
//  Otherwise returns -1 and sets errno:
//
//    - `EAGAIN`: the timeout was over first. The producer keeps the
//      unacknowledged records, and a store that comes later gets them.
//    - `EINTR`: a signal ended the wait, if CZMQ handles SIGINT and SIGTERM
//      (see "Signals" in dafka(7)). While `zsys_interrupted` is set, the
//      function does not wait. To flush after the signal, set
//      `zsys_interrupted` to 0 first.
//    - `EIO`: the producer can no longer find out whether all records are
//      acknowledged. This happens only if another producer has used the same
//      address for long, see `dafka_producer_address`. All further flushes then
//      fail, too. Start another producer, and send again all records that no
//      earlier flush has confirmed.
//    - `EPIPE`: the producer has ended.
//    - `EINVAL`: the actor is NULL or not a producer, or belongs to the process
//      that forked this one.
//
//  The last two errors are logged. Records that a program has written into the
//  pipe itself (`P`) count too, if the program has called
//  `dafka_producer_address` after its first `P`. The function can also be
//  called with a publisher. In both cases, it may wait longer than the timeout,
//  until the producer's thread has read the earlier commands.
DAFKA_EXPORT int
    dafka_producer_flush (zactor_t *self, int timeout_msecs);

//  How many of the records that were sent to the producer are not acknowledged.
//  Records that the producer has not published yet count, too.
//
//  Returns -1 when the producer has ended, or `self` is NULL or not a producer.
//  errno is as after `dafka_producer_flush`. A record whose acknowledgement may
//  have been for a record of another producer with the same address counts as
//  not acknowledged (see `dafka_producer_address`). Records that a program has
//  written into the pipe itself count once the producer has read them.
DAFKA_EXPORT int64_t
    dafka_producer_unacked (zactor_t *self);

//  Sets `*sequence` to the sequence of the latest acknowledged record. All
//  earlier records of the partition are then acknowledged too.
//
//  Returns 0, or -1 when no record of the partition is acknowledged yet (errno
//  is `EAGAIN`, and the function logs nothing). Also returns -1 when the
//  producer has ended, when an argument is NULL, or when `self` is not a
//  producer; errno is then as after `dafka_producer_flush`. When the function
//  returns -1, `*sequence` is unchanged.
//
//  The sequence belongs to the partition whose name `dafka_producer_address`
//  returns. When the producer takes a new address, its unacknowledged records
//  begin at 0 in a new partition, and no record of the new partition is
//  acknowledged at first. So a program that stores the sequence together with
//  the address asks for the address before and after this call, and repeats
//  both if the address has changed. While the producer waits for a new address,
//  the sequence does not increase.
DAFKA_EXPORT int
    dafka_producer_acked (zactor_t *self, uint64_t *sequence);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_producer: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_producer_test (bool verbose);


//  ============================================================================
//  dafka_producer_msg: a record to publish
//  ============================================================================
//
//  A message is empty or has a content of zero or more bytes. After a producer
//  has taken the content, the message is empty and can be used again. So a
//  program can send all its records with one message. A producer accepts
//  contents of up to `producer/max_record_bytes`, which is 1 GiB by default and
//  cannot be more. A store accepts up to `store/max_record_bytes`.
//
//  A record can also have attributes: a key, headers, and a timestamp.
//  Consumers get them with the record, and stores keep them. Nodes of libdafka
//  0.1.0 ignore them. A change of the content does not change the attributes.
//  When a producer has taken the record, the message has no attributes.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//          assert (msg);
//          assert (dafka_producer_msg_content (msg) == NULL);
//
//          //  A string, without its NUL
//          int rc = dafka_producer_msg_set_content_str (msg, "hello");
//          assert (rc == 0);
//          assert (dafka_producer_msg_content_size (msg) == 5);
//          assert (dafka_producer_msg_streq (msg, "hello"));
//
//          //  Any bytes
//          const byte bytes [] = { 0, 1, 2, 255 };
//          rc = dafka_producer_msg_set_content_buffer (msg, bytes, 4);
//          assert (rc == 0);
//          assert (dafka_producer_msg_content (msg) [3] == 255);
//
//          //  A frame, which the message takes without a copy
//          zframe_t *frame = zframe_from ("world");
//          dafka_producer_msg_set_content (msg, &frame);
//          assert (frame == NULL);
//          char *text = dafka_producer_msg_strdup (msg);
//          printf ("the content is %s\n", text);
//          zstr_free (&text);
//
//          //  Moves the content out: the message is empty then
//          frame = dafka_producer_msg_get_content (msg);
//          assert (zframe_streq (frame, "world"));
//          zframe_destroy (&frame);
//          assert (dafka_producer_msg_content_size (msg) == 0);
//
//          //  A record with a key and a header
//          rc = dafka_producer_msg_set_content_str (msg, "20 degrees");
//          assert (rc == 0);
//          rc = dafka_producer_msg_set_key (msg, (const byte *) "roof", 4);
//          assert (rc == 0);
//          rc = dafka_producer_msg_set_header (msg, "unit", (const byte *) "Celsius", 7);
//          assert (rc == 0);
//
//          dafka_producer_msg_destroy (&msg);
//          assert (msg == NULL);
//          return 0;
//      }

//  Makes an empty message. The caller owns it, and destroys it with
//  `dafka_producer_msg_destroy`. NULL only after an internal error, which is
//  logged.
DAFKA_EXPORT dafka_producer_msg_t *
    dafka_producer_msg_new (void);

//  Destroys a message and its content, and sets `*self_p` to NULL. Accepts NULL
//  and a pointer to NULL.
DAFKA_EXPORT void
    dafka_producer_msg_destroy (dafka_producer_msg_t **self_p);

//  The content. It is borrowed, and valid until the message gets another
//  content, is sent or is destroyed. NULL when the message is empty or `self`
//  is NULL.
DAFKA_EXPORT const byte *
    dafka_producer_msg_content (dafka_producer_msg_t *self);

//  The length of the content in bytes. 0 when the message is empty or `self` is
//  NULL.
DAFKA_EXPORT size_t
    dafka_producer_msg_content_size (dafka_producer_msg_t *self);

//  Moves the content out of the message. The message is then empty. The caller
//  owns the frame, and destroys it with `zframe_destroy`. NULL when the message
//  is empty or `self` is NULL.
DAFKA_EXPORT zframe_t *
    dafka_producer_msg_get_content (dafka_producer_msg_t *self);

//  Replaces the content with `size` zero bytes. To fill them, cast away the
//  `const` of the pointer that `dafka_producer_msg_content` returns.
//
//  Returns 0, or -1 when there is no memory or `self` is NULL. When it returns
//  -1, the message is unchanged.
DAFKA_EXPORT int
    dafka_producer_msg_init_content (dafka_producer_msg_t *self, size_t size);

//  Replaces the content with a frame, without a copy. Takes ownership of the
//  frame and sets `*content` to NULL, also when `self` is NULL. With a NULL
//  frame the message becomes empty.
DAFKA_EXPORT void
    dafka_producer_msg_set_content (dafka_producer_msg_t *self, zframe_t **content);

//  Replaces the content with a copy of a string, without its NUL.
//
//  Returns 0, or -1 when there is no memory or an argument is NULL. When it
//  returns -1, the message is unchanged.
DAFKA_EXPORT int
    dafka_producer_msg_set_content_str (dafka_producer_msg_t *self, const char *content);

//  Replaces the content with a copy of `size` bytes.
//
//  Returns 0, or -1 when there is no memory or an argument is NULL (`content`
//  may be NULL when `size` is 0). When it returns -1, the message is unchanged.
DAFKA_EXPORT int
    dafka_producer_msg_set_content_buffer (dafka_producer_msg_t *self, const byte *content,
                                           size_t size);

//  Sets the key of the record to a copy of `size` bytes. Consumers get the key
//  with the record (`dafka_consumer_msg_key`). The library does not interpret
//  the key. If `data` is NULL and `size` is 0, the record has no key. An empty
//  key differs from no key.
//
//  Returns 0, or -1 with `errno`: EMSGSIZE when the key is longer than 65,535
//  bytes, EINVAL when `self` is NULL, or when `data` is NULL and `size` is not
//  0. When it returns -1, the message is unchanged.
DAFKA_EXPORT int
    dafka_producer_msg_set_key (dafka_producer_msg_t *self, const byte *data, size_t size);

//  Adds a header to the record: a name, and a copy of `size` bytes as its
//  value. Consumers get the header with the record
//  (`dafka_consumer_msg_header`). The new header is the last one. It replaces a
//  header with the same name. `data` may be NULL when `size` is 0.
//
//  Returns 0, or -1 with `errno`: EMSGSIZE when the name is longer than 255
//  bytes, or when all headers of the record together would occupy more than
//  65,535 bytes (a header occupies its name, its value and 3 bytes); EINVAL
//  when `self` or `name` is NULL, or when `data` is NULL and `size` is not 0.
//  When the function returns -1, the message is unchanged.
DAFKA_EXPORT int
    dafka_producer_msg_set_header (dafka_producer_msg_t *self, const char *name, const byte *data,
                                   size_t size);

//  Sets the timestamp of the record, in milliseconds since the Unix epoch.
//  Without this call, the timestamp is the time at which the producer publishes
//  the record (`zclock_time`). The timestamp has no effect on the order of the
//  records. Do not set -1, because `dafka_consumer_msg_timestamp` returns -1
//  for a record without a timestamp.
DAFKA_EXPORT void
    dafka_producer_msg_set_timestamp (dafka_producer_msg_t *self, int64_t msecs);

//  Hands the record to a producer. The message is then empty, and can be used
//  again. A content of more than 16 KiB is not copied, unless the record has a
//  key or headers. If the producer is idle, the record is usually published
//  before this function returns. Otherwise it is published soon afterwards. The
//  record's sequence is the number of records that were sent to this producer
//  before, unless the producer's address changes (see
//  `dafka_producer_address`).
//
//  The function waits while the producer's queue is full. The queue is full
//  when it contains as many records as the producer's pipe has room for
//  (`zsys_set_pipehwm`), or 16 MiB of records. The function also waits while
//  unacknowledged records fill `producer/max_unacked_bytes`. If CZMQ handles
//  SIGINT and SIGTERM, these signals end the waits (see "Signals" in dafka(7)).
//  While `zsys_interrupted` is set, the function does not wait.
//
//  Several threads may send to one producer at once, each with its own message.
//  The producer publishes the records of each thread in the order in which the
//  thread has sent them. dafka_producer(3) lists the other functions that may
//  be called at the same time. If a signal may have interrupted `zactor_new`,
//  call `dafka_producer_address` before the threads begin to send.
//
//  An actor that does not belong to this library (a test double, a filter)
//  receives a message of two frames, `P` and the content, without the
//  attributes. The function waits while the pipe of this actor is full. A
//  signal ends this wait (see "Signals" in dafka(7)).
//
//  Returns 0, or -1. When it returns -1, the record is not sent, and the
//  message keeps its content. errno is then:
//
//    - `EINTR`: a signal ended the wait. The function logs nothing.
//    - `ENOMEM`: there is no memory for a copy of the content.
//    - `EMSGSIZE`: the content is longer than `producer/max_record_bytes`. The
//      log contains the limit and the length.
//    - `EPIPE`: the producer has ended. If it ends during the call, the message
//      may lose a content of more than 16 KiB.
//    - `EINVAL`: the message is empty, an argument is NULL, or the producer
//      belongs to the process that forked this one.
DAFKA_EXPORT int
    dafka_producer_msg_send (dafka_producer_msg_t *self, zactor_t *producer);

//  As `dafka_producer_msg_send`, but does not wait for room. So a program that
//  must not block can keep the record, or drop it.
//
//  The function does not wait for the network or for a store. It may have to
//  wait for the producer's thread, if the program itself has filled the
//  producer's pipe with commands.
//
//  Returns 0, or -1. When it returns -1, the record is not sent, and the
//  message keeps its content. errno is then `EAGAIN` if
//  `dafka_producer_msg_send` would wait now: the producer's queue or pipe is
//  full, or unacknowledged records fill `producer/max_unacked_bytes`. The
//  function then logs nothing. For other errors, errno is as after
//  `dafka_producer_msg_send`.
DAFKA_EXPORT int
    dafka_producer_msg_try_send (dafka_producer_msg_t *self, zactor_t *producer);

//  A new copy of the content with a NUL after it. The caller owns it, and frees
//  it with `zstr_free`. NULL when the message is empty, there is no memory, or
//  `self` is NULL.
DAFKA_EXPORT char *
    dafka_producer_msg_strdup (dafka_producer_msg_t *self);

//  True when the content equals a string. The NUL of the string does not count.
//  False otherwise, also when the message is empty or an argument is NULL.
DAFKA_EXPORT bool
    dafka_producer_msg_streq (dafka_producer_msg_t *self, const char *text);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_producer_msg: OK". A failed
//  check aborts the process. With `verbose`, the nodes of the test log what
//  they do.
DAFKA_EXPORT void
    dafka_producer_msg_test (bool verbose);


//  ============================================================================
//  dafka_consumer: reads the records of topics
//  ============================================================================
//
//  A consumer receives the records of all partitions of its topics. It requests
//  missed records from producers and stores (RFC 46/DAFKA, "The FETCH
//  Command"). It delivers the records of one partition in order, and each
//  record once. It delivers records of different partitions in the order in
//  which they arrive. `dafka_consumer_msg_recv` reads the next record. A new
//  consumer begins where `consumer/offset/reset` says, or where
//  `dafka_consumer_seek`, `dafka_consumer_seek_time` or
//  `dafka_consumer_seek_end` says. A consumer with a name (`consumer/name`)
//  continues where the last consumer with this name has stopped.
//
//  Records wait for the application in the record pipe, which is a pair of
//  sockets and a queue. `zsys_set_pipehwm` limits the number of these records,
//  and the queue holds at most 4 MiB. When the application reads slowly, the
//  record pipe fills up. The consumer then keeps up to
//  `consumer/max_unread_bytes` of further records. It drops records beyond this
//  limit, and requests them again later.
//
//  CONFIGURATION
//
//  A consumer reads the keys that begin with `consumer/` or `beacon/`. The most
//  important ones are `beacon/sub_address` and `beacon/pub_address` (the
//  addresses of the tower) and `consumer/offset/reset`. With `latest`, the
//  default, a consumer reads the records that are published after its
//  subscription. With `earliest` it reads each partition from its first record.
//  It can also begin at an offset, at the last records, or at a time.
//
//  COMMITTED POSITIONS
//
//  A consumer with a name (`consumer/name`) commits to the stores which records
//  the application has processed. With `consumer/commit` = `auto`, the default,
//  a record counts as processed when the application asks for the next record.
//  The consumer then commits it within two intervals
//  (`consumer/commit_interval`), and when it ends. So a program that ends while
//  it processes a record gets this record again. `dafka_consumer_destroy` waits
//  up to 2 seconds until a store has confirmed the last commits. With `manual`,
//  the consumer commits only in `dafka_consumer_commit` and
//  `dafka_consumer_commit_msg`.
//
//  At its start, a consumer with a name waits until the connected stores have
//  sent its positions, and no further store has connected for 1.2 seconds. It
//  waits at most 3 seconds if no store is connected, and at most 15 seconds
//  otherwise. `consumer/offset/reset` applies to partitions without a committed
//  position. A seek comes before committed positions, and commits nothing.
//
//  A consumer with a name passes all records through its queue, see
//  `dafka_consumer_record_source`: only `dafka_consumer_msg_recv` and
//  `dafka_consumer_msg_recv_from_socket` can read them. A consumer with a sink
//  of the application ignores its name, and logs an error.
//
//  GROUPS
//
//  Consumers with the same `consumer/group` are members of one group, in one
//  process or in several. They share the records of their topics: one of the
//  members gets each record, also if all records are of one partition.
//  `consumer/group_by` determines how records are shared, and which order
//  remains. Members can come, leave and die. The others then take over, and
//  continue after the records that were committed. Commits are as for a
//  consumer with a name, and `consumer/name` is ignored. In a group, the
//  functions that seek return -1 with `errno` = ENOTSUP. Before a member ends
//  in an orderly way, it should call `dafka_consumer_commit`, so that no other
//  member gets its last record again.
//
//  A RECORD SINK OF THE APPLICATION
//
//  The application may set `record_sink` to a connected socket that can send
//  (PAIR, PUSH, DEALER). The consumer then sends its records to this socket,
//  and makes no record pipe. The consumer takes over the socket, uses it in the
//  consumer's own thread, and destroys it. The consumer first sends a signal.
//  At the other end, the application can wait for this signal with
//  `zsock_wait`. Then the consumer sends each record as a message of three
//  frames: topic, partition, content. `dafka_consumer_msg_recv_from_socket`
//  reads these messages and skips the signal.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zconfig_t *config = zconfig_new ("root", NULL);
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "producer/terminate_unacked", "1");
//          //  Read from the first record on, even if it was published earlier
//          zconfig_put (config, "consumer/offset/reset", "earliest");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          //  A producer publishes a record
//          dafka_producer_args_t producer_args = { "weather", config };
//          zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//          assert (producer);
//          dafka_producer_msg_t *sent = dafka_producer_msg_new ();
//          dafka_producer_msg_set_content_str (sent, "20 degrees");
//          int rc = dafka_producer_msg_send (sent, producer);
//          assert (rc == 0);
//          dafka_producer_msg_destroy (&sent);
//
//          dafka_consumer_args_t args = { config, NULL };
//          dafka_consumer_t *consumer = dafka_consumer_new (&args);
//          assert (consumer);
//          rc = dafka_consumer_subscribe (consumer, "weather");
//          assert (rc == 0);
//          zlist_t *topics = dafka_consumer_subscription (consumer);
//          assert (zlist_size (topics) == 1);
//
//          //  The socket to wait for records on, with zpoller or zloop
//          zsock_t *source = dafka_consumer_record_source (consumer);
//          zpoller_t *poller = zpoller_new (source, NULL);
//          dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
//          if (zpoller_wait (poller, 30000) == source) {
//              rc = dafka_consumer_msg_recv (msg, consumer);
//              assert (rc == 0);
//              assert (dafka_consumer_msg_streq (msg, "20 degrees"));
//              printf ("a record of %s\n", dafka_consumer_msg_subject (msg));
//          }
//          else
//              rc = -1;
//          dafka_consumer_msg_destroy (&msg);
//          zpoller_destroy (&poller);
//
//          dafka_consumer_destroy (&consumer);
//          zactor_destroy (&producer);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return rc == 0? 0: 1;
//      }

//  The arguments of `dafka_consumer_new`.
typedef struct {
    //  The configuration. NULL for the defaults. The caller keeps it, and may
    //  destroy it after `dafka_consumer_new` has returned.
    zconfig_t *config;
    //  The socket that the consumer sends records to. The consumer takes over
    //  this socket. NULL: the consumer makes a record pipe.
    zsock_t *record_sink;
} dafka_consumer_args_t;

//  Makes a consumer without subscriptions. The caller owns it, and destroys it
//  with `dafka_consumer_destroy`. `*args` is not modified. This function
//  returns when the towers have answered or `beacon/connect_timeout`
//  (milliseconds) has passed.
//
//  Returns NULL when `args` is NULL or the process has run out of sockets,
//  files or threads. The log then names the limit (ZMQ_MAX_SOCKETS,
//  RLIMIT_NOFILE), see dafka(7). When the function returns NULL and `args` has
//  a `record_sink`, the function has sent a signal to this socket and has
//  destroyed it.
DAFKA_EXPORT dafka_consumer_t *
    dafka_consumer_new (dafka_consumer_args_t *args);

//  Ends a consumer at once and sets `*self_p` to NULL. Records in its record
//  pipe are lost. The socket that `dafka_consumer_record_source` returned
//  becomes invalid, so first destroy each `zpoller` that uses it. Accepts NULL
//  and a pointer to NULL.
DAFKA_EXPORT void
    dafka_consumer_destroy (dafka_consumer_t **self_p);

//  Subscribes to a topic. A topic has at most 255 bytes. The whole topic must
//  match: `weather` does not subscribe to `weather2`, unless
//  `consumer/topic_match` is `prefix`. The empty topic subscribes to all
//  topics. Subscribing twice has the same effect as subscribing once. The
//  function does not wait for peers. The consumer receives records as soon as
//  it is connected to a peer that has records of the topic.
//
//  Returns 0, or -1 when the topic is too long, an argument is NULL or the
//  consumer has ended.
DAFKA_EXPORT int
    dafka_consumer_subscribe (dafka_consumer_t *self, const char *topic);

//  Ends a subscription. Records that are already in the record pipe are still
//  delivered. A later subscription to the same topic begins where
//  `consumer/offset/reset` says, and that of a consumer with a name at its
//  committed positions.
//
//  Returns 0, even if the consumer was not subscribed to the topic. Returns -1
//  when the topic is too long, an argument is NULL or the consumer has ended.
DAFKA_EXPORT int
    dafka_consumer_unsubscribe (dafka_consumer_t *self, const char *topic);

//  Makes the consumer continue at another record of a partition. `partition` is
//  the address of the partition's producer, as `dafka_consumer_msg_address`
//  returns it. `sequence` is the sequence of the record to read next; 0 is the
//  first record of the partition. The topic must be subscribed. After this
//  call, the next record of this partition that `dafka_consumer_msg_recv`
//  returns is the record `sequence`. If the partition does not have this record
//  yet, the consumer delivers it later. Other partitions keep their positions.
//
//  The consumer requests earlier records from the producer or from a store. So
//  a program can read records again if a peer still has them. If the consumer
//  does not know the partition yet, it applies the position when a peer
//  mentions the partition. So a program can store the sequence of the record
//  that it has processed last, and continue after this record when it starts
//  again. The consumer remembers at most 1,000,000 positions in partitions that
//  it does not read yet, and forgets the oldest positions first.
//
//  From the first call on, the consumer passes records through a queue. From
//  then on, only `dafka_consumer_msg_recv` and
//  `dafka_consumer_msg_recv_from_socket` can read records, see
//  `dafka_consumer_record_source`.
//
//  Returns 0, or -1 with `errno`: EINVAL when an argument is NULL, the topic is
//  not subscribed, `partition` is empty or longer than 255 bytes, or `sequence`
//  is UINT64_MAX; ENOTSUP when the application has passed a sink, or has read
//  records from the record source itself, or when the consumer is a member of a
//  group; EPIPE when the consumer has ended. When the function returns -1, the
//  position is unchanged.
DAFKA_EXPORT int
    dafka_consumer_seek (dafka_consumer_t *self, const char *topic, const char *partition,
                         uint64_t sequence);

//  Makes the consumer continue at a time: in each partition of a topic, at the
//  first record that was published at `msecs` or later. `msecs` is in
//  milliseconds since the Unix epoch, as `dafka_consumer_msg_timestamp` returns
//  it. After this call, `dafka_consumer_msg_recv` returns no record of before
//  this time. This also applies to partitions that the consumer does not know
//  yet. So a program can call this function right after
//  `dafka_consumer_subscribe`.
//
//  `topic` selects topics as in `dafka_consumer_subscribe`: with
//  `consumer/topic_match` = `prefix`, all topics that begin with it. It must be
//  subscribed, or match a subscription. The empty topic means all topics.
//
//  The consumer searches the record in each partition: it requests single
//  records from the producer and the stores, until it knows where the time is.
//  While it searches, the records of the partition that arrive wait. If the
//  needed records are in a store that is down, the search goes on when the
//  store returns, and other partitions do not wait. If all records of a
//  partition are of before `msecs`, for example because `msecs` is in the
//  future, the consumer goes on with the records that arrive, and delivers the
//  first one that is late enough, and all after it.
//
//  The timestamps are those that producers set: the time of sending, or what
//  `dafka_producer_msg_set_timestamp` has set. If the timestamps of a partition
//  do not ascend, the consumer continues at some record that is late enough and
//  whose predecessor is not. A record without a timestamp (from a producer or a
//  store of libdafka 0.1.0) counts as late enough, so the consumer skips no
//  such record.
//
//  Positions of before this call, also committed ones, do not count any more in
//  this consumer. A pause remains: the search then begins at
//  `dafka_consumer_resume`. A later `dafka_consumer_seek` determines the
//  position in its partition. The end of the subscription also ends the search.
//  While the consumer searches, `dafka_consumer_lag` contains all records among
//  which the searched one may be.
//
//  As `dafka_consumer_seek`, this function makes the consumer pass records
//  through a queue.
//
//  Returns 0, or -1 with `errno`: EINVAL when an argument is NULL, or the topic
//  is too long or not subscribed; ENOTSUP when the application has passed a
//  sink, or has read records from the record source itself, or when the
//  consumer is a member of a group; EPIPE when the consumer has ended. When the
//  function returns -1, all positions are unchanged.
DAFKA_EXPORT int
    dafka_consumer_seek_time (dafka_consumer_t *self, const char *topic, int64_t msecs);

//  Makes the consumer continue at the end of each partition of a topic: after
//  the last record that the consumer knows. It knows a record when it has
//  arrived, or when a producer or a store has named it, see
//  `dafka_consumer_lag`. So it may still deliver records that were published
//  shortly before this call.
//
//  Partitions that the consumer does not know yet are treated as with
//  `consumer/offset/reset` = `latest`, as if the topic were subscribed now: a
//  partition that begins later is read from its first record, and of an older
//  one only new records are read.
//
//  For `topic`, the effects on positions and pauses, and the queue, see
//  `dafka_consumer_seek_time`.
//
//  Returns 0, or -1 with the same values of `errno` as
//  `dafka_consumer_seek_time`.
DAFKA_EXPORT int
    dafka_consumer_seek_end (dafka_consumer_t *self, const char *topic);

//  Stops reading the records of a topic, until `dafka_consumer_resume`. After
//  this call, `dafka_consumer_msg_recv` returns no record of the topic, and the
//  consumer requests none. No record is lost: the consumer keeps those that
//  wait for the application (at most 4 MiB), and later continues after them.
//  Other topics are not affected. Use this function when records of one topic
//  arrive faster than the application can process them, and records of other
//  topics must not wait.
//
//  `topic` is the topic of records, as `dafka_consumer_msg_subject` returns it.
//  It must be subscribed, or match a subscription. With `consumer/topic_match`
//  = `prefix`, this function does not stop longer topics that begin with
//  `topic`. Ending the subscription of a paused topic also ends the pause, and
//  drops the kept records.
//
//  As `dafka_consumer_seek`, this function makes the consumer pass records
//  through a queue.
//
//  Returns 0, also when the topic is paused already. Otherwise -1 with `errno`:
//  EINVAL when an argument is NULL, or the topic is empty, too long or not
//  subscribed; ENOTSUP when the application has passed a sink, or has read
//  records from the record source itself; EPIPE when the consumer has ended.
DAFKA_EXPORT int
    dafka_consumer_pause (dafka_consumer_t *self, const char *topic);

//  Continues to read the records of a topic after `dafka_consumer_pause`.
//  First, `dafka_consumer_msg_recv` returns the records that were kept. Then
//  the consumer requests the records that were published during the pause.
//
//  Returns 0, also when the topic is not paused. Otherwise -1 with `errno`, see
//  `dafka_consumer_pause`.
DAFKA_EXPORT int
    dafka_consumer_resume (dafka_consumer_t *self, const char *topic);

//  How many records of a topic exist, as far as the consumer knows, that the
//  application has not received. The empty topic means all topics. 0 means that
//  the application has received all known records. The consumer learns of a
//  record when it arrives, or when a producer or a store names the last record
//  of a partition. A producer does so every `producer/head_interval`. Stores
//  are asked after a subscription and about every 10 s. So the number does not
//  contain records that were published a moment ago, and records of partitions
//  that the consumer does not know yet. Under `latest`, the number contains no
//  records of a partition that the consumer will not deliver if the partition
//  began before the subscription.
//
//  As `dafka_consumer_seek`, this function makes the consumer pass records
//  through a queue.
//
//  Returns -1 with `errno` on failure, see `dafka_consumer_pause`.
DAFKA_EXPORT int64_t
    dafka_consumer_lag (dafka_consumer_t *self, const char *topic);

//  Commits the positions of a consumer with a name (`consumer/name`):
//  everything that the application has received so far counts as processed.
//  Stores keep the positions. The next consumer with this name continues there.
//
//  The function publishes the commit, and waits until one store has confirmed
//  that it has the commit on disk, for at most 5 seconds. The consumer repeats
//  the commit until a store has confirmed it, also after the function has
//  returned -1. A program with `consumer/commit` = `auto` can also call this
//  function, for example before `dafka_consumer_destroy`: the last received
//  record then counts as processed too.
//
//  Returns 0, or -1 with `errno`: EINVAL when `self` is NULL or the consumer
//  has no name and no group; ENOTSUP when the application has passed a sink;
//  EAGAIN when no store has confirmed the commit in time; EINTR when a signal
//  has interrupted the wait, or had interrupted the program before the call
//  (see "Signals" in dafka(7)); EPIPE when the consumer has ended. EAGAIN and
//  EINTR are not logged. Also after EINTR, the consumer publishes the commit,
//  and `dafka_consumer_destroy` waits up to 2 seconds for its confirmation.
DAFKA_EXPORT int
    dafka_consumer_commit (dafka_consumer_t *self);

//  Commits the position after one record: in the partition of the record, the
//  next consumer with this name continues with the record after it. Other
//  partitions keep their positions. An earlier record than that of the last
//  commit moves the position back. With `consumer/commit` = `auto`, the next
//  automatic commit in this partition moves the position on again. In a group,
//  the function commits the record and the earlier ones of its slot in its
//  partition, and a position never moves back. All else is as with
//  `dafka_consumer_commit`.
//
//  Returns 0, or -1 with `errno` as `dafka_consumer_commit`. EINVAL also when
//  `msg` is NULL or has no sequence.
DAFKA_EXPORT int
    dafka_consumer_commit_msg (dafka_consumer_t *self, dafka_consumer_msg_t *msg);

//  The address of the consumer, by which peers identify it: 32 hexadecimal
//  digits. The string is borrowed, and valid until the consumer is destroyed.
//  NULL when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_address (dafka_consumer_t *self);

//  The topics that the consumer is subscribed to, as a list of strings
//  (`zlist_first`, `zlist_next`). The consumer owns the list. It is valid until
//  the consumer is destroyed, and changes with each subscription. Each call
//  returns the same list. NULL when `self` is NULL.
DAFKA_EXPORT zlist_t *
    dafka_consumer_subscription (dafka_consumer_t *self);

//  The reading end of the consumer's record pipe, for `zpoller` and `zloop`.
//  The consumer owns this socket. It is valid until the consumer is destroyed.
//  The socket is readable while there is a record for
//  `dafka_consumer_msg_recv`, and at no other time. To limit how long
//  `dafka_consumer_msg_recv` waits, set a timeout in milliseconds on this
//  socket with `zsock_set_rcvtimeo` (ZMQ_RCVTIMEO).
//
//  A program may also read records from the socket directly (`zmsg_recv`). Each
//  record is then a message of three frames: topic, partition and content. A
//  program that reads directly must do so for at least one of its first 1,000
//  records. If `dafka_consumer_msg_recv` and
//  `dafka_consumer_msg_recv_from_socket` have read all of these, the consumer
//  passes later records through a queue, which is faster. From then on, only
//  these two functions can read records. The socket contains only a message
//  that makes it readable. Do not read this message, and do not flush the
//  socket (`zsock_flush`): the socket would not become readable again.
//
//  NULL when the application has passed a sink, or `self` is NULL.
DAFKA_EXPORT zsock_t *
    dafka_consumer_record_source (dafka_consumer_t *self);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_consumer: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_consumer_test (bool verbose);


//  ============================================================================
//  dafka_consumer_msg: a record that was received
//  ============================================================================
//
//  A message is empty until it receives a record. It holds that record until it
//  receives the next one. A program can read all its records with one message.
//  To keep many records, take their contents out of the message
//  (`dafka_consumer_msg_get_content`): a message with one record can keep a
//  whole batch of 64 KiB in memory.
//
//  A record has a sequence, which is its offset in its partition. It can have a
//  timestamp, a key and headers. A message gets all of these from a consumer of
//  this library. But a message that receives from a sink of the application
//  gets none of them, because a record in a sink consists of three frames:
//  topic, partition and content. A program that reads records from the record
//  source itself (`zmsg_recv`) gets the same three frames. If a program reads
//  its first 2,000 records itself and then uses messages, the next 2,000
//  records may also lack these properties.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          //  A pipe in place of a consumer: records can come from any socket
//          zsock_t *sink = NULL;
//          zsock_t *source = zsys_create_pipe (&sink);
//          assert (source);
//
//          //  A record as a consumer sends it: topic, partition, content
//          zmsg_t *record = zmsg_new ();
//          zmsg_addstr (record, "weather");
//          zmsg_addstr (record, "0123456789ABCDEF0123456789ABCDEF");
//          zmsg_addstr (record, "20 degrees");
//          zmsg_send (&record, sink);
//
//          dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
//          assert (msg);
//          assert (dafka_consumer_msg_content (msg) == NULL);
//          int rc = dafka_consumer_msg_recv_from_socket (msg, source);
//          assert (rc == 0);
//          printf ("%s, partition %s: %u octets\n",
//                  dafka_consumer_msg_subject (msg),
//                  dafka_consumer_msg_address (msg),
//                  (unsigned) dafka_consumer_msg_content_size (msg));
//          assert (dafka_consumer_msg_streq (msg, "20 degrees"));
//          char *text = dafka_consumer_msg_strdup (msg);
//          assert (streq (text, "20 degrees"));
//          zstr_free (&text);
//
//          //  Take the content out to keep it
//          zframe_t *content = dafka_consumer_msg_get_content (msg);
//          assert (zframe_streq (content, "20 degrees"));
//          assert (dafka_consumer_msg_content_size (msg) == 0);
//          zframe_destroy (&content);
//
//          dafka_consumer_msg_destroy (&msg);
//          zsock_destroy (&source);
//          zsock_destroy (&sink);
//          return 0;
//      }

//  Makes an empty message. The caller owns it, and destroys it with
//  `dafka_consumer_msg_destroy`. NULL only after an internal error, which is
//  logged.
DAFKA_EXPORT dafka_consumer_msg_t *
    dafka_consumer_msg_new (void);

//  Destroys a message and its record, and sets `*self_p` to NULL. Accepts NULL
//  and a pointer to NULL.
DAFKA_EXPORT void
    dafka_consumer_msg_destroy (dafka_consumer_msg_t **self_p);

//  The topic of the record, or "" when the message is empty. The string is
//  borrowed, and valid until the message receives the next record or is
//  destroyed. NULL when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_msg_subject (dafka_consumer_msg_t *self);

//  The name of the record's partition, which is the address of its producer; ""
//  when the message is empty. The string is borrowed, and valid until the
//  message receives the next record or is destroyed. NULL when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_msg_address (dafka_consumer_msg_t *self);

//  The content of the record. It is borrowed, and valid until the message
//  receives the next record or is destroyed. NULL when the message has no
//  content or `self` is NULL.
DAFKA_EXPORT const byte *
    dafka_consumer_msg_content (dafka_consumer_msg_t *self);

//  The length of the content in bytes. 0 when there is no content or `self` is
//  NULL.
DAFKA_EXPORT size_t
    dafka_consumer_msg_content_size (dafka_consumer_msg_t *self);

//  Moves the content out of the message, which keeps the other properties of
//  the record. The caller owns the frame, and destroys it with
//  `zframe_destroy`. NULL when there is no content or `self` is NULL.
DAFKA_EXPORT zframe_t *
    dafka_consumer_msg_get_content (dafka_consumer_msg_t *self);

//  The sequence of the record: its offset in its partition, from 0. UINT64_MAX
//  when the message is empty, when `self` is NULL, or when the record came over
//  a sink of the application.
DAFKA_EXPORT uint64_t
    dafka_consumer_msg_sequence (dafka_consumer_msg_t *self);

//  The timestamp of the record, in milliseconds since the Unix epoch. If the
//  application has set no timestamp, it is the time at which the producer
//  published the record, by the producer's clock. -1 when the record has no
//  timestamp: nodes of libdafka 0.1.0 send none. -1 also when the record came
//  over a sink of the application, when the message is empty, or when `self` is
//  NULL.
DAFKA_EXPORT int64_t
    dafka_consumer_msg_timestamp (dafka_consumer_msg_t *self);

//  The key of the record. It is borrowed, and valid until the message receives
//  the next record or is destroyed. NULL when the record has no key, when the
//  message is empty, or when `self` is NULL. An empty key is not NULL.
DAFKA_EXPORT const byte *
    dafka_consumer_msg_key (dafka_consumer_msg_t *self);

//  The length of the key in bytes. 0 when the record has no key, when the
//  message is empty, or when `self` is NULL.
DAFKA_EXPORT size_t
    dafka_consumer_msg_key_size (dafka_consumer_msg_t *self);

//  The value of the record's header with this name. If several headers have
//  this name, the last one counts. The function stores the length of the value
//  in bytes in `*size_p`, unless `size_p` is NULL. The value is borrowed, and
//  valid until the message receives the next record or is destroyed. NULL and
//  the length 0 when there is no such header, or when an argument other than
//  `size_p` is NULL. An empty value is not NULL.
DAFKA_EXPORT const byte *
    dafka_consumer_msg_header (dafka_consumer_msg_t *self, const char *name, size_t *size_p);

//  The value of the record's first header. The headers have the order in which
//  the application has set them. NULL when the record has no header, when the
//  message is empty, or when `self` is NULL. All else is as with
//  `dafka_consumer_msg_next_header`.
DAFKA_EXPORT const byte *
    dafka_consumer_msg_first_header (dafka_consumer_msg_t *self, size_t *size_p);

//  The value of the record's next header. For a new record, this is the first
//  header. The function stores the length of the value in bytes in `*size_p`,
//  unless `size_p` is NULL. Afterwards, `dafka_consumer_msg_header_name`
//  returns the name of this header. The value is borrowed, and valid until the
//  message receives the next record or is destroyed. NULL and the length 0
//  after the last header, when the message is empty, or when `self` is NULL. An
//  empty value is not NULL.
DAFKA_EXPORT const byte *
    dafka_consumer_msg_next_header (dafka_consumer_msg_t *self, size_t *size_p);

//  The name of the header that `dafka_consumer_msg_first_header` or
//  `dafka_consumer_msg_next_header` has returned last. The string is borrowed,
//  and valid until the next call of one of these two functions, until the
//  message receives the next record, or until it is destroyed. "" when the last
//  call of them has returned no header. A name can contain a NUL only if the
//  record comes from another library. NULL when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_msg_header_name (dafka_consumer_msg_t *self);

//  Waits for the next record of a consumer and reads it into the message. The
//  new record replaces the previous one.
//
//  Returns 0, or -1. It returns -1 when a signal interrupted the wait (see
//  "Signals" in dafka(7)), when the timeout of the record source
//  (`zsock_set_rcvtimeo`) has passed, when the consumer has ended or uses a
//  sink of the application, or when an argument is NULL. In all these cases the
//  message is unchanged.
DAFKA_EXPORT int
    dafka_consumer_msg_recv (dafka_consumer_msg_t *self, dafka_consumer_t *consumer);

//  Waits for a record on a socket that is connected to a consumer's sink, or on
//  the record source of a consumer, and reads it into the message. The new
//  record replaces the previous one. Signals (`zsock_signal`) are skipped.
//
//  Returns 0, or -1. It returns -1 when a signal interrupted the wait (see
//  "Signals" in dafka(7)), when the timeout of the socket
//  (`zsock_set_rcvtimeo`) has passed, when the socket cannot receive, or when
//  an argument is NULL. It also returns -1 when the received message does not
//  have the three frames of a record: that message is dropped, and `self` is
//  empty.
DAFKA_EXPORT int
    dafka_consumer_msg_recv_from_socket (dafka_consumer_msg_t *self, zsock_t *socket);

//  A new copy of the content with a NUL after it. The caller owns it, and frees
//  it with `zstr_free`. NULL when there is no content or no memory, or when
//  `self` is NULL.
DAFKA_EXPORT char *
    dafka_consumer_msg_strdup (dafka_consumer_msg_t *self);

//  True when the content equals a string. The NUL of the string does not count.
//  False otherwise, also when there is no content or an argument is NULL.
DAFKA_EXPORT bool
    dafka_consumer_msg_streq (dafka_consumer_msg_t *self, const char *text);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_consumer_msg: OK". A failed
//  check aborts the process. With `verbose`, the nodes of the test log what
//  they do.
DAFKA_EXPORT void
    dafka_consumer_msg_test (bool verbose);


//  ============================================================================
//  dafka_tower: introduces nodes to each other
//  ============================================================================
//
//  A tower is an actor that receives the endpoint of each node and forwards the
//  endpoint to all other nodes. No records pass through a tower (RFC 46/DAFKA,
//  "Interconnection Model"). A network needs at least one tower. With several
//  towers, each node is configured with all of them, and any one tower may
//  fail. Nodes that are connected to each other continue without a tower.
//
//  `zactor_new` starts a tower with a `zconfig_t`, and `zactor_destroy` ends
//  it. The program dafka_towerd(1) runs one tower.
//
//  CONFIGURATION
//
//  `tower/sub_address`: the address that the tower binds to receive from nodes,
//  `tcp://*:5556` by default. `tower/pub_address`: the address that the tower
//  binds to send to nodes, `tcp://*:5557` by default. `tower/endpoints_file`: a
//  file to which the tower writes its real addresses, with the actual ports in
//  place of `*` or 0. `tower/verbose`: 1 to log each node that announces
//  itself.
//
//  If a node without `beacon/address` connects over loopback, `ipc://` or
//  `inproc://`, the tower announces the node at the address of this host's
//  first network interface. Exception: if each address of the tower is a
//  loopback, `ipc://` or `inproc://` address, but not both are `inproc://`, the
//  tower announces the node at 127.0.0.1.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zconfig_t *config = zconfig_new ("root", NULL);
//          //  Where the tower binds; other hosts need tcp://*:5556
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          //  The same addresses, for nodes that connect to it
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          //  A consumer is a node. It connects to the tower, so it starts
//          //  before beacon/connect_timeout has passed
//          dafka_consumer_args_t args = { config, NULL };
//          dafka_consumer_t *consumer = dafka_consumer_new (&args);
//          assert (consumer);
//          printf ("consumer %s has joined\n",
//                  dafka_consumer_address (consumer));
//          dafka_consumer_destroy (&consumer);
//
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return 0;
//      }

//  The tower's actor: a function for `zactor_new`, whose `args` is a
//  `zconfig_t *`, or NULL for the defaults. Do not call it directly.
//  `zactor_new` returns when the tower has bound to both addresses. A tower
//  that cannot bind logs why, and waits for `zactor_destroy`.
DAFKA_EXPORT void
    dafka_tower_actor (zsock_t *pipe, void *args);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_tower: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_tower_test (bool verbose);


//  ============================================================================
//  dafka_store: keeps records on disk
//  ============================================================================
//
//  A store is an actor that receives the records of all topics, writes them to
//  its directory, and then acknowledges them to their producers (RFC 46/DAFKA,
//  "ZeroMQ Subscriptions"). With `store/sync = always`, the default, an
//  acknowledged record survives a crash of the process and a power failure. The
//  store answers consumers that ask for earlier records, whether the producer
//  still runs or not. It also sends other stores the records that they lack.
//
//  `zactor_new` starts a store with a `zconfig_t`. `zactor_destroy` ends it,
//  after it has written all records that it received. The program
//  dafka_stored(1) runs one store.
//
//  When a store cannot use its directory, it logs why and ends. This happens
//  when the directory is not writable, when another store uses the directory,
//  or when the directory contains another database (such as the LevelDB files
//  of a store of libdafka 0.1.0). When the disk is full, the store acknowledges
//  nothing until there is room again.
//
//  CONFIGURATION
//
//  A store reads the keys that begin with `store/` or `beacon/`. The most
//  important ones are `store/db` (the directory, `storedb` by default), and
//  `beacon/sub_address` and `beacon/pub_address` (the addresses of the tower).
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zconfig_t *config = zconfig_new ("root", NULL);
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "consumer/offset/reset", "earliest");
//          zconfig_put (config, "store/db", "example-db");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          zactor_t *store = zactor_new (dafka_store_actor, config);
//          assert (tower && store);
//
//          //  The store acknowledges what a producer publishes ...
//          dafka_producer_args_t producer_args = { "weather", config };
//          zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//          assert (producer);
//          dafka_producer_msg_t *sent = dafka_producer_msg_new ();
//          dafka_producer_msg_set_content_str (sent, "20 degrees");
//          int rc = dafka_producer_msg_send (sent, producer);
//          assert (rc == 0);
//          dafka_producer_msg_destroy (&sent);
//          //  ... and the producer waits for that: the record is on disk now
//          zactor_destroy (&producer);
//
//          //  A consumer that starts later reads it from the store
//          dafka_consumer_args_t consumer_args = { config, NULL };
//          dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
//          assert (consumer);
//          dafka_consumer_subscribe (consumer, "weather");
//          dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
//          rc = dafka_consumer_msg_recv (msg, consumer);
//          assert (rc == 0);
//          assert (dafka_consumer_msg_streq (msg, "20 degrees"));
//          printf ("read back from the store: 20 degrees\n");
//          dafka_consumer_msg_destroy (&msg);
//          dafka_consumer_destroy (&consumer);
//
//          zactor_destroy (&store);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          //  These records were only an example
//          zdir_t *db = zdir_new ("example-db", NULL);
//          zdir_remove (db, true);
//          zdir_destroy (&db);
//          return 0;
//      }

//  The store's actor: a function for `zactor_new`, whose `args` is a
//  `zconfig_t *`, or NULL for the defaults. Do not call it directly.
//  `zactor_new` returns when the store has opened its directory, and the towers
//  have answered or `beacon/connect_timeout` (milliseconds) has passed. A store
//  that cannot use its directory logs why and ends.
DAFKA_EXPORT void
    dafka_store_actor (zsock_t *pipe, void *args);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_store: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_store_test (bool verbose);


//  ============================================================================
//  dafka_publisher: publishes records to a topic (first generation of the API)
//  ============================================================================
//
//  A publisher is a producer (see dafka_producer(3)) that receives the contents
//  of records as `zframe_t`, and not as `dafka_producer_msg_t`. This class
//  exists for programs that were written for the first generation of the API;
//  new programs use `dafka_producer`. `zactor_new` starts a publisher with a
//  `dafka_publisher_args_t`.
//
//  `zactor_destroy` ends the publisher. If a store is connected to the
//  publisher or has acknowledged records, the publisher waits until all records
//  are acknowledged. Otherwise it does not wait for acknowledgements. But it
//  ends no earlier than one second after its start, because a store may need
//  that long to connect. `publisher/terminate_timeout` (in milliseconds, 30,000
//  by default) limits both waits. With `producer/terminate_unacked = 1` the
//  publisher ends at once.
//
//  CONFIGURATION
//
//  A publisher reads the keys of a producer, which begin with `producer/` or
//  `beacon/`, and `publisher/terminate_timeout`.
//
//  COMMANDS
//
//  Programs that write to the actor's pipe directly may send these commands:
//
//    - `PUBLISH`: publish. A second frame holds a pointer to a `zframe_t`
//      (`zsock_bsend` with picture `p`). The publisher then owns that frame.
//    - `GET ADDRESS`: the answer is the pointer that `dafka_publisher_address`
//      returns (`zsock_brecv` with picture `p`).
//    - `$TERM`: end. `zactor_destroy` sends it.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zconfig_t *config = zconfig_new ("root", NULL);
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          //  There is no store: let the producer end without an ACK
//          zconfig_put (config, "producer/terminate_unacked", "1");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          dafka_publisher_args_t args = { "weather", config };
//          zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
//          assert (publisher);
//          printf ("publishing partition %s of weather\n",
//                  dafka_publisher_address (publisher));
//
//          zframe_t *content = zframe_from ("20 degrees");
//          int rc = dafka_publisher_publish (publisher, &content);
//          assert (rc == 0);
//          //  The publisher has taken the frame
//          assert (content == NULL);
//
//          zactor_destroy (&publisher);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return 0;
//      }

//  The arguments of `dafka_publisher_actor`. The caller keeps topic and
//  configuration, and may free them after `zactor_new` has returned.
typedef struct {
    //  The topic to publish to, 1 to 255 bytes.
    const char *topic;
    //  The configuration. NULL for the defaults.
    zconfig_t *config;
} dafka_publisher_args_t;

//  The publisher's actor: a function for `zactor_new`, whose `args` is a
//  `dafka_publisher_args_t *`. Do not call it directly. `zactor_new` returns
//  when the towers have answered or `beacon/connect_timeout` (milliseconds) has
//  passed. Without a topic the publisher logs an error and ends.
DAFKA_EXPORT void
    dafka_publisher_actor (zsock_t *pipe, void *args);

//  Publishes a record whose content is the frame. The function takes ownership
//  of the frame and sets `*content` to NULL, also when it fails. The publisher
//  publishes the record soon after this function has returned.
//
//  The function waits while the publisher's pipe is full (`zsys_set_pipehwm`).
//  It also waits while unacknowledged records fill
//  `producer/max_unacked_bytes`. A signal does not end these waits.
//
//  Returns 0, or -1 when the publisher has ended, an argument is NULL or the
//  content is longer than `producer/max_record_bytes` (the log contains that
//  limit).
DAFKA_EXPORT int
    dafka_publisher_publish (zactor_t *self, zframe_t **content);

//  The address of a publisher, which is also the name of the partition that it
//  writes: 32 hexadecimal digits. The string is borrowed, and valid as long as
//  the actor lives. NULL when `self` is NULL or the publisher has ended. The
//  address may change, see `dafka_producer_address`.
DAFKA_EXPORT const char *
    dafka_publisher_address (zactor_t *self);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_publisher: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_publisher_test (bool verbose);


//  ============================================================================
//  dafka_subscriber: reads the records of topics (first generation of the API)
//  ============================================================================
//
//  A subscriber is a consumer (see dafka_consumer(3)) that sends records to the
//  application over the actor's pipe. This class exists for programs that were
//  written for the first generation of the API; new programs use
//  `dafka_consumer`. `zactor_new` starts a subscriber with a `zconfig_t`, and
//  `zactor_destroy` ends it.
//
//  To read a record, call `zsock_brecv` with the picture `ssf`: topic,
//  partition, content. The actor owns the two strings, which are valid until
//  the program reads the next record. The caller owns the frame. `zpoller` and
//  `zloop` accept the actor like a socket.
//
//  CONFIGURATION
//
//  A subscriber reads the keys of a consumer, with one difference: unless
//  `consumer/offset/reset` is `latest`, a subscriber reads each partition from
//  its first record.
//
//  COMMANDS
//
//  Programs that write to the actor's pipe directly may send these commands:
//
//    - `SUBSCRIBE` or `UNSUBSCRIBE`: a second frame holds the topic
//      (`zsock_send` with picture `ss`).
//    - `$TERM`: end. `zactor_destroy` sends it.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zconfig_t *config = zconfig_new ("root", NULL);
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "producer/terminate_unacked", "1");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          //  A publisher publishes a record
//          dafka_publisher_args_t args = { "weather", config };
//          zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
//          assert (publisher);
//          zframe_t *sent = zframe_from ("20 degrees");
//          int rc = dafka_publisher_publish (publisher, &sent);
//          assert (rc == 0);
//
//          zactor_t *subscriber = zactor_new (dafka_subscriber_actor, config);
//          assert (subscriber);
//          rc = dafka_subscriber_subscribe (subscriber, "weather");
//          assert (rc == 0);
//
//          //  The actor owns the strings, until the next record; we own the
//          //  frame
//          char *subject, *address;
//          zframe_t *content;
//          rc = zsock_brecv (subscriber, "ssf", &subject, &address, &content);
//          assert (rc == 0);
//          assert (streq (subject, "weather"));
//          assert (streq (address, dafka_publisher_address (publisher)));
//          assert (zframe_streq (content, "20 degrees"));
//          printf ("a record of %s\n", subject);
//          zframe_destroy (&content);
//
//          zactor_destroy (&subscriber);
//          zactor_destroy (&publisher);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return 0;
//      }

//  The subscriber's actor: a function for `zactor_new`, whose `args` is a
//  `zconfig_t *`, or NULL for the defaults. Do not call it directly.
//  `zactor_new` returns when the towers have answered or
//  `beacon/connect_timeout` (milliseconds) has passed.
DAFKA_EXPORT void
    dafka_subscriber_actor (zsock_t *pipe, void *args);

//  Subscribes to a topic, as `dafka_consumer_subscribe` does.
//
//  Returns 0, or -1 when the topic is too long, an argument is NULL or the
//  subscriber has ended.
DAFKA_EXPORT int
    dafka_subscriber_subscribe (zactor_t *self, const char *topic);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_subscriber: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_subscriber_test (bool verbose);


//  ============================================================================
//  dafka_beacon: announces a node, and reports its peers
//  ============================================================================
//
//  Producers, consumers and stores have their own beacon. An application needs
//  this class only when it is itself a node that speaks the protocol with
//  `dafka_proto_t` (RFC 46/DAFKA, "Interconnection Model"). A beacon is an
//  actor. Every `beacon/interval`, it sends the endpoint of its node to the
//  towers. It reports the endpoints of the other nodes to its owner. The beacon
//  reports a peer as gone when the peer has sent no beacon for
//  `beacon/timeout`. But it does not do so while no tower is connected, or when
//  the towers have sent nothing for half of this time (or for two
//  `beacon/interval`, if that is longer).
//
//  `zactor_new` starts a beacon with a `dafka_beacon_args_t`. `zactor_new`
//  returns when a tower has answered, or when `beacon/connect_timeout` has
//  passed. `zactor_destroy` ends the beacon.
//
//  CONFIGURATION
//
//  A beacon reads these keys: `beacon/sub_address` and `beacon/pub_address`
//  (the addresses of the towers), `beacon/address` (the host that peers connect
//  to, when the tower cannot determine it), `beacon/interval`, `beacon/timeout`
//  and `beacon/connect_timeout` in milliseconds, `beacon/max_peers`,
//  `beacon/verbose`.
//
//  COMMANDS
//
//  The owner sends:
//
//    - `START`: announce the node. Two more frames hold the node's address (a
//      UUID as 32 hexadecimal digits) and the TCP port that the node listens at
//      (`zsock_send` with picture `ssi`). The beacon ignores announcements of
//      this address, because they are its own.
//    - `STOP`: stop announcing the node. The beacon keeps its peers and
//      continues to report them.
//    - `$TERM`: end. `zactor_destroy` sends it.
//
//  The beacon sends:
//
//    - `CONNECT` or `DISCONNECT`: a peer has appeared or disappeared. A second
//      frame holds the endpoint as a tower announced it. `dafka_beacon_recv`
//      applies the change to a socket.
//
//  Without `START` the beacon reports peers too, but the peers do not discover
//  the node.
//
//  The host in an endpoint may be a name. The beacon reports a peer even while
//  this name cannot be resolved. It resolves the name again from time to time.
//  When the result changes, the beacon sends `DISCONNECT` and `CONNECT` for the
//  endpoint. If a program calls `zsock_connect` itself, ZeroMQ resolves the
//  name in the thread that serves all sockets of the process. Meanwhile, this
//  thread is blocked. `dafka_beacon_recv` avoids this.
//
//  EXAMPLE
//
//      //  Prints the partition of a producer that it discovers
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zconfig_t *config = zconfig_new ("root", NULL);
//          zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          zconfig_put (config, "beacon/address", "127.0.0.1");
//          zconfig_put (config, "producer/head_interval", "100");
//          zconfig_put (config, "producer/terminate_unacked", "1");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          //  A node has a socket that sends and one that receives
//          zsock_t *pub = zsock_new (ZMQ_XPUB);
//          zsock_t *sub = zsock_new (ZMQ_SUB);
//          int port = zsock_bind (pub, "tcp://127.0.0.1:*");
//          assert (port > 0);
//          dafka_proto_subscribe (sub, DAFKA_PROTO_HEAD, "weather");
//
//          //  The beacon announces the node under its address
//          zuuid_t *uuid = zuuid_new ();
//          dafka_beacon_args_t args = { "Example", config };
//          zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
//          assert (beacon);
//          zsock_send (beacon, "ssi", "START", zuuid_str (uuid), port);
//
//          //  Another node starts, and publishes a record
//          dafka_producer_args_t producer_args = { "weather", config };
//          zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//          assert (producer);
//          dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//          dafka_producer_msg_set_content_str (msg, "20 degrees");
//          int rc = dafka_producer_msg_send (msg, producer);
//          assert (rc == 0);
//          dafka_producer_msg_destroy (&msg);
//
//          //  The beacon reports the producer, and the socket connects to it
//          dafka_beacon_recv (beacon, sub, false, "Example");
//          dafka_proto_t *head = dafka_proto_new ();
//          rc = dafka_proto_recv (head, sub);
//          assert (rc == 0);
//          assert (streq (dafka_proto_address (head),
//                         dafka_producer_address (producer)));
//          printf ("partition %s has records up to %u\n",
//                  dafka_proto_address (head),
//                  (unsigned) dafka_proto_sequence (head));
//          dafka_proto_destroy (&head);
//
//          zactor_destroy (&producer);
//          zstr_send (beacon, "STOP");
//          zactor_destroy (&beacon);
//          zuuid_destroy (&uuid);
//          zsock_destroy (&sub);
//          zsock_destroy (&pub);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return 0;
//      }

//  The arguments of `dafka_beacon_actor`. The caller keeps prefix and
//  configuration, and may free them after `zactor_new` has returned.
typedef struct {
    //  The prefix of the beacon's log lines. NULL: "Beacon".
    const char *log_prefix;
    //  The configuration. NULL for the defaults.
    zconfig_t *config;
} dafka_beacon_args_t;

//  The beacon's actor: a function for `zactor_new`, whose `args` is a
//  `dafka_beacon_args_t *`, or NULL for the defaults. Do not call it directly.
//  `zactor_new` returns when a tower has answered or `beacon/connect_timeout`
//  (milliseconds) has passed.
DAFKA_EXPORT void
    dafka_beacon_actor (zsock_t *pipe, void *args);

//  Waits for one `CONNECT` or `DISCONNECT` of a beacon, and applies it to a
//  socket (`zmq_connect`, `zmq_disconnect`). If the host is a name, the socket
//  connects to the address that the beacon has found for it. With `verbose`,
//  the function logs the change in a line that begins with `log_prefix` (NULL:
//  "Beacon").
//
//  When the endpoint cannot be used, when `beacon` or `sub` is NULL, or when
//  the beacon has ended, the function logs an error and returns. It returns
//  without a log line when a signal ends the wait (see "Signals" in dafka(7)),
//  or when the timeout of the beacon's pipe has passed (`zsock_set_rcvtimeo`).
DAFKA_EXPORT void
    dafka_beacon_recv (zactor_t *beacon, zsock_t *sub, bool verbose, const char *log_prefix);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_beacon: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_beacon_test (bool verbose);


//  ============================================================================
//  dafka_proto: a message of the wire protocol
//  ============================================================================
//
//  Producers, consumers and stores send and receive these messages themselves.
//  This class is for programs that speak the protocol directly, such as test
//  peers and monitors. A message has an id, a ZeroMQ topic, and the fields that
//  belong to its id (RFC 46/DAFKA, "Protocol Grammar", without the signature,
//  which no implementation sends). `dafka_proto_send` sends a message to a
//  `zsock_t`, and `dafka_proto_recv` receives one. A message can be sent more
//  than once.
//
//  MESSAGES
//
//    - `DAFKA_PROTO_RECORD` 'M': topic, address, subject, sequence, content.
//      From a producer to consumers and stores
//    - `DAFKA_PROTO_DIRECT_RECORD` 'D': the same fields. From a producer or
//      store to the node that requested the record
//    - `DAFKA_PROTO_FETCH` 'F': topic, address, subject, sequence, count. From
//      a consumer or store to the partition's producer and to all stores
//    - `DAFKA_PROTO_ACK` 'K': topic, subject, sequence. From a store to a
//      producer
//    - `DAFKA_PROTO_HEAD` 'H': topic, address, subject, sequence. From a
//      producer to consumers and stores
//    - `DAFKA_PROTO_DIRECT_HEAD` 'E': the same fields. From a producer or store
//      to the node that requested the head
//    - `DAFKA_PROTO_GET_HEADS` 'G': topic, address. From a consumer to
//      producers and stores, and from a store to other stores
//    - `DAFKA_PROTO_CONSUMER_HELLO` 'W': topic, address, subjects. From a
//      consumer to one store
//    - `DAFKA_PROTO_STORE_HELLO` 'L': topic, address. From a store to one
//      consumer
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          zsock_t *publisher = zsock_new_xpub ("@inproc://example");
//          zsock_t *subscriber = zsock_new (ZMQ_SUB);
//          assert (publisher && subscriber);
//          int rc = zsock_connect (subscriber, "inproc://example");
//          assert (rc == 0);
//
//          //  The XPUB receives the subscription
//          dafka_proto_subscribe (subscriber, DAFKA_PROTO_RECORD, "weather");
//          dafka_proto_t *proto = dafka_proto_new ();
//          assert (proto);
//          rc = dafka_proto_recv (proto, publisher);
//          assert (rc == 0);
//          assert (dafka_proto_is_subscribe (proto));
//          assert (dafka_proto_id (proto) == DAFKA_PROTO_RECORD);
//          assert (streq (dafka_proto_topic (proto), "weather"));
//
//          //  The first record of a partition
//          dafka_proto_set_id (proto, DAFKA_PROTO_RECORD);
//          dafka_proto_set_topic (proto, "weather");
//          dafka_proto_set_subject (proto, "weather");
//          dafka_proto_set_address (proto, "0123456789ABCDEF0123456789ABCDEF");
//          dafka_proto_set_sequence (proto, 0);
//          zmq_msg_t content;
//          zmq_msg_init_size (&content, 10);
//          memcpy (zmq_msg_data (&content), "20 degrees", 10);
//          dafka_proto_set_content (proto, &content);
//          zmq_msg_close (&content);
//          rc = dafka_proto_send (proto, publisher);
//          assert (rc == 0);
//
//          dafka_proto_t *received = dafka_proto_new ();
//          rc = dafka_proto_recv (received, subscriber);
//          assert (rc == 0);
//          printf ("%s of %s: %u octets\n", dafka_proto_command (received),
//                  dafka_proto_subject (received),
//                  (unsigned) zmq_msg_size (dafka_proto_content (received)));
//
//          //  The message as a configuration, which people can read
//          zconfig_t *zpl = dafka_proto_zpl (received, NULL);
//          assert (streq (zconfig_get (zpl, "message", ""),
//                         "DAFKA_PROTO_RECORD"));
//          zconfig_destroy (&zpl);
//
//          dafka_proto_destroy (&received);
//          dafka_proto_destroy (&proto);
//          zsock_destroy (&subscriber);
//          zsock_destroy (&publisher);
//          return 0;
//      }

//  Makes a message with id 0, which no message of the protocol has. All its
//  fields are empty or 0. The caller owns it, and destroys it with
//  `dafka_proto_destroy`. NULL only after an internal error, which is logged.
DAFKA_EXPORT dafka_proto_t *
    dafka_proto_new (void);

//  Makes a message from its ZPL form (see `dafka_proto_zpl`). The caller keeps
//  the configuration, and owns the message. NULL when the configuration is NULL
//  or does not hold a message.
DAFKA_EXPORT dafka_proto_t *
    dafka_proto_new_zpl (zconfig_t *config);

//  Destroys a message and its fields, and sets `*self_p` to NULL. Accepts NULL
//  and a pointer to NULL.
DAFKA_EXPORT void
    dafka_proto_destroy (dafka_proto_t **self_p);

//  Makes a deep copy. The caller owns it, and destroys it with
//  `dafka_proto_destroy`. NULL when `self` is NULL or there is no memory.
DAFKA_EXPORT dafka_proto_t *
    dafka_proto_dup (dafka_proto_t *self);

//  Waits for a message and reads it. Fields that the message does not have
//  become empty or 0. If the socket is a ROUTER, the function reads the routing
//  id first. If it is an XPUB, the function reads the start or the end of a
//  subscription in place of a message (`dafka_proto_is_subscribe`). In this
//  case it sets the id and the topic, and leaves the other fields unchanged.
//
//  Returns 0 on success. Returns -1 when a signal interrupted the wait (see
//  "Signals" in dafka(7)), when the timeout of the socket has passed
//  (`zsock_set_rcvtimeo`), when the socket cannot receive, or when an argument
//  is NULL. Returns -2 when the received frames are not a message of this
//  protocol. In this case the function drops these frames and logs one line.
//  The fields stay unchanged, except for the routing id.
DAFKA_EXPORT int
    dafka_proto_recv (dafka_proto_t *self, zsock_t *input);

//  Sends the message. If the socket is a ROUTER, the function first sends the
//  message's routing id, which selects the peer. The message keeps its fields,
//  and can be sent again. The function waits while the socket is full.
//
//  Returns 0. Returns -1 when the message's id is not one of the DAFKA_PROTO
//  constants, when the socket cannot send, when the socket is a ROUTER and the
//  message has no routing id, or when an argument is NULL.
DAFKA_EXPORT int
    dafka_proto_send (dafka_proto_t *self, zsock_t *output);

//  The first frame of the message, as `dafka_proto_send` sends it. RECORD and
//  DIRECT_RECORD have their content in a second frame. The caller owns the
//  returned frame. NULL when `self` is NULL or the id is not one of the
//  DAFKA_PROTO constants.
DAFKA_EXPORT zframe_t *
    dafka_proto_encode (dafka_proto_t *self);

//  Writes the message to the log, one line for each field (`zsys_debug`).
DAFKA_EXPORT void
    dafka_proto_print (dafka_proto_t *self);

//  The message in ZPL form (ZeroMQ RFC 4): a node `dafka_proto`. When `parent`
//  is NULL, the node is the root of a new configuration, which the caller owns.
//  Otherwise the node is a child of `parent`, which then owns the node.
//
//  The node holds `message` (the name of the DAFKA_PROTO constant),
//  `routing_id` in hexadecimal digits if there is one, `topic`, and a node
//  `content`. The node `content` holds `version` and the fields of the message
//  under their names. The field `content` is written in hexadecimal digits, and
//  each topic of the field `subjects` is a child node. NULL when `self` is NULL
//  or the id is not one of the DAFKA_PROTO constants.
DAFKA_EXPORT zconfig_t *
    dafka_proto_zpl (dafka_proto_t *self, zconfig_t *parent);

//  The routing id. It identifies the peer that sent the message to a ROUTER, or
//  the peer that a ROUTER sends the message to. The frame is borrowed, and
//  valid until the message changes. NULL when the message has no routing id or
//  `self` is NULL.
DAFKA_EXPORT zframe_t *
    dafka_proto_routing_id (dafka_proto_t *self);

//  Sets the routing id to a copy of a frame, which the caller keeps. NULL
//  removes it.
DAFKA_EXPORT void
    dafka_proto_set_routing_id (dafka_proto_t *self, zframe_t *routing_id);

//  The id of the message: one of the DAFKA_PROTO constants, or 0 in a new
//  message.
DAFKA_EXPORT char
    dafka_proto_id (dafka_proto_t *self);

//  Sets the id of the message. The id determines which fields are sent.
DAFKA_EXPORT void
    dafka_proto_set_id (dafka_proto_t *self, char id);

//  The name of the message, a constant string: "RECORD", "DIRECT_RECORD",
//  "FETCH", "ACK", "HEAD", "DIRECT_HEAD", "GET_HEADS", "CONSUMER_HELLO",
//  "STORE_HELLO", or "?" when the id is not one of the DAFKA_PROTO constants.
//  Never NULL.
DAFKA_EXPORT const char *
    dafka_proto_command (dafka_proto_t *self);

//  The ZeroMQ topic, to which the receivers of the message are subscribed. In
//  RECORD, HEAD and GET_HEADS, it is the name of the records' topic. In FETCH
//  and ACK, it is the partition. In all other messages, it is the address of
//  the receiver. The string is borrowed, and valid until the field changes.
//  NULL only when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_proto_topic (dafka_proto_t *self);

//  Sets the ZeroMQ topic to a copy of a string. A string of more than 255 bytes
//  is cut.
DAFKA_EXPORT void
    dafka_proto_set_topic (dafka_proto_t *self, const char *topic);

//  The address. In RECORD, DIRECT_RECORD, HEAD and DIRECT_HEAD, it names the
//  partition. In all other messages, it names the sender. The string is
//  borrowed, and valid until the field changes. NULL only when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_proto_address (dafka_proto_t *self);

//  Sets the address to a copy of a string. A string of more than 255 bytes is
//  cut.
DAFKA_EXPORT void
    dafka_proto_set_address (dafka_proto_t *self, const char *address);

//  The subject, which is the topic's name. The string is borrowed, and valid
//  until the field changes. NULL only when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_proto_subject (dafka_proto_t *self);

//  Sets the subject to a copy of a string. A string of more than 255 bytes is
//  cut.
DAFKA_EXPORT void
    dafka_proto_set_subject (dafka_proto_t *self, const char *subject);

//  The sequence: the number of a record in its partition, from 0. In HEAD and
//  DIRECT_HEAD, this is the partition's last record. In ACK, it is the last
//  record that the store has. In FETCH, it is the first requested record.
DAFKA_EXPORT uint64_t
    dafka_proto_sequence (dafka_proto_t *self);

//  Sets the sequence.
DAFKA_EXPORT void
    dafka_proto_set_sequence (dafka_proto_t *self, uint64_t sequence);

//  The number of records that a FETCH requests.
DAFKA_EXPORT uint32_t
    dafka_proto_count (dafka_proto_t *self);

//  Sets the count.
DAFKA_EXPORT void
    dafka_proto_set_count (dafka_proto_t *self, uint32_t count);

//  The content of a RECORD or DIRECT_RECORD. It is borrowed, and valid until
//  the message changes. Read it with `zmq_msg_data` and `zmq_msg_size`; do not
//  close it. NULL only when `self` is NULL.
DAFKA_EXPORT zmq_msg_t *
    dafka_proto_content (dafka_proto_t *self);

//  Moves the content of `self` to `content`, a `zmq_msg_t` that the caller has
//  initialized (`zmq_msg_init`) and owns. The previous content of `content` is
//  released. The content of `self` is then empty.
DAFKA_EXPORT void
    dafka_proto_get_content (dafka_proto_t *self, zmq_msg_t *content);

//  Moves the content of `content` into the message. `content` is then empty.
//  The caller still owns `content`, and closes it (`zmq_msg_close`).
DAFKA_EXPORT void
    dafka_proto_set_content (dafka_proto_t *self, zmq_msg_t *content);

//  The topics of a CONSUMER_HELLO, a list of strings. It is borrowed, and valid
//  until the message changes. NULL when there is no list or `self` is NULL.
DAFKA_EXPORT zlist_t *
    dafka_proto_subjects (dafka_proto_t *self);

//  Moves the list of topics out of the message. The caller owns the list, and
//  destroys it with `zlist_destroy`. NULL when there is no list or `self` is
//  NULL.
DAFKA_EXPORT zlist_t *
    dafka_proto_get_subjects (dafka_proto_t *self);

//  Moves a list of strings into the message and sets `*subjects_p` to NULL. The
//  previous list is destroyed. A pointer to NULL removes the list.
DAFKA_EXPORT void
    dafka_proto_set_subjects (dafka_proto_t *self, zlist_t **subjects_p);

//  Subscribes a SUB socket to the messages with this id whose ZeroMQ topic
//  begins with `topic` (ZMQ_SUBSCRIBE; RFC 46/DAFKA, "ZeroMQ Subscriptions").
DAFKA_EXPORT void
    dafka_proto_subscribe (zsock_t *sub, char id, const char *topic);

//  Ends a subscription that `dafka_proto_subscribe` has started
//  (ZMQ_UNSUBSCRIBE).
DAFKA_EXPORT void
    dafka_proto_unsubscribe (zsock_t *sub, char id, const char *topic);

//  True when the last message that was read from an XPUB started a
//  subscription, false when it ended one.
DAFKA_EXPORT bool
    dafka_proto_is_subscribe (dafka_proto_t *self);

//  Runs the self test of this class, as `dafka_selftest` does. It calls the
//  functions of the class, and prints " * dafka_proto: OK". A failed check
//  aborts the process. With `verbose`, the nodes of the test log what they do.
DAFKA_EXPORT void
    dafka_proto_test (bool verbose);

#ifdef __cplusplus
}
#endif

#endif  /* DAFKA_H_INCLUDED */
