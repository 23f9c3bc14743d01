/*  =========================================================================
    test_zsys - the zsys_set_... functions apply to our actors: I/O threads, log stream, ident and sender, IPv6, depth
    of pipes, linger
    =========================================================================
*/

#include "testing.h"
#include <dirent.h>

//  Number of threads of this process whose name begins like this

static size_t
s_threads (const char *name)
{
    size_t count = 0;
    DIR *dir = opendir ("/proc/self/task");
    CHECK (dir);
    struct dirent *entry;
    while ((entry = readdir (dir))) {
        char *path = zsys_sprintf ("/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen (path, "r");
        char comm [64] = "";
        if (file && fgets (comm, sizeof (comm), file) && strncmp (comm, name, strlen (name)) == 0)
            count++;
        if (file)
            fclose (file);
        zstr_free (&path);
    }
    closedir (dir);
    return count;
}

//  Threads set their names a moment after they have started.

static void
s_check_threads (size_t io_threads, size_t contexts)
{
    while (s_threads ("ZMQbg/IO/") < io_threads || s_threads ("ZMQbg/Reaper") < contexts)
        zclock_sleep (1);
    CHECK (s_threads ("ZMQbg/IO/") == io_threads);
    CHECK (s_threads ("ZMQbg/Reaper") == contexts);
}

//  Sends a record through a network with this configuration.

static void
s_check_network (zconfig_t *config)
{
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("zsys", config);
    zactor_t *producer = test_producer_new ("zsys", config);
    test_send (producer, "hello");
    test_recv (consumer, "zsys", dafka_producer_address (producer), "hello");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);             //  The store has it
    zactor_destroy (&store);
    zactor_destroy (&tower);
}

static zconfig_t *
s_config (const char *transport)
{
    zconfig_t *config = test_config (transport);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    return config;
}


//  --------------------------------------------------------------------------

//  All sockets are in CZMQ's context: it is the only one, and has the requested number of threads.

static void
s_test_io_threads (void)
{
    test_case ("zsys_set_io_threads");
    zsys_set_io_threads (3);
    zconfig_t *config = s_config ("tcp");
    zactor_t *tower = test_tower_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("zsys", config);
    CHECK (tower);
    s_check_threads (3, 1);

    test_case ("another context is detected");
    void *context = zmq_ctx_new ();
    void *socket = zmq_socket (context, ZMQ_PAIR);
    s_check_threads (4, 2);
    zmq_close (socket);
    zmq_ctx_term (context);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------

//  A tower that cannot bind logs that in its own thread, before zactor_new returns.

static void
s_log_a_line (const char *address)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "tower/sub_address", address);
    zactor_t *tower = test_tower_new (config);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

static void
s_test_log (void)
{
    test_case ("zsys_set_logstream and zsys_set_logident");
    test_log_begin ();
    zsys_set_logident ("first ident");
    s_log_a_line ("tcp://240.0.0.1:*");
    CHECK (test_log_has ("E: (first ident)", "tcp://240.0.0.1:*", NULL));
    zsys_set_logident ("second ident");
    s_log_a_line ("tcp://240.0.0.2:*");
    CHECK (test_log_has ("E: (second ident)", "tcp://240.0.0.2:*", NULL));
    CHECK (!test_log_has ("E: (first ident)", "tcp://240.0.0.2:*", NULL));

    test_case ("every level");
    zconfig_t *config = s_config ("inproc");
    zconfig_put (config, "tower/verbose", "1");
    zconfig_put (config, "beacon/connect_timeout", "1");
    dafka_consumer_t *consumer = test_consumer_new (NULL, config);      //  Without a tower
    dafka_consumer_destroy (&consumer);
    zactor_t *tower = test_tower_new (config);
    zactor_destroy (&tower);
    CHECK (test_log_has ("W: (second ident)", "tower", NULL));
    CHECK (test_log_has ("D: (second ident)", "Tower", NULL));

    test_case ("a long line, and one that looks like a format");
    char *longest = (char *) zmalloc (5001);
    memset (longest, 'l', 5000);
    memcpy (longest, "%s%n%d ", 7);
    zconfig_put (config, "beacon/interval", longest);
    consumer = test_consumer_new (NULL, config);
    dafka_consumer_destroy (&consumer);
    CHECK (test_log_has ("E: (second ident)", "beacon/interval = %s%n%d lllll", NULL));
    freen (longest);
    zconfig_destroy (&config);

    test_log_end ();

    test_case ("without a stream");
    test_log_begin ();
    zsys_set_logstream (NULL);
    s_log_a_line ("tcp://240.0.0.4:*");
    CHECK (!test_log_has (NULL, "tcp://240.0.0.4:*", NULL));
    test_log_end ();
    zsys_set_logident ("test_zsys");
}

