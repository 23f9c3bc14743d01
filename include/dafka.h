/*  =========================================================================
    dafka - decentralized, distributed streaming on ZeroMQ

    This Source Code Form is subject to the terms of the Mozilla Public
    License, v. 2.0. If a copy of the MPL was not distributed with this
    file, You can obtain one at http://mozilla.org/MPL/2.0/.

    Made from src/capi by cbindgen (make header). Do not edit.
    =========================================================================
*/

//  OVERVIEW
//
//  Dafka streams records between programs, without a broker. Producers publish
//  records to topics, consumers read them, stores keep them on disk and
//  acknowledge them. All speak directly to each other over ZeroMQ, as RFC
//  46/DAFKA says (https://rfc.zeromq.org/spec/46/); a tower only introduces
//  them to each other.
//
//  A producer writes one partition of its topic. The partition's name is the
//  producer's address, its records have the sequences 0, 1, 2 and so on. A
//  consumer gets the records of each partition in this order, each of them
//  once.
//
//  The library is used together with CZMQ: `zactor_new` starts towers, stores
//  and producers, a `zconfig_t` configures them, contents travel as `zframe_t`,
//  log lines go to `zsys`.
//
//  COMPILE AND LINK
//
//      gcc app.c -o app $(pkg-config --cflags --libs libdafka)
//
//  The archive in place of the shared library:
//
//      gcc app.c -o app $(pkg-config --cflags libdafka) $(pkg-config --variable=archive_libs libdafka)
//
//  With CMake: `find_package (dafka REQUIRED)`, then
//  `target_link_libraries (app dafka::dafka)`; the archive is
//  `dafka::dafka-static`. The header is for C99 and later, and for C++. The
//  headers of the C library, one for each class (`dafka_producer.h` and so on),
//  are there too: each includes this one.
//
//  CLASSES
//
//    - `dafka_producer`: publishes records to a topic
//    - `dafka_producer_msg`: a record that is to be published
//    - `dafka_consumer`: reads the records of topics
//    - `dafka_consumer_msg`: a record that was received
//    - `dafka_tower`: introduces nodes to each other
//    - `dafka_store`: keeps records on disk
//    - `dafka_publisher`: publishes records to a topic (first generation of the
//      API)
//    - `dafka_subscriber`: reads the records of topics (first generation of the
//      API)
//    - `dafka_beacon`: makes a node known, and tells it of its peers
//    - `dafka_proto`: a message of the wire protocol
//
//  There are two generations of the API. Producers and consumers are the one in
//  use since libdafka 0.1.0; publishers and subscribers are the one before it.
//  What one generation publishes the other one reads.
//
//  CONFIGURATION
//
//  A node gets a `zconfig_t *` when it starts, and reads its keys from there.
//  NULL means the defaults, and so does a key that is missing. A key may be
//  nested, as zconfig_put makes it, or flat: an item named `store/db`. A value
//  that makes no sense is logged with its key, and the default is used, or what
//  libdafka 0.1.0 takes it for. The keys, with their units and defaults, are in
//  the manual page dafka(7) and in doc/configuration.md. Most programs need
//  these:
//
//    - `tower/sub_address`, `tower/pub_address`: where a tower binds
//    - `beacon/sub_address`, `beacon/pub_address`: the same addresses, as nodes
//      connect to them
//    - `consumer/offset/reset`: `earliest` or `latest` (the default), where a
//      consumer begins to read
//    - `store/db`: the directory of a store
//
//  RETURN VALUES
//
//    - A function that returns `int`: 0 when it has done what it is for, -1
//      when it could not (`dafka_proto_recv` also knows -2)
//    - A function that returns a pointer: NULL when there is nothing, or no
//      memory for it
//    - A function that returns a number or `bool`: 0 or false when there is
//      nothing
//
//  ERRORS
//
//  A function that fails logs one line that begins with its name
//  (`zsys_error`), and sets no `errno`. Only a wait that a signal or a time
//  limit has ended is no error: -1 without a log line.
//
//  NULL is accepted for every pointer. Where NULL has no meaning of its own, it
//  is an error as above; the destructors do nothing then, and they set the
//  caller's pointer to NULL, so that to destroy twice is harmless.
//
//  An actor that cannot start (an address that is taken, a directory that is
//  not writable) logs why, and ends. `zactor_new` returns it all the same, as
//  CZMQ does: functions that are called with it return errors from then on, and
//  `zactor_destroy` returns at once. Nothing that a peer, a file or a
//  configuration says ends the process.
//
//  OWNERSHIP
//
//    - What a function named `_new` or `_dup` returns is the caller's, who
//      destroys it with the function named `_destroy`; that takes a pointer to
//      the caller's pointer, and sets it to NULL.
//    - A `const char *`, a `const byte *`, and whatever is called borrowed
//      belongs to the object that it came from, for as long as the function
//      says.
//    - A `char *` is a fresh copy, to be freed with `zstr_free`.
//    - A pointer to a pointer (`zframe_t **`, `zlist_t **`) hands the object
//      over: the caller's pointer is NULL afterwards.
//    - The structure with the arguments of a node, the strings and the
//      configuration in it remain the caller's, and may go as soon as
//      `zactor_new` or `dafka_consumer_new` has returned. A sink for records is
//      handed over.
//
//  THREADS
//
//  A node has threads of its own. The application uses each object (an actor, a
//  consumer, a message) in one thread at a time, as it does with CZMQ's
//  sockets: an object can be handed to another thread, but two must not use it
//  at once. Different objects can be used by different threads at once.
//
//  All sockets are made in CZMQ's context of the process. So `inproc://`
//  addresses work between nodes and with the application, and
//  `zsys_set_linger`, `zsys_set_pipehwm`, `zsys_set_io_threads` and
//  `zsys_set_ipv6` hold for nodes that start after them. Destroy all nodes
//  before `zsys_shutdown`.
//
//  A program that leaves `main`, or calls `exit`, without destroying its nodes
//  ends without an abort. `exit` has them end: they handle what they were
//  handed, for up to 200 ms, and do not wait for acknowledgements. What a store
//  has acknowledged is kept. `exit` waits for the nodes, usually less than 200
//  ms, and at most 5 seconds. CZMQ then closes their sockets, which takes it
//  another 200 ms; what peers have not received by then is sent for at most 3
//  more seconds (`zsys_set_linger` changes that). To lose no record, destroy
//  producers before that. A function that does so at the end of the process
//  (`atexit`) must be registered after the first node has started: functions
//  are called in reverse order, and one that was registered earlier finds the
//  producers ended.
//
//  SIGNALS
//
//  CZMQ catches SIGINT and SIGTERM unless it is told not to
//  (`zsys_handler_set`). With its handler, a function that waits for a record
//  or a message returns -1 after either of them, with `zsys_interrupted` set;
//  nothing is lost, and it can be called again.
//
//  A signal handler that runs in the thread that waits interrupts a wait, with
//  and without SA_RESTART (ZeroMQ waits in poll). Functions that wait for a
//  record or a message return -1 then. All others go on waiting.
//
//  `zactor_new` (CZMQ 4.2.1) returns early when a signal interrupts it, and the
//  actor is not ready then. Every function of this library waits for the actor
//  when it is called, so nothing is lost. What the library cannot change: the
//  arguments of the actor must stay until it has begun; an application that
//  reads the actor's pipe itself may read a signal (`zsock_signal`) first; and
//  when no function of this library was called with the actor, `zactor_destroy`
//  returns before the actor has ended. In CZMQ 4.2.1 a signal can even end the
//  process while `zactor_new` makes the pipe (an assertion). Block signals
//  (`pthread_sigmask`) while `zactor_new` runs to avoid all this.
//
//  FORK
//
//  A child that is forked without exec has its parent's nodes in memory, but
//  none of their threads. In the child, functions that need them log an error
//  and return -1 or NULL at once. `dafka_consumer_destroy` frees memory only,
//  and leaves the parent's sockets alone. Do not call `zactor_destroy` and
//  `zsock_destroy` there with the parent's objects: CZMQ then counts its
//  sockets wrongly. The child may start nodes of its own. It holds copies of
//  its parent's connections until it ends or calls exec: until then peers do
//  not notice that a node of the parent has ended.
//
//  LIMITS OF THE PROCESS
//
//  A consumer takes up to 14 ZeroMQ sockets, a producer, a publisher or a
//  subscriber 12, a store 28, a tower 4, a beacon 6. All count towards
//  ZMQ_MAX_SOCKETS, which is 1,024 in CZMQ. An application that needs more
//  calls `zsys_set_max_sockets` (0: as many as ZeroMQ allows, 65,535) before
//  its first socket, or sets ZSYS_MAX_SOCKETS in the environment. If the first
//  socket of a process is a consumer's and no limit was chosen, the library
//  allows as many sockets as files.
//
//  Each socket takes a file, each node one more to listen at, and each
//  connection to or from a peer another one. They count towards RLIMIT_NOFILE
//  (`ulimit -n`). Each node has two threads or more. Consumers of one process
//  do not connect to each other, and from the ninth one on they share one
//  connection to the towers for what the towers announce. A thousand consumers
//  with a producer in one process take about 17,000 files and 2,000 threads.
//
//  When a limit is reached, the log names it. `dafka_consumer_new` returns
//  NULL. An actor logs why it cannot start, and ends. `zactor_new` and
//  `zsock_new` themselves end the process (CZMQ 4.2.1) when there is no socket
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
//  Checks the inside of the library, as dafka_selftest of libdafka 0.1.0 expects: all of it ("$ALL"), or one of
//  "dafka_unacked_list_test", "dafka_util_test" and "dafka_test_peer_test". Prints a line that ends with OK for
//  each; a check that fails aborts the process. Another name is no test, and nothing happens.
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
//  its records from 0, publishes them to whoever is subscribed, and keeps each
//  of them until stores have acknowledged it, so that consumers and stores can
//  ask for what they have missed (RFC 46/DAFKA, "Topics, Partitions and
//  Records" and "The RECORD Command"). `zactor_new` starts it with a
//  `dafka_producer_args_t`; records are handed to it as `dafka_producer_msg_t`.
//
//  `zactor_destroy` ends it. All that was sent before is published; then it
//  waits until every record is acknowledged, for ever if there is no store,
//  unless `producer/terminate_unacked` is 1.
//
//  CONFIGURATION
//
//  The keys below `producer/` and `beacon/`. Most wanted: `beacon/sub_address`
//  and `beacon/pub_address` (where the tower is), `producer/terminate_unacked`,
//  `producer/min_stores` (in how many stores a record has to be),
//  `producer/max_unacked_bytes` (how much memory records that wait for
//  acknowledgement may use), `producer/max_record_bytes` (the longest record
//  that it takes).
//
//  COMMANDS
//
//  Programs that write to the actor's pipe by themselves (`zsock_send`,
//  `zmsg_send`) may send it:
//
//    - `P`: publish; a second frame holds the content. A longer one than
//      `producer/max_record_bytes` is logged and dropped. The pipe's high-water
//      mark applies (`zsys_set_pipehwm`).
//    - `GET ADDRESS`: the answer is the pointer that `dafka_producer_address`
//      returns (`zsock_brecv` with picture `p`).
//    - `$TERM`: end, as `zactor_destroy` sends it.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          //  A tower inside this process, and where its nodes find it
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
//          zactor_destroy (&producer);
//          zactor_destroy (&tower);
//          zconfig_destroy (&config);
//          return 0;
//      }

