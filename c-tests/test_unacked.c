/*  =========================================================================
    test_unacked - producer/max_unacked_bytes: sending waits for stores, ending does not
    =========================================================================
*/

#include "testing.h"

//  What a record occupies besides its content, by the documentation of the key
#define OVERHEAD 128
#define CONTENT_SIZE 100
#define LIMIT_RECORDS 10

static zconfig_t *
s_config (const char *terminate_unacked)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_putf (config, "producer/max_unacked_bytes", "%d", LIMIT_RECORDS * (CONTENT_SIZE + OVERHEAD));
    zconfig_put (config, "producer/terminate_unacked", terminate_unacked);
    return config;
}

static int
s_send (zactor_t *producer)
{
    byte content [CONTENT_SIZE] = { 0 };
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_set_content_buffer (msg, content, sizeof content) == 0);
    int rc = dafka_producer_msg_send (msg, producer);
    dafka_producer_msg_destroy (&msg);
    return rc;
}

static void
s_test_full_producer_ends (void)
{
    test_case ("a producer whose memory is used up ends at once when it may");
    zconfig_t *config = s_config ("1");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_producer_args_t args = { "unacked", config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    for (int i = 0; i < LIMIT_RECORDS; i++)
        CHECK (s_send (producer) == 0);
    zactor_destroy (&producer);

    //  Somebody who writes into the pipe himself does not wait, and can end the producer all the same
    producer = zactor_new (dafka_producer, &args);
    for (int i = 0; i < 5 * LIMIT_RECORDS; i++) {
        byte content [CONTENT_SIZE] = { 0 };
        zstr_sendm (producer, "P");
        zframe_t *frame = zframe_new (content, sizeof content);
        CHECK (zframe_send (&frame, producer, 0) == 0);
    }
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

//  Sends more than fits, and says so when it is through
static void
s_sender (zsock_t *pipe, void *producer)
{
    zsock_signal (pipe, 0);
    for (int i = 0; i < 3 * LIMIT_RECORDS; i++)
        CHECK (s_send ((zactor_t *) producer) == 0);
    zstr_send (pipe, "SENT");
    char *term = zstr_recv (pipe);
    zstr_free (&term);
}

static void
s_test_sending_waits (void)
{
    test_case ("sending waits until a store has acknowledged");
    zconfig_t *config = s_config ("0");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_producer_args_t args = { "unacked", config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    zactor_t *sender = zactor_new (s_sender, producer);
    zpoller_t *poller = zpoller_new (sender, NULL);
    //  An absence can only be waited for
    CHECK (zpoller_wait (poller, 500) == NULL);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (zpoller_wait (poller, 60000) == sender);
    char *word = zstr_recv (sender);
    CHECK (streq (word, "SENT"));
    zstr_free (&word);
    zpoller_destroy (&poller);
    zactor_destroy (&sender);
    zactor_destroy (&producer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (void)
{
    test_begin ("test_unacked", 120);
    s_test_full_producer_ends ();
    s_test_sending_waits ();
    return test_end ();
}
