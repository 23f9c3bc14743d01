/*  =========================================================================
    test_fork - a child that was forked while its parent has nodes: every function returns, and returns an error if it
    needs the parent's threads; the child can start its own nodes; the parent is not affected
    =========================================================================
*/

//  fork, alarm
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

static zactor_t *s_producer, *s_publisher, *s_subscriber, *s_beacon;
static dafka_consumer_t *s_consumer;
static zsock_t *s_pub, *s_sub;

//  The time limit of a child. A child does very little.
#define CHILD_S 60

//  Runs a function in a child, which must end by itself

static void
s_in_child (void (*function) (void))
{
    fflush (NULL);
    pid_t pid = fork ();
    CHECK (pid >= 0);
    if (pid == 0) {
        alarm (CHILD_S);
        function ();
        //  Not exit: a leak check would report memory that only the parent's threads refer to.
        execl ("/bin/true", "true", (char *) NULL);
        _exit (99);
    }
    int status = -1;
    CHECK (waitpid (pid, &status, 0) == pid);
    CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

//  Runs in the child. CHECK prints to standard error, and its exit code is 1.

static void
s_use_objects (void)
{
    int64_t start_ms = zclock_mono ();
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_set_content_str (msg, "child") == 0);
    CHECK (dafka_producer_msg_send (msg, s_producer) == -1);
    zframe_t *frame = zframe_from ("child");
    dafka_producer_msg_set_content (msg, &frame);
    CHECK (dafka_producer_msg_send (msg, s_producer) == -1);
    CHECK (dafka_producer_msg_try_send (msg, s_producer) == -1);
    dafka_producer_msg_destroy (&msg);
    uint64_t sequence;
    CHECK (dafka_producer_flush (s_producer, -1) == -1);
    CHECK (dafka_producer_unacked (s_producer) == -1);
    CHECK (dafka_producer_acked (s_producer, &sequence) == -1);
    CHECK (dafka_producer_address (s_producer) == NULL);

    frame = zframe_from ("child");
    CHECK (dafka_publisher_publish (s_publisher, &frame) == -1);
    CHECK (frame == NULL);
    CHECK (dafka_publisher_address (s_publisher) == NULL);
    CHECK (dafka_subscriber_subscribe (s_subscriber, "child") == -1);
    dafka_beacon_recv (s_beacon, s_sub, true, "Child");

    CHECK (dafka_consumer_subscribe (s_consumer, "child") == -1);
    CHECK (dafka_consumer_unsubscribe (s_consumer, "fork") == -1);
    CHECK (strlen (dafka_consumer_address (s_consumer)) == 32);
    CHECK (zlist_size (dafka_consumer_subscription (s_consumer)) == 1);
    dafka_consumer_msg_t *received = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (received, s_consumer) == -1);
    CHECK (dafka_consumer_msg_recv_from_socket (received, dafka_consumer_record_source (s_consumer)) == -1);
    dafka_consumer_msg_destroy (&received);

    dafka_proto_t *proto = dafka_proto_new ();
    dafka_proto_set_id (proto, DAFKA_PROTO_HEAD);
    dafka_proto_set_topic (proto, "child");
    CHECK (dafka_proto_send (proto, s_pub) == -1);
    CHECK (dafka_proto_recv (proto, s_sub) == -1);
    dafka_proto_subscribe (s_sub, DAFKA_PROTO_HEAD, "child");
    dafka_proto_unsubscribe (s_sub, DAFKA_PROTO_HEAD, "child");
    dafka_proto_destroy (&proto);

    dafka_consumer_args_t args = { NULL, s_pub };
    CHECK (dafka_consumer_new (&args) == NULL);
    CHECK (zclock_mono () - start_ms < 10000);
}

static void
s_destroy_objects (void)
{
    dafka_consumer_destroy (&s_consumer);
    CHECK (s_consumer == NULL);
    zactor_destroy (&s_producer);
    zactor_destroy (&s_publisher);
    zactor_destroy (&s_subscriber);
    zactor_destroy (&s_beacon);
}

//  The child starts its own nodes.

//  Threads that send to one producer, and the number of records of each
#define SENDERS 4
#define SHARED 300

static void *
s_send_shared (void *producer)
{
    for (int number = 0; number < SHARED; number++)
        test_send ((zactor_t *) producer, "%d", number);
    return NULL;
}

static void
s_use_own_nodes (void)
{
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("own", config);
    zsys_set_pipehwm (1);               //  So that the senders use the pipe often
    zactor_t *producer = test_producer_new ("own", config);
    const char *address = dafka_producer_address (producer);
    CHECK (address);
    for (int number = 0; number < 100; number++)
        test_send (producer, "%d", number);
    for (int number = 0; number < 100; number++) {
        char *content = test_recv_text (consumer);
        CHECK (atoi (content) == number);
        zstr_free (&content);
    }
    pthread_t senders [SENDERS];
    for (int index = 0; index < SENDERS; index++)
        CHECK (pthread_create (&senders [index], NULL, s_send_shared, producer) == 0);
    for (int index = 0; index < SENDERS; index++)
        CHECK (pthread_join (senders [index], NULL) == 0);
    for (int number = 0; number < SENDERS * SHARED; number++) {
        char *content = test_recv_text (consumer);
        zstr_free (&content);
    }
    CHECK (dafka_producer_address (s_producer) == NULL);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    dafka_consumer_destroy (&s_consumer);
}