//  What `dafka_producer` is started with. Topic and configuration remain the
//  caller's, and may be freed once `zactor_new` has returned.
typedef struct {
    //  The topic to publish to, 1 to 255 octets.
    const char *topic;
    //  NULL: defaults.
    zconfig_t *config;
} dafka_producer_args_t;

//  The producer's actor: a function for `zactor_new`, whose `args` is a
//  `dafka_producer_args_t *`. Not to be called directly. It is ready, and
//  `zactor_new` returns, when the towers have welcomed it or
//  `beacon/connect_timeout` (milliseconds) has passed. Without a topic it logs
//  an error and ends.
DAFKA_EXPORT void
    dafka_producer (zsock_t *pipe, void *args);

//  The address of a producer, which is the name of the partition that it
//  writes: 32 hexadecimal digits. The string is borrowed, and valid as long as
//  the actor lives. NULL when `self` is NULL or the producer has ended.
//
//  The address changes when another producer is found that has the same one (a
//  cloned virtual machine, a restored snapshot), which is logged. The producer
//  goes on in a new partition, and publishes again there, numbered from 0, what
//  is not acknowledged. What this function returned before remains a valid
//  string: the old address.
DAFKA_EXPORT const char *
    dafka_producer_address (zactor_t *self);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_producer: OK"; a check that fails aborts
//  the process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_producer_test (bool verbose);


