/*  =========================================================================
    test_replay_from_producer - a consumer that comes when all is published gets every record, of every length, from
    the producer that still keeps them: there is no store
    =========================================================================
*/

#include "testing.h"

int
main (void)
{
    test_begin ("test_replay_from_producer", 120);
    const size_t count = test_scale (5000, 300);        //  More than 256 in any case

    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    test_case ("starting tower and producer");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    CHECK (tower);
    zactor_t *producer = test_producer_new ("replay", config);

    //  Lengths 0 to 4000, in no order
    test_case ("publishing");
    byte buffer [4000];
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        size_t size = offset * 1583 % 4001;
        test_fill (buffer, size, offset);
        CHECK (dafka_producer_msg_set_content_buffer (msg, buffer, size) == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);

    //  Two consumers in turn: serving one must not use the records up
    for (int turn = 1; turn <= 2; turn++) {
        dafka_consumer_t *consumer = test_consumer_new ("replay", config);
        dafka_consumer_msg_t *record = dafka_consumer_msg_new ();
        test_case ("consumer %d receives all", turn);
        for (size_t offset = 0; offset < count; offset++) {
            test_at (offset);
            CHECK (dafka_consumer_msg_recv (record, consumer) == 0);
            CHECK_STR (dafka_consumer_msg_subject (record), "replay");
            CHECK_STR (dafka_consumer_msg_address (record), dafka_producer_address (producer));
            CHECK (dafka_consumer_msg_content_size (record) == offset * 1583 % 4001);
            CHECK (test_filled (dafka_consumer_msg_content (record),
                                dafka_consumer_msg_content_size (record), offset));
        }
        dafka_consumer_msg_destroy (&record);

        test_case ("consumer %d receives what is published next, and nothing in between", turn);
        test_send (producer, "marker of turn %d", turn);
        if (turn == 1)
            test_recv (consumer, "replay", dafka_producer_address (producer), "marker of turn 1");
        else {
            test_recv (consumer, "replay", dafka_producer_address (producer), "marker of turn 1");
            test_recv (consumer, "replay", dafka_producer_address (producer), "marker of turn 2");
        }
        test_case ("destroying consumer %d", turn);
        dafka_consumer_destroy (&consumer);
    }

    test_case ("destroying the producer, unacknowledged");
    zactor_destroy (&producer);
    test_case ("destroying the tower");
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