static void
s_test_log_sender (void)
{
    test_case ("zsys_set_logsender: subscribing");
    zsys_set_logsender ("inproc://log-sender");
    zsock_t *sub = zsock_new_sub (">inproc://log-sender", "");
    CHECK (sub);
    do
        zsys_info ("is anybody there?");
    while (!test_poll (sub, 20));

    test_case ("zsys_set_logsender: a line of an actor");
    s_log_a_line ("tcp://240.0.0.5:*");
    char *line;
    do {
        line = zstr_recv (sub);
        CHECK (line);
        if (strstr (line, "is anybody there?"))
            zstr_free (&line);
    }
    while (!line);
    CHECK (strncmp (line, "E: (test_zsys) ", 15) == 0);
    CHECK (strstr (line, "tcp://240.0.0.5:*"));
    zstr_free (&line);
    zsock_destroy (&sub);
    zsys_set_logsender (NULL);
    s_log_a_line ("tcp://240.0.0.6:*");
}


//  --------------------------------------------------------------------------

static bool
s_have_ipv6 (void)
{
    int handle = socket (AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 address;
    memset (&address, 0, sizeof (address));
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    bool have = handle >= 0 && bind (handle, (struct sockaddr *) &address, sizeof (address)) == 0;
    if (handle >= 0)
        close (handle);
    return have;
}

//  A network whose tower is on the IPv6 loopback interface

static zconfig_t *
s_ipv6_config (void)
{
    static const char *keys [] = { "sub_address", "pub_address" };
    zconfig_t *config = s_config ("tcp");
    for (int index = 0; index < 2; index++) {
        char *address = zsys_sprintf ("tcp://[::1]:%d", test_free_port ());
        char *path = zsys_sprintf ("tower/%s", keys [index]);
        zconfig_put (config, path, address);
        zstr_free (&path);
        path = zsys_sprintf ("beacon/%s", keys [index]);
        zconfig_put (config, path, address);
        zstr_free (&path);
        zstr_free (&address);
    }
    return config;
}

static void
s_test_ipv6 (void)
{
    test_case ("zsys_set_ipv6");
    if (!s_have_ipv6 ()) {
        fprintf (stderr, "test_zsys: this machine has no IPv6 loopback interface, zsys_set_ipv6 is not tested\n");
        return;
    }
    test_case ("zsys_set_ipv6 (0): a tower cannot have an IPv6 address");
    zconfig_t *config = s_ipv6_config ();
    test_log_begin ();
    zactor_t *tower = test_tower_new (config);
    zactor_destroy (&tower);
    CHECK (test_log_has ("E:", "[::1]", NULL));
    test_log_end ();
    zconfig_destroy (&config);

    test_case ("zsys_set_ipv6 (1) counts for later nodes, also if earlier ones have the same tower");
    config = s_ipv6_config ();
    zconfig_put (config, "beacon/connect_timeout", "10");
    dafka_consumer_t *earlier = test_consumer_new (NULL, config);
    zconfig_put (config, "beacon/connect_timeout", "10000");
    zsys_set_ipv6 (1);
    s_check_network (config);
    zsys_set_ipv6 (0);
    dafka_consumer_destroy (&earlier);
    zconfig_destroy (&config);

    //  Peers at an IPv4 address, at an IPv6 address (with and without brackets), and at the address that the tower sees
    static const char *hosts [] = { "127.0.0.1", "::1", "[::1]", "" };
    zsys_set_ipv6 (1);
    for (size_t index = 0; index < sizeof (hosts) / sizeof (hosts [0]); index++) {
        test_case ("zsys_set_ipv6 (1), beacon/address = %s", hosts [index]);
        config = s_ipv6_config ();
        zconfig_put (config, "beacon/address", hosts [index]);
        test_log_begin ();
        s_check_network (config);
        //  A warning about a slow tower or connection only means that the machine is busy
        CHECK (!test_log_has ("E:", "", NULL) && !test_log_has ("W:", "cannot", NULL));
        CHECK (!test_log_has ("W:", "CONNECT tcp", NULL));
        test_log_end ();
        zconfig_destroy (&config);
    }
    zsys_set_ipv6 (0);
}


//  --------------------------------------------------------------------------

static void
s_test_pipe_high_watermark (void)
{
    static const int depths [] = { 7, 0, 1000 };
    for (size_t index = 0; index < sizeof (depths) / sizeof (depths [0]); index++) {
        test_case ("zsys_set_pipehwm (%d)", depths [index]);
        zsys_set_pipehwm ((size_t) depths [index]);
        zconfig_t *config = s_config ("inproc");
        zactor_t *tower = test_tower_new (config);
        dafka_consumer_t *consumer = test_consumer_new ("zsys", config);
        CHECK (zsock_sndhwm (dafka_consumer_record_source (consumer)) == depths [index]);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (&tower);
        s_check_network (config);
        zconfig_destroy (&config);
    }
}


//  --------------------------------------------------------------------------

//  Returns how many records a peer receives. The peer begins to read after the producer has ended, and with `closed`
//  after the producer's sockets have closed too.

#define LINGER_COUNT 3000
#define LINGER_SIZE 10000

static size_t
s_late_reader (zconfig_t *config, bool closed)
{
    zactor_t *tower = test_tower_new (config);

    //  A simple node: a beacon, and a SUB that holds few unread messages.
    dafka_beacon_args_t args = { "Peer", config };
    zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
    CHECK (beacon);
    CHECK (zsock_send (beacon, "ssi", "START", "0123456789ABCDEF0123456789ABCDEF", 12345) == 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_linger (sub, 0);              //  It may still have a subscription to send to a closed producer
    zsock_set_rcvhwm (sub, 1);
    zsock_set_rcvtimeo (sub, 50);
    dafka_proto_subscribe (sub, DAFKA_PROTO_RECORD, "linger");
    size_t files = test_count_entries ("/proc/self/fd");
    zactor_t *producer = test_producer_new ("linger", config);
    dafka_beacon_recv (beacon, sub, false, "Peer");
    dafka_proto_t *proto = dafka_proto_new ();
    uint64_t sequence = 0;
    do {
        test_send (producer, "is anybody there?");
        sequence++;
    }
    while (dafka_proto_recv (proto, sub) != 0);

    //  Much more than fits between the two sockets
    byte *content = (byte *) zmalloc (LINGER_SIZE);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int number = 0; number < LINGER_COUNT; number++) {
        CHECK (dafka_producer_msg_set_content_buffer (msg, content, LINGER_SIZE) == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);
    freen (content);
    zactor_destroy (&producer);
    //  Two files may belong to the peer: an unread connection, and an attempt to reconnect.
    while (closed && test_count_entries ("/proc/self/fd") > files + 2)
        zclock_sleep (1);

    //  Only records at the end are lost. So read until the last one, or until none has arrived for a second.
    size_t received = 0;
    zsock_set_rcvtimeo (sub, closed? 1000: -1);
    while (received < LINGER_COUNT && dafka_proto_recv (proto, sub) == 0)
        if (zmq_msg_size (dafka_proto_content (proto)) == LINGER_SIZE) {
            CHECK (dafka_proto_sequence (proto) == sequence + received);
            received++;
        }
    dafka_proto_destroy (&proto);
    zsock_destroy (&sub);
    zactor_destroy (&beacon);
    zactor_destroy (&tower);
    return received;
}

static void
s_test_linger (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "producer/terminate_unacked", "1");
    test_case ("zsys_set_linger (1): unread records are dropped");
    zsys_set_linger (1);
    CHECK (s_late_reader (config, true) < LINGER_COUNT);
    test_case ("zsys_set_linger (1000000): a peer can read all");
    zsys_set_linger (1000000);
    CHECK (s_late_reader (config, false) == LINGER_COUNT);
    zsys_set_linger (0);
    zconfig_destroy (&config);
}

int
main (void)
{
    test_begin ("test_zsys", 120);
    s_test_io_threads ();
    s_test_log ();
    s_test_log_sender ();
    s_test_ipv6 ();
    s_test_pipe_high_watermark ();
    s_test_linger ();
    return test_end ();
}