//  ============================================================================
//  dafka_producer_msg: a record that is to be published
//  ============================================================================
//
//  A message is empty, or has a content: any number of octets, also none. It
//  gets one, is sent to a producer, which leaves it empty, and gets the next
//  one: a program needs one message for any number of records. A producer takes
//  contents of up to `producer/max_record_bytes`, 1 GiB by default and at most,
//  a store those of up to `store/max_record_bytes`.
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
//          //  Any octets
//          const byte octets [] = { 0, 1, 2, 255 };
//          rc = dafka_producer_msg_set_content_buffer (msg, octets, 4);
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
//          //  And out again: the message is empty then
//          frame = dafka_producer_msg_get_content (msg);
//          assert (zframe_streq (frame, "world"));
//          zframe_destroy (&frame);
//          assert (dafka_producer_msg_content_size (msg) == 0);
//
//          dafka_producer_msg_destroy (&msg);
//          assert (msg == NULL);
//          return 0;
//      }

//  A new, empty message. The caller owns it, and destroys it with
//  `dafka_producer_msg_destroy`. NULL only after an internal error, which is
//  logged.
DAFKA_EXPORT dafka_producer_msg_t *
    dafka_producer_msg_new (void);

//  Destroys a message with its content and sets `*self_p` to NULL. Accepts NULL
//  and a pointer to NULL.
DAFKA_EXPORT void
    dafka_producer_msg_destroy (dafka_producer_msg_t **self_p);

//  The content. It is borrowed, and valid until the message gets another one,
//  is sent or is destroyed. NULL when the message is empty or `self` is NULL.
DAFKA_EXPORT const byte *
    dafka_producer_msg_content (dafka_producer_msg_t *self);

//  The length of the content in octets; 0 when the message is empty or `self`
//  is NULL.
DAFKA_EXPORT size_t
    dafka_producer_msg_content_size (dafka_producer_msg_t *self);

//  Takes the content out of the message, which is empty then. The caller owns
//  the frame, and destroys it with `zframe_destroy`. NULL when the message is
//  empty or `self` is NULL.
DAFKA_EXPORT zframe_t *
    dafka_producer_msg_get_content (dafka_producer_msg_t *self);

//  Gives the message a content of `size` octets, all zero, in place of what it
//  has. To fill it, write to what `dafka_producer_msg_content` returns, without
//  its `const`.
//
//  Returns 0, or -1 when there is no memory for it or `self` is NULL; the
//  message is as before then.
DAFKA_EXPORT int
    dafka_producer_msg_init_content (dafka_producer_msg_t *self, size_t size);

//  Gives the message a frame as its content, without a copy, in place of what
//  it has. Takes the frame over and sets `*content` to NULL, also when `self`
//  is NULL; with a NULL frame the message is empty.
DAFKA_EXPORT void
    dafka_producer_msg_set_content (dafka_producer_msg_t *self, zframe_t **content);

//  Gives the message a copy of a string, without its NUL, as its content, in
//  place of what it has.
//
//  Returns 0, or -1 when there is no memory for it or an argument is NULL; the
//  message is as before then.
DAFKA_EXPORT int
    dafka_producer_msg_set_content_str (dafka_producer_msg_t *self, const char *content);

//  Gives the message a copy of `size` octets as its content, in place of what
//  it has.
//
//  Returns 0, or -1 when there is no memory for it or an argument is NULL
//  (`content` may be NULL when `size` is 0); the message is as before then.
DAFKA_EXPORT int
    dafka_producer_msg_set_content_buffer (dafka_producer_msg_t *self, const byte *content,
                                           size_t size);

//  Hands the content to a producer, without a copy; the message is empty then,
//  and can be used again. The record is published soon after, not before this
//  returns; its sequence is the number of records that this producer was sent
//  before it, unless the producer's address changes (see
//  `dafka_producer_address`).
//
//  Waits while the producer's pipe is full (`zsys_set_pipehwm`), and while
//  records that wait for acknowledgement use up `producer/max_unacked_bytes`; a
//  signal does not end that wait.
//
//  To an actor of the program's own (a test double, a filter) it sends a
//  message of two frames, `P` and the content; it waits while the pipe is full,
//  until SIGINT or SIGTERM comes under CZMQ's handling.
//
//  Returns 0, or -1 when the message is empty, an argument is NULL, the content
//  is longer than `producer/max_record_bytes` (which the log names, with the
//  content's size), the producer has ended, or it belongs to the process that
//  forked this one. In all but the last two cases the message keeps what it
//  has.
DAFKA_EXPORT int
    dafka_producer_msg_send (dafka_producer_msg_t *self, zactor_t *producer);

//  A fresh copy of the content with a NUL after it. The caller owns it, and
//  frees it with `zstr_free`. NULL when the message is empty, there is no
//  memory for it or `self` is NULL.
DAFKA_EXPORT char *
    dafka_producer_msg_strdup (dafka_producer_msg_t *self);

//  True when the content equals a string, whose NUL does not count; false when
//  not, when the message is empty or an argument is NULL.
DAFKA_EXPORT bool
    dafka_producer_msg_streq (dafka_producer_msg_t *self, const char *text);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_producer_msg: OK"; a check that fails
//  aborts the process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_producer_msg_test (bool verbose);


//  ============================================================================
//  dafka_consumer: reads the records of topics
//  ============================================================================
//
//  A consumer reads all partitions of the topics that it is subscribed to, and
//  fetches what it has missed from the producers and the stores (RFC 46/DAFKA,
//  "The FETCH Command"). It hands over the records of each partition in their
//  order, each of them once; of several partitions, in the order in which they
//  come. `dafka_consumer_msg_recv` reads the next one. A consumer keeps no
//  position anywhere: each one that is made begins where its configuration
//  says.
//
//  Records wait for the application in the record pipe, a pair of sockets. When
//  the application reads slowly and the pipe is full (`zsys_set_pipehwm`), the
//  consumer keeps up to `consumer/max_unread_bytes` of what still comes, and
//  fetches later what it has dropped beyond that.
//
//  CONFIGURATION
//
//  The keys below `consumer/` and `beacon/`. Most wanted: `beacon/sub_address`
//  and `beacon/pub_address` (where the tower is), `consumer/offset/reset`: with
//  `latest`, the default, a partition is read from the record on that is
//  published next; with `earliest` from its first record.
//
//  A SINK OF ONE'S OWN
//
//  With a `record_sink`, a connected socket that can send (PAIR, PUSH, DEALER),
//  records go there in place of the record pipe. The consumer owns the socket
//  from then on, uses it in its own thread and destroys it. First it sends a
//  signal, for `zsock_wait` at the other end, then the records: each is a
//  message of three frames, topic, partition and content.
//  `dafka_consumer_msg_recv_from_socket` understands them, and leaves out the
//  signal.
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
//          //  From the first record on, also if it was published before
//          zconfig_put (config, "consumer/offset/reset", "earliest");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          //  Somebody publishes
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
//          //  Records come in here, for zpoller and zloop
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

