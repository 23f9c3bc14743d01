/*  =========================================================================
    test_interrupt - SIGINT under CZMQ's signal handling ends a waiting dafka_consumer_msg_recv with -1, and all can be
    destroyed after it
    =========================================================================
*/

#include "testing.h"

//  Sends SIGINT again and again, as the first may come before the program waits, until it is told to be quiet. Then it
//  signals, and ends with zactor_destroy.

static void
s_interrupter (zsock_t *pipe, void *args)
{
    (void) args;
    zpoller_t *poller = zpoller_new (pipe, NULL);
    CHECK (poller);
    zpoller_set_nonstop (poller, true);     //  Interrupts are not for this thread
    zsock_signal (pipe, 0);
    while (zpoller_wait (poller, 50) != pipe)
        CHECK (kill (getpid (), SIGINT) == 0);
    char *word = zstr_recv (pipe);
    CHECK_STR (word, "QUIET");
    zstr_free (&word);
    zsock_signal (pipe, 0);
    while (zpoller_wait (poller, -1) != pipe)
        ;
    zpoller_destroy (&poller);
}

int
main (void)
{
    test_begin ("test_interrupt", 60);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    test_case ("starting tower, producer and consumer");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    CHECK (tower);
    zactor_t *producer = test_producer_new ("interrupt", config);
    dafka_consumer_t *consumer = test_consumer_new ("interrupt", config);
    test_send (producer, "before");
    test_recv (consumer, "interrupt", dafka_producer_address (producer), "before");

    test_case ("recv is interrupted");
    zactor_t *interrupter = zactor_new (s_interrupter, NULL);
    CHECK (interrupter);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (msg, consumer) == -1);
    CHECK (zsys_interrupted);
    dafka_consumer_msg_destroy (&msg);

    test_case ("the interrupter is told to be quiet");
    CHECK (zstr_send (interrupter, "QUIET") == 0);
    while (zsock_wait (interrupter) == -1)
        ;
    zactor_destroy (&interrupter);

    test_case ("ending after an interrupt");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