//  The TCP port of a node, as a tower announces it: frames "B", name, endpoint

static int
s_port (zsock_t *towers, const char *address)
{
    while (true) {
        zmsg_t *beacon = zmsg_recv (towers);
        CHECK (beacon);
        zmsg_first (beacon);
        char *name = zframe_strdup (zmsg_next (beacon)), *endpoint = zframe_strdup (zmsg_next (beacon));
        int port = streq (name, address) ? atoi (strrchr (endpoint, ':') + 1) : 0;
        zstr_free (&name);
        zstr_free (&endpoint);
        zmsg_destroy (&beacon);
        if (port)
            return port;
    }
}

#define IDLE_CONNECTIONS 60
#define MAX_CONNECTIONS 20

//  Connections beyond the limit of the child's own producer are ended.

static void
s_flood_own_node (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "producer/terminate_unacked", "1");
    char *limit = zsys_sprintf ("%d", MAX_CONNECTIONS);
    zconfig_put (config, "beacon/max_connections_per_host", limit);
    zstr_free (&limit);
    zactor_t *tower = test_tower_new (config);
    zsock_t *towers = zsock_new_sub (zconfig_get (config, "beacon/pub_address", NULL), "B");
    CHECK (towers);
    zactor_t *producer = test_producer_new ("flooded", config);
    struct sockaddr_in address = { .sin_family = AF_INET };
    address.sin_port = htons ((uint16_t) s_port (towers, dafka_producer_address (producer)));
    address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
    int connections [IDLE_CONNECTIONS], ended = 0;
    for (int number = 0; number < IDLE_CONNECTIONS; number++) {
        connections [number] = socket (AF_INET, SOCK_STREAM, 0);
        CHECK (connections [number] >= 0);
        CHECK (connect (connections [number], (struct sockaddr *) &address, sizeof address) == 0);
    }
    while (ended < IDLE_CONNECTIONS - MAX_CONNECTIONS) {
        for (int number = 0; number < IDLE_CONNECTIONS; number++) {
            char greeting [64];
            if (connections [number] >= 0 && recv (connections [number], greeting, sizeof greeting, MSG_DONTWAIT) == 0) {
                close (connections [number]);
                connections [number] = -1;
                ended++;
            }
        }
        zclock_sleep (10);
    }
    zactor_destroy (&producer);
    zsock_destroy (&towers);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

//  The sockets of this process: "socket:[NUMBER]"

static zlist_t *
s_sockets (void)
{
    zlist_t *sockets = zlist_new ();
    zlist_autofree (sockets);
    zlist_comparefn (sockets, (zlist_compare_fn *) strcmp);
    DIR *directory = opendir ("/proc/self/fd");
    CHECK (directory);
    for (struct dirent *entry = readdir (directory); entry; entry = readdir (directory)) {
        char path [300], target [64] = "";
        snprintf (path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        if (readlink (path, target, sizeof target - 1) > 0 && strncmp (target, "socket:", 7) == 0)
            zlist_append (sockets, target);
    }
    closedir (directory);
    return sockets;
}

static void *
s_send_on (void *stop)
{
    for (int number = 0; !*(volatile bool *) stop; number++)
        test_publish (s_publisher, "%d", number);
    return NULL;
}

int
main (void)
{
    test_begin ("test_fork", 120);
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);
    s_producer = test_producer_new ("fork", config);
    s_publisher = test_publisher_new ("busy", config);
    s_consumer = test_consumer_new ("fork", config);
    s_subscriber = test_subscriber_new (config);
    dafka_beacon_args_t beacon_args = { "Beacon", config };
    s_beacon = zactor_new (dafka_beacon_actor, &beacon_args);
    s_pub = zsock_new_xpub ("inproc://fork");
    s_sub = zsock_new_sub ("inproc://fork", "");
    test_send (s_producer, "before");
    test_recv (s_consumer, "fork", NULL, "before");

    //  Not under valgrind, which runs no other threads meanwhile.
    bool stop = false;
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, s_send_on, &stop) == 0);
    for (size_t round = 0; round < test_scale (20, 1); round++) {
        test_at (round);
        test_case ("calls with the parent's objects in the child");
        s_in_child (s_use_objects);
        test_case ("nodes of the child");
        s_in_child (s_use_own_nodes);
    }
    test_case ("connections to a node of the child");
    zlist_t *before = s_sockets ();
    s_in_child (s_flood_own_node);
    zlist_t *after = s_sockets ();
    for (char *name = (char *) zlist_first (before); name; name = (char *) zlist_next (before))
        CHECK (zlist_exists (after, name));
    zlist_destroy (&before);
    zlist_destroy (&after);
    stop = true;
    CHECK (pthread_join (thread, NULL) == 0);
    test_case ("destroying the parent's objects in the child");
    s_in_child (s_destroy_objects);

    test_case ("the parent continues");
    for (int number = 0; number < 1000; number++) {
        test_send (s_producer, "%d", number);
        test_recv (s_consumer, "fork", dafka_producer_address (s_producer), "%d", number);
    }
    dafka_consumer_destroy (&s_consumer);
    zactor_destroy (&s_producer);
    zactor_destroy (&s_publisher);
    zactor_destroy (&s_subscriber);
    zactor_destroy (&s_beacon);
    zsock_destroy (&s_pub);
    zsock_destroy (&s_sub);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    test_await_actors ();
    return test_end ();
}