//  What a consumer is made with.
typedef struct {
    //  NULL: defaults. Remains the caller's, and may be destroyed once
    //  `dafka_consumer_new` has returned.
    zconfig_t *config;
    //  Where records go; the consumer owns the socket then. NULL: the consumer
    //  makes a pipe of its own.
    zsock_t *record_sink;
} dafka_consumer_args_t;

//  A new consumer, without subscriptions. The caller owns it, and destroys it
//  with `dafka_consumer_destroy`. `*args` is not modified. It is ready, and
//  this returns, when the towers have welcomed it or `beacon/connect_timeout`
//  (milliseconds) has passed.
//
//  NULL when `args` is NULL or there are no more sockets, files or threads: the
//  log names the limit (ZMQ_MAX_SOCKETS, RLIMIT_NOFILE), see dafka(7). A sink
//  is destroyed then, after a signal.
DAFKA_EXPORT dafka_consumer_t *
    dafka_consumer_new (dafka_consumer_args_t *args);

//  Ends a consumer at once and sets `*self_p` to NULL. Records that wait in its
//  record pipe are gone, and so is what `dafka_consumer_record_source`
//  returned: destroy a `zpoller` that uses it before. Accepts NULL and a
//  pointer to NULL.
DAFKA_EXPORT void
    dafka_consumer_destroy (dafka_consumer_t **self_p);

//  Subscribes to a topic, a name of 1 to 255 octets that is compared as a
//  whole: `weather` does not subscribe to `weather2`, unless
//  `consumer/topic_match` is `prefix`. The empty topic stands for all. To
//  subscribe twice is one subscription. Does not wait for anybody: records come
//  when peers are found.
//
//  Returns 0, or -1 when the topic is no topic, an argument is NULL or the
//  consumer has ended.
DAFKA_EXPORT int
    dafka_consumer_subscribe (dafka_consumer_t *self, const char *topic);

//  Ends a subscription. Records that wait in the record pipe are delivered all
//  the same. To subscribe again later begins anew, where
//  `consumer/offset/reset` says.
//
//  Returns 0, also when there was no such subscription, or -1 when the topic is
//  no topic, an argument is NULL or the consumer has ended.
DAFKA_EXPORT int
    dafka_consumer_unsubscribe (dafka_consumer_t *self, const char *topic);

//  The address of the consumer, by which its peers know it: 32 hexadecimal
//  digits. The string is borrowed, and valid until the consumer is destroyed.
//  NULL when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_address (dafka_consumer_t *self);

//  The topics that the consumer is subscribed to, a list of strings
//  (`zlist_first`, `zlist_next`). It belongs to the consumer, is valid until
//  that is destroyed, and changes when the consumer subscribes and
//  unsubscribes. Each call returns the same list. NULL when `self` is NULL.
DAFKA_EXPORT zlist_t *
    dafka_consumer_subscription (dafka_consumer_t *self);

//  The reading end of the consumer's record pipe, for `zpoller` and `zloop`. It
//  belongs to the consumer, and is valid until that is destroyed.
//  `dafka_consumer_msg_recv` reads from it; who reads from it directly
//  (`zmsg_recv`) gets for each record a message of three frames: topic,
//  partition, content. A time limit for reading can be set:
//  `zsock_set_rcvtimeo`, in milliseconds (ZMQ_RCVTIMEO).
//
//  NULL when the consumer has a sink of the caller's, or `self` is NULL.
DAFKA_EXPORT zsock_t *
    dafka_consumer_record_source (dafka_consumer_t *self);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_consumer: OK"; a check that fails aborts
//  the process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_consumer_test (bool verbose);


//  ============================================================================
//  dafka_consumer_msg: a record that was received
//  ============================================================================
//
//  A message is empty until it receives a record, and holds that record until
//  it receives the next one. A program needs one message for any number of
//  records.
//
//  EXAMPLE
//
//      #include <dafka.h>
//
//      int main (void)
//      {
//          //  Where a consumer's records go: any socket will do
//          zsock_t *sink = NULL;
//          zsock_t *source = zsys_create_pipe (&sink);
//          assert (source);
//
//          //  As a consumer hands over a record: topic, partition, content
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
//          //  To keep the content, take it out
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

//  A new, empty message. The caller owns it, and destroys it with
//  `dafka_consumer_msg_destroy`. NULL only after an internal error, which is
//  logged.
DAFKA_EXPORT dafka_consumer_msg_t *
    dafka_consumer_msg_new (void);

//  Destroys a message with the record in it and sets `*self_p` to NULL. Accepts
//  NULL and a pointer to NULL.
DAFKA_EXPORT void
    dafka_consumer_msg_destroy (dafka_consumer_msg_t **self_p);

//  The topic of the record, "" when the message is empty. The string is
//  borrowed, and valid until the message receives the next record or is
//  destroyed. NULL when `self` is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_msg_subject (dafka_consumer_msg_t *self);

//  The name of the partition that the record is in, which is the address of its
//  producer; "" when the message is empty. The string is borrowed, and valid
//  until the message receives the next record or is destroyed. NULL when `self`
//  is NULL.
DAFKA_EXPORT const char *
    dafka_consumer_msg_address (dafka_consumer_msg_t *self);

//  The content of the record. It is borrowed, and valid until the message
//  receives the next record or is destroyed. NULL when the message is empty or
//  `self` is NULL.
DAFKA_EXPORT const byte *
    dafka_consumer_msg_content (dafka_consumer_msg_t *self);

//  The length of the content in octets; 0 when there is none or `self` is NULL.
DAFKA_EXPORT size_t
    dafka_consumer_msg_content_size (dafka_consumer_msg_t *self);

//  Takes the content out of the message, which keeps the names of topic and
//  partition. The caller owns the frame, and destroys it with `zframe_destroy`.
//  NULL when there is no content or `self` is NULL.
DAFKA_EXPORT zframe_t *
    dafka_consumer_msg_get_content (dafka_consumer_msg_t *self);

//  Waits for the next record of a consumer and reads it into the message, in
//  place of the one before.
//
//  Returns 0, or -1 when a signal interrupted it (SIGINT and SIGTERM under
//  CZMQ's handling), the time limit of the record source (`zsock_set_rcvtimeo`)
//  has passed, the consumer has ended or has a sink of the caller's, or an
//  argument is NULL; the message is as before then.
DAFKA_EXPORT int
    dafka_consumer_msg_recv (dafka_consumer_msg_t *self, dafka_consumer_t *consumer);

