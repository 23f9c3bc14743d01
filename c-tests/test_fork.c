/*  =========================================================================
    test_fork - a child that was forked while its parent has nodes: every function returns, and says no where it needs the
    parent's threads; the child can have nodes of its own; the parent notices nothing
    =========================================================================
*/

//  fork, alarm
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <pthread.h>
#include <sys/wait.h>

static zactor_t *s_producer, *s_publisher, *s_subscriber, *s_beacon;
static dafka_consumer_t *s_consumer;
static zsock_t *s_pub, *s_sub;

//  A child has this long: it does next to nothing.
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
        //  Not exit: a leak check would miss what only the parent's threads know of.
        execl ("/bin/true", "true", (char *) NULL);
        _exit (99);
    }
    int status = -1;
    CHECK (waitpid (pid, &status, 0) == pid);
    CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

//  In the child. CHECK's message goes to standard error, its exit code is 1.

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
    dafka_producer_msg_destroy (&msg);
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

//  The child is a process like any other.

static void
s_use_own_nodes (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_consumer_t *consumer = test_consumer_new ("own", config);
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
    CHECK (dafka_producer_address (s_producer) == NULL);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    dafka_consumer_destroy (&s_consumer);
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
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    s_producer = test_producer_new ("fork", config);
    s_publisher = test_publisher_new ("busy", config);
    s_consumer = test_consumer_new ("fork", config);
    s_subscriber = zactor_new (dafka_subscriber_actor, config);
    dafka_beacon_args_t beacon_args = { "Beacon", config };
    s_beacon = zactor_new (dafka_beacon_actor, &beacon_args);
    s_pub = zsock_new_xpub ("inproc://fork");
    s_sub = zsock_new_sub ("inproc://fork", "");
    test_send (s_producer, "before");
    test_recv (s_consumer, "fork", NULL, "before");

    //  Not by valgrind, which has no other threads run meanwhile.
    bool stop = false;
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, s_send_on, &stop) == 0);
    for (size_t round = 0; round < test_scale (20, 1); round++) {
        test_at (round);
        test_case ("functions that are called with the parent's objects");
        s_in_child (s_use_objects);
        test_case ("nodes of the child's own");
        s_in_child (s_use_own_nodes);
    }
    stop = true;
    CHECK (pthread_join (thread, NULL) == 0);
    test_case ("the end of the parent's objects in the child");
    s_in_child (s_destroy_objects);

    test_case ("the parent goes on");
    for (int number = 0; number < 1000; number++) {
        char content [32];
        snprintf (content, sizeof content, "%d", number);
        test_send (s_producer, "%s", content);
        test_recv (s_consumer, "fork", dafka_producer_address (s_producer), content);
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
