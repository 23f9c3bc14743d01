/*  =========================================================================
    app - one record from a producer to a consumer: shows that the library can be reached in each way that there is

    C and C++: it is compiled as both.
    =========================================================================
*/

#include <dafka.h>

int
main (void)
{
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "inproc://app-tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://app-tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://app-tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://app-tower-pub");
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_producer_args_t producer_args = { "way", config };
    zactor_t *producer = zactor_new (dafka_producer, &producer_args);
    dafka_consumer_args_t consumer_args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    int rc = dafka_consumer_subscribe (consumer, "way");

    dafka_producer_msg_t *sent = dafka_producer_msg_new ();
    if (rc == 0)
        rc = dafka_producer_msg_set_content_str (sent, "in");
    if (rc == 0)
        rc = dafka_producer_msg_send (sent, producer);
    dafka_consumer_msg_t *received = dafka_consumer_msg_new ();
    if (rc == 0)
        rc = dafka_consumer_msg_recv (received, consumer);
    if (rc == 0 && !dafka_consumer_msg_streq (received, "in"))
        rc = -1;

    dafka_consumer_msg_destroy (&received);
    dafka_producer_msg_destroy (&sent);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    puts (rc == 0 ? "app: OK" : "app: failed");
    return rc == 0 ? 0 : 1;
}