//  Waits for a record at a socket that carries what a consumer sends to its
//  sink, and reads it into the message, in place of the one before. Signals
//  (`zsock_signal`) are left out.
//
//  Returns 0, or -1 when a signal interrupted it (SIGINT and SIGTERM under
//  CZMQ's handling), the time limit of the socket (`zsock_set_rcvtimeo`) has
//  passed, the socket cannot receive, what came is no record of three frames
//  (it is dropped, and the message is empty then) or an argument is NULL.
DAFKA_EXPORT int
    dafka_consumer_msg_recv_from_socket (dafka_consumer_msg_t *self, zsock_t *socket);

//  A fresh copy of the content with a NUL after it. The caller owns it, and
//  frees it with `zstr_free`. NULL when there is no content, there is no memory
//  for it or `self` is NULL.
DAFKA_EXPORT char *
    dafka_consumer_msg_strdup (dafka_consumer_msg_t *self);

//  True when the content equals a string, whose NUL does not count; false when
//  not, when there is no content or an argument is NULL.
DAFKA_EXPORT bool
    dafka_consumer_msg_streq (dafka_consumer_msg_t *self, const char *text);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_consumer_msg: OK"; a check that fails
//  aborts the process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_consumer_msg_test (bool verbose);


//  ============================================================================
//  dafka_tower: introduces nodes to each other
//  ============================================================================
//
//  A tower is an actor that tells each node where the others are; no records
//  pass through it (RFC 46/DAFKA, "Interconnection Model"). A network needs one
//  tower at least; with several of them, all nodes name all of them, and any
//  one may fail. Nodes that know each other go on without a tower. `zactor_new`
//  starts it with a `zconfig_t`, `zactor_destroy` ends it. The program
//  dafka_towerd(1) is a tower and nothing else.
//
//  CONFIGURATION
//
//  `tower/sub_address`: where it binds for what nodes tell it, `tcp://*:5556`
//  by default. `tower/pub_address`: where it binds for what it tells them,
//  `tcp://*:5557` by default. `tower/endpoints_file`: where it writes the
//  addresses that it listens at, with the ports that it got in place of `*` or
//  0. `tower/verbose`: 1 to log each node that it hears of. A tower that only
//  listens on this host (loopback, `inproc://`, `ipc://`) introduces its nodes
//  as 127.0.0.1.
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
//          //  The same, as nodes connect to it
//          zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//          zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//          zactor_t *tower = zactor_new (dafka_tower_actor, config);
//          assert (tower);
//
//          //  A node that finds it: the consumer starts without waiting for
//          //  beacon/connect_timeout
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
//  `zconfig_t *`, or NULL for the defaults. Not to be called directly. It is
//  ready, and `zactor_new` returns, when it has bound to both addresses. When
//  it cannot, it logs why, and waits for `zactor_destroy`.
DAFKA_EXPORT void
    dafka_tower_actor (zsock_t *pipe, void *args);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_tower: OK"; a check that fails aborts the
//  process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_tower_test (bool verbose);


//  ============================================================================
//  dafka_store: keeps records on disk
//  ============================================================================
//
//  A store is an actor that takes in the records of all topics, writes them to
//  its directory, and then acknowledges them to their producers (RFC 46/DAFKA,
//  "ZeroMQ Subscriptions"): with `store/sync = always`, the default, an
//  acknowledged record survives the end of the process and of the power. It
//  answers consumers that ask for earlier records, whether their producer still
//  runs or not, and gives other stores what they lack. `zactor_new` starts it
//  with a `zconfig_t`. `zactor_destroy` ends it: what it has taken in by then
//  is written. The program dafka_stored(1) is a store and nothing else.
//
//  A directory that cannot be used is logged, and the actor ends: one that is
//  not writable, that another store uses, or that holds another database (such
//  as the LevelDB files of the C library's store). When the disk is full,
//  nothing is acknowledged until there is room again.
//
//  CONFIGURATION
//
//  The keys below `store/` and `beacon/`. Most wanted: `store/db` (the
//  directory, `storedb` by default), `beacon/sub_address` and
//  `beacon/pub_address` (where the tower is).
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
//          //  Whoever publishes gets acknowledgements from the store ...
//          dafka_producer_args_t producer_args = { "weather", config };
//          zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//          assert (producer);
//          dafka_producer_msg_t *sent = dafka_producer_msg_new ();
//          dafka_producer_msg_set_content_str (sent, "20 degrees");
//          int rc = dafka_producer_msg_send (sent, producer);
//          assert (rc == 0);
//          dafka_producer_msg_destroy (&sent);
//          //  ... and waits for the last one: the record is on disk now
//          zactor_destroy (&producer);
//
//          //  Who comes later reads it from there
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
//          //  Only an example's records may go
//          zdir_t *db = zdir_new ("example-db", NULL);
//          zdir_remove (db, true);
//          zdir_destroy (&db);
//          return 0;
//      }

//  The store's actor: a function for `zactor_new`, whose `args` is a
//  `zconfig_t *`, or NULL for the defaults. Not to be called directly. It is
//  ready, and `zactor_new` returns, when its directory is open and the towers
//  have welcomed it or `beacon/connect_timeout` (milliseconds) has passed. When
//  it cannot use the directory, it logs why and ends.
DAFKA_EXPORT void
    dafka_store_actor (zsock_t *pipe, void *args);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_store: OK"; a check that fails aborts the
//  process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_store_test (bool verbose);


//  ============================================================================
//  dafka_publisher: publishes records to a topic (first generation of the API)
//  ============================================================================
//
//  A publisher is a producer (see dafka_producer(3)) that is handed frames in
//  place of messages: the actor of programs that were written for the first
//  generation of the API. New programs use `dafka_producer`. `zactor_new`
//  starts it with a `dafka_publisher_args_t`. `zactor_destroy` ends it. A
//  publisher that no store has acknowledged or is connected to ends at once,
//  but not before it is one second old: a store may need that long to connect.
//  Else it waits until all records are acknowledged.
//  `publisher/terminate_timeout` (in milliseconds, 30,000 by default) limits
//  both waits, and `producer/terminate_unacked = 1` ends it at once.
//
//  CONFIGURATION
//
//  The keys of a producer: those below `producer/` and `beacon/`; and
//  `publisher/terminate_timeout`.
//
//  COMMANDS
//
//  Programs that write to the actor's pipe by themselves may send it:
//
//    - `PUBLISH`: a second frame holds a pointer to a `zframe_t` (`zsock_bsend`
//      with picture `p`), which is the publisher's then.
//    - `GET ADDRESS`: the answer is the pointer that `dafka_publisher_address`
//      returns (`zsock_brecv` with picture `p`).
//    - `$TERM`: end, as `zactor_destroy` sends it.
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

//  What `dafka_publisher_actor` is started with. Topic and configuration remain
//  the caller's, and may be freed once `zactor_new` has returned.
typedef struct {
    //  The topic to publish to, 1 to 255 octets.
    const char *topic;
    //  NULL: defaults.
    zconfig_t *config;
} dafka_publisher_args_t;

//  The publisher's actor: a function for `zactor_new`, whose `args` is a
//  `dafka_publisher_args_t *`. Not to be called directly. It is ready, and
//  `zactor_new` returns, when the towers have welcomed it or
//  `beacon/connect_timeout` (milliseconds) has passed. Without a topic it logs
//  an error and ends.
DAFKA_EXPORT void
    dafka_publisher_actor (zsock_t *pipe, void *args);

//  Publishes a record. Takes the frame over, which is its content, and sets
//  `*content` to NULL, also when it fails. The record is published soon after,
//  not before this returns.
//
//  Waits while the publisher's pipe is full (`zsys_set_pipehwm`), and while
//  records that wait for acknowledgement use up `producer/max_unacked_bytes`; a
//  signal does not end that wait.
//
//  Returns 0, or -1 when the publisher has ended, an argument is NULL or the
//  content is longer than `producer/max_record_bytes`, which the log names.
DAFKA_EXPORT int
    dafka_publisher_publish (zactor_t *self, zframe_t **content);

//  The address of a publisher, which is the name of the partition that it
//  writes: 32 hexadecimal digits. The string is borrowed, and valid as long as
//  the actor lives. NULL when `self` is NULL or the publisher has ended. It
//  changes as `dafka_producer_address` says.
DAFKA_EXPORT const char *
    dafka_publisher_address (zactor_t *self);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_publisher: OK"; a check that fails aborts
//  the process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_publisher_test (bool verbose);


//  ============================================================================
//  dafka_subscriber: reads the records of topics (first generation of the API)
//  ============================================================================
//
//  A subscriber is a consumer (see dafka_consumer(3)) that hands records over
//  on its actor's pipe: for programs that were written for the first generation
//  of the API. New programs use `dafka_consumer`. `zactor_new` starts it with a
//  `zconfig_t`, `zactor_destroy` ends it.
//
//  A record is read with `zsock_brecv` and the picture `ssf`: the topic, the
//  partition and the content. The two strings belong to the actor and are valid
//  until the next record; the frame is the caller's. `zpoller` and `zloop` take
//  the actor as they take a socket.
//
//  CONFIGURATION
//
//  The keys of a consumer, with one difference: unless `consumer/offset/reset`
//  is `latest`, a subscriber reads each partition from its first record.
//
//  COMMANDS
//
//  Programs that write to the actor's pipe by themselves may send it:
//
//    - `SUBSCRIBE` or `UNSUBSCRIBE`: a second frame holds the topic
//      (`zsock_send` with picture `ss`).
//    - `$TERM`: end, as `zactor_destroy` sends it.
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
//          //  Somebody publishes
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
//          //  The strings stay the actor's, until the next record; the frame
//          //  is ours
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
//  `zconfig_t *`, or NULL for the defaults. Not to be called directly. It is
//  ready, and `zactor_new` returns, when the towers have welcomed it or
//  `beacon/connect_timeout` (milliseconds) has passed.
DAFKA_EXPORT void
    dafka_subscriber_actor (zsock_t *pipe, void *args);

//  Subscribes to a topic as `dafka_consumer_subscribe` does. To subscribe twice
//  is one subscription.
//
//  Returns 0, or -1 when the topic is no topic, an argument is NULL or the
//  subscriber has ended.
DAFKA_EXPORT int
    dafka_subscriber_subscribe (zactor_t *self, const char *topic);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_subscriber: OK"; a check that fails aborts
//  the process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_subscriber_test (bool verbose);


//  ============================================================================
//  dafka_beacon: makes a node known, and tells it of its peers
//  ============================================================================
//
//  Producers, consumers and stores have a beacon of their own; an application
//  needs this class only when it is a node itself, one that speaks the protocol
//  with `dafka_proto_t` (RFC 46/DAFKA, "Interconnection Model"). A beacon is an
//  actor that tells the towers each `beacon/interval` where its node listens,
//  and its node where the others do. A peer that is silent for `beacon/timeout`
//  is gone, unless it is the towers that are gone. `zactor_new` starts it with
//  a `dafka_beacon_args_t`, and returns when a tower has welcomed it, or none
//  has within `beacon/connect_timeout`; `zactor_destroy` ends it.
//
//  CONFIGURATION
//
//  The keys below `beacon/`: `beacon/sub_address` and `beacon/pub_address`
//  (where the towers are), `beacon/address` (the host that peers are to connect
//  to, when the tower cannot find out), `beacon/interval`, `beacon/timeout` and
//  `beacon/connect_timeout` in milliseconds, `beacon/max_peers`,
//  `beacon/verbose`.
//
//  COMMANDS
//
//  The owner sends:
//
//    - `START`: make the node known; two more frames hold its address, a UUID
//      as 32 hexadecimal digits, and the TCP port that it listens at
//      (`zsock_send` with picture `ssi`). Peers that announce the same address
//      are the node itself, and ignored.
//    - `STOP`: announce the node no more. The beacon keeps its peers, and goes
//      on to report them.
//    - `$TERM`: end, as `zactor_destroy` sends it.
//
//  The beacon sends:
//
//    - `CONNECT` or `DISCONNECT`: a peer came or went; a second frame holds its
//      endpoint as it was announced. `dafka_beacon_recv` applies it to a
//      socket.
//
//  It does so without `START`, too: then the node only listens.
//
//  The host in an endpoint may be a name, and may not exist. When the beacon
//  finds the host late or elsewhere, it sends `DISCONNECT` and `CONNECT` for
//  the endpoint. A program that connects by itself (`zsock_connect`) makes
//  ZeroMQ look the name up, in the thread that serves all sockets of the
//  process; `dafka_beacon_recv` does not.
//
//  EXAMPLE
//
//      //  Tells of each partition of a topic that it hears of
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
//          //  What a node has: a socket for what it says, one for what it hears
//          zsock_t *pub = zsock_new (ZMQ_XPUB);
//          zsock_t *sub = zsock_new (ZMQ_SUB);
//          int port = zsock_bind (pub, "tcp://127.0.0.1:*");
//          assert (port > 0);
//          dafka_proto_subscribe (sub, DAFKA_PROTO_HEAD, "weather");
//
//          //  Its beacon makes it known under a name of its own
//          zuuid_t *uuid = zuuid_new ();
//          dafka_beacon_args_t args = { "Example", config };
//          zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
//          assert (beacon);
//          zsock_send (beacon, "ssi", "START", zuuid_str (uuid), port);
//
//          //  Another node comes, and publishes
//          dafka_producer_args_t producer_args = { "weather", config };
//          zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//          assert (producer);
//          dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//          dafka_producer_msg_set_content_str (msg, "20 degrees");
//          int rc = dafka_producer_msg_send (msg, producer);
//          assert (rc == 0);
//          dafka_producer_msg_destroy (&msg);
//
//          //  The beacon tells of it, and the socket is connected to it
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

//  What `dafka_beacon_actor` is started with. Prefix and configuration remain
//  the caller's, and may be freed once `zactor_new` has returned.
typedef struct {
    //  What its log lines begin with; NULL: "Beacon".
    const char *log_prefix;
    //  NULL: defaults.
    zconfig_t *config;
} dafka_beacon_args_t;

//  The beacon's actor: a function for `zactor_new`, whose `args` is a
//  `dafka_beacon_args_t *`, or NULL for the defaults. Not to be called
//  directly. It is ready, and `zactor_new` returns, when a tower has welcomed
//  it or `beacon/connect_timeout` (milliseconds) has passed.
DAFKA_EXPORT void
    dafka_beacon_actor (zsock_t *pipe, void *args);

//  Waits for one `CONNECT` or `DISCONNECT` of a beacon and applies it to a
//  socket (`zmq_connect`, `zmq_disconnect`). A host that has a name is
//  connected to by the address that the beacon has found. With `verbose` the
//  change is logged, after `log_prefix` (NULL: "Beacon"). An endpoint that
//  cannot be used is logged, as is a NULL beacon or socket, and a beacon that
//  has ended; nothing else happens then, and nothing happens when a signal
//  (SIGINT and SIGTERM under CZMQ's handling) or the time limit of the beacon's
//  pipe (`zsock_set_rcvtimeo`) ends the wait.
DAFKA_EXPORT void
    dafka_beacon_recv (zactor_t *beacon, zsock_t *sub, bool verbose, const char *log_prefix);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_beacon: OK"; a check that fails aborts the
//  process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_beacon_test (bool verbose);


//  ============================================================================
//  dafka_proto: a message of the wire protocol
//  ============================================================================
//
//  Producers, consumers and stores do all this by themselves; the class is for
//  programs that speak the protocol, such as test peers and monitors. A message
//  has an id, a ZeroMQ topic and the fields that its id asks for (RFC 46/DAFKA,
//  "Protocol Grammar", without the signature, which no implementation sends).
//  It is sent to and received from `zsock_t`, and can be sent more than once.
//
//  MESSAGES
//
//    - `DAFKA_PROTO_RECORD` 'M': topic, address, subject, sequence, content.
//      Producer to consumers and stores
//    - `DAFKA_PROTO_DIRECT_RECORD` 'D': the same fields. Producer or store to
//      the one who asked
//    - `DAFKA_PROTO_FETCH` 'F': topic, address, subject, sequence, count.
//      Consumer or store to the partition's producer and to all stores
//    - `DAFKA_PROTO_ACK` 'K': topic, subject, sequence. Store to producer
//    - `DAFKA_PROTO_HEAD` 'H': topic, address, subject, sequence. Producer to
//      consumers and stores
//    - `DAFKA_PROTO_DIRECT_HEAD` 'E': the same fields. Producer or store to one
//      consumer
//    - `DAFKA_PROTO_GET_HEADS` 'G': topic, address. Consumer to producers and
//      stores
//    - `DAFKA_PROTO_CONSUMER_HELLO` 'W': topic, address, subjects. Consumer to
//      one store
//    - `DAFKA_PROTO_STORE_HELLO` 'L': topic, address. Store to one consumer
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
//          //  A publisher sees who subscribes to what
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
//          //  And as a configuration, to be read by people
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

//  A new message: its id is 0, which is that of no message, and all its fields
//  are empty or 0. The caller owns it, and destroys it with
//  `dafka_proto_destroy`. NULL only after an internal error, which is logged.
DAFKA_EXPORT dafka_proto_t *
    dafka_proto_new (void);

//  A new message out of its ZPL form, as `dafka_proto_zpl` makes it; the
//  configuration remains the caller's. The caller owns the message. NULL when
//  the configuration is NULL or holds no message.
DAFKA_EXPORT dafka_proto_t *
    dafka_proto_new_zpl (zconfig_t *config);

//  Destroys a message with all that it holds and sets `*self_p` to NULL.
//  Accepts NULL and a pointer to NULL.
DAFKA_EXPORT void
    dafka_proto_destroy (dafka_proto_t **self_p);

//  A deep copy, which the caller owns and destroys with `dafka_proto_destroy`.
//  NULL when `self` is NULL or there is no memory for it.
DAFKA_EXPORT dafka_proto_t *
    dafka_proto_dup (dafka_proto_t *self);

//  Waits for a message and reads it; the fields that it does not have are empty
//  then, or 0. On a ROUTER it reads the routing id first. On an XPUB it reads a
//  subscription in place of a message, or the end of one
//  (`dafka_proto_is_subscribe`): it sets id and topic and leaves the other
//  fields alone.
//
//  Returns 0; -1 when a signal interrupted it (SIGINT and SIGTERM under CZMQ's
//  handling), the time limit of the socket (`zsock_set_rcvtimeo`) has passed,
//  the socket cannot receive or an argument is NULL; -2 when what came is no
//  message of this protocol: all its frames are dropped, one line is logged,
//  and the fields, but for the routing id, are as before.
DAFKA_EXPORT int
    dafka_proto_recv (dafka_proto_t *self, zsock_t *input);

//  Sends the message, on a ROUTER after its routing id. It keeps what it has,
//  and can be sent again. Waits while the socket is full.
//
//  Returns 0, or -1 when the id is that of no message, the socket cannot send,
//  a ROUTER's message has no routing id or an argument is NULL.
DAFKA_EXPORT int
    dafka_proto_send (dafka_proto_t *self, zsock_t *output);

//  The first frame of the message, as it is sent; RECORD and DIRECT_RECORD have
//  their content as a second one. The caller owns the frame. NULL when `self`
//  is NULL or its id is that of no message.
DAFKA_EXPORT zframe_t *
    dafka_proto_encode (dafka_proto_t *self);

//  Prints the message to the log, a line for each field (`zsys_debug`).
DAFKA_EXPORT void
    dafka_proto_print (dafka_proto_t *self);

//  The message in ZPL form (ZeroMQ RFC 4): a node `dafka_proto`, a child of
//  `parent`, which owns it then, or the root of a new configuration when
//  `parent` is NULL, which the caller owns then. It holds `message` (the name
//  of the constant), `routing_id` in hexadecimal digits if there is one,
//  `topic`, and a node `content` with `version` and the fields of the message
//  by their names: `content` in hexadecimal digits, `subjects` as children.
//  NULL when `self` is NULL or its id is that of no message.
DAFKA_EXPORT zconfig_t *
    dafka_proto_zpl (dafka_proto_t *self, zconfig_t *parent);

//  The routing id of the peer that the message came from, when that was a
//  ROUTER, or goes to. The frame is borrowed, and valid until the message
//  changes. NULL when there is none or `self` is NULL.
DAFKA_EXPORT zframe_t *
    dafka_proto_routing_id (dafka_proto_t *self);

//  Sets the routing id to a copy of a frame, which remains the caller's; NULL
//  for none.
DAFKA_EXPORT void
    dafka_proto_set_routing_id (dafka_proto_t *self, zframe_t *routing_id);

//  The id of the message: one of the DAFKA_PROTO constants, or 0 in a new
//  message.
DAFKA_EXPORT char
    dafka_proto_id (dafka_proto_t *self);

//  Sets the id of the message, which decides which of the fields are sent.
DAFKA_EXPORT void
    dafka_proto_set_id (dafka_proto_t *self, char id);

//  The name of the message, a constant string: "RECORD", "DIRECT_RECORD",
//  "FETCH", "ACK", "HEAD", "DIRECT_HEAD", "GET_HEADS", "CONSUMER_HELLO",
//  "STORE_HELLO", or "?" when its id is that of no message; never NULL.
DAFKA_EXPORT const char *
    dafka_proto_command (dafka_proto_t *self);

//  The ZeroMQ topic, by which the message finds who subscribed to it: the
//  topic's name in RECORD, HEAD and GET_HEADS, the partition in FETCH and ACK,
//  the address of the receiver in the others. The string is borrowed, and valid
//  until the field changes. NULL only when `self` is.
DAFKA_EXPORT const char *
    dafka_proto_topic (dafka_proto_t *self);

//  Sets the ZeroMQ topic to a copy of a string, of which at most 255 octets are
//  kept.
DAFKA_EXPORT void
    dafka_proto_set_topic (dafka_proto_t *self, const char *topic);

//  The address: the partition in RECORD, DIRECT_RECORD, HEAD and DIRECT_HEAD,
//  the sender in the others. The string is borrowed, and valid until the field
//  changes. NULL only when `self` is.
DAFKA_EXPORT const char *
    dafka_proto_address (dafka_proto_t *self);

//  Sets the address to a copy of a string, of which at most 255 octets are
//  kept.
DAFKA_EXPORT void
    dafka_proto_set_address (dafka_proto_t *self, const char *address);

//  The subject, which is the topic's name. The string is borrowed, and valid
//  until the field changes. NULL only when `self` is.
DAFKA_EXPORT const char *
    dafka_proto_subject (dafka_proto_t *self);

//  Sets the subject to a copy of a string, of which at most 255 octets are
//  kept.
DAFKA_EXPORT void
    dafka_proto_set_subject (dafka_proto_t *self, const char *subject);

//  The sequence: the number of a record in its partition, 0 for the first one.
//  In HEAD and DIRECT_HEAD that of the last record there is, in ACK of the last
//  one that the store has, in FETCH of the first one that is asked for.
DAFKA_EXPORT uint64_t
    dafka_proto_sequence (dafka_proto_t *self);

//  Sets the sequence.
DAFKA_EXPORT void
    dafka_proto_set_sequence (dafka_proto_t *self, uint64_t sequence);

//  The count of a FETCH: how many records it asks for.
DAFKA_EXPORT uint32_t
    dafka_proto_count (dafka_proto_t *self);

//  Sets the count.
DAFKA_EXPORT void
    dafka_proto_set_count (dafka_proto_t *self, uint32_t count);

//  The content of a RECORD or DIRECT_RECORD. It is borrowed, to be read
//  (`zmq_msg_data`, `zmq_msg_size`) and not to be closed, and valid until the
//  message changes. NULL only when `self` is.
DAFKA_EXPORT zmq_msg_t *
    dafka_proto_content (dafka_proto_t *self);

//  Moves the content to `content`, a message that the caller has initialized
//  (`zmq_msg_init`) and owns; what that held is released. The content of `self`
//  is empty then.
DAFKA_EXPORT void
    dafka_proto_get_content (dafka_proto_t *self, zmq_msg_t *content);

//  Moves the content in from `content`, which is empty then and remains the
//  caller's to close (`zmq_msg_close`).
DAFKA_EXPORT void
    dafka_proto_set_content (dafka_proto_t *self, zmq_msg_t *content);

//  The topics of a CONSUMER_HELLO, a list of strings. It is borrowed, and valid
//  until the message changes. NULL when there is no list or `self` is NULL.
DAFKA_EXPORT zlist_t *
    dafka_proto_subjects (dafka_proto_t *self);

//  Moves the list of topics out: the caller owns it, and destroys it with
//  `zlist_destroy`; the message has none then. NULL when there is no list or
//  `self` is NULL.
DAFKA_EXPORT zlist_t *
    dafka_proto_get_subjects (dafka_proto_t *self);

//  Moves a list of strings in and sets `*subjects_p` to NULL; the list that was
//  there is destroyed. A pointer to NULL leaves the message without a list.
DAFKA_EXPORT void
    dafka_proto_set_subjects (dafka_proto_t *self, zlist_t **subjects_p);

//  Subscribes a SUB socket to the messages with this id whose ZeroMQ topic
//  begins with `topic` (ZMQ_SUBSCRIBE; RFC 46/DAFKA, "ZeroMQ Subscriptions").
DAFKA_EXPORT void
    dafka_proto_subscribe (zsock_t *sub, char id, const char *topic);

//  Ends what `dafka_proto_subscribe` began (ZMQ_UNSUBSCRIBE).
DAFKA_EXPORT void
    dafka_proto_unsubscribe (zsock_t *sub, char id, const char *topic);

//  True when the last subscription that was read off an XPUB began; false when
//  it ended.
DAFKA_EXPORT bool
    dafka_proto_is_subscribe (dafka_proto_t *self);

//  The self test of this class, as `dafka_selftest` runs it: uses the functions
//  of the class and prints " * dafka_proto: OK"; a check that fails aborts the
//  process. With `verbose`, the nodes that it runs log what they do.
DAFKA_EXPORT void
    dafka_proto_test (bool verbose);

#ifdef __cplusplus
}
#endif

#endif  /* DAFKA_H_INCLUDED */
