//  A first program: a tower, a producer and a consumer in one process. The producer sends one record to the consumer.
//  gcc first.c $(pkg-config --cflags --libs libdafka) -o first

#include <dafka.h>

int main (void)
{
    //  Where the tower listens, and where the nodes find it
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "tcp://127.0.0.1:25556");
    zconfig_put (config, "tower/pub_address", "tcp://127.0.0.1:25557");
    zconfig_put (config, "beacon/sub_address", "tcp://127.0.0.1:25556");
    zconfig_put (config, "beacon/pub_address", "tcp://127.0.0.1:25557");
    //  The consumer starts at the first record, even if the record was published before the consumer started
    zconfig_put (config, "consumer/offset/reset", "earliest");
    //  There is no store to acknowledge the record: let the producer end without an ACK
    zconfig_put (config, "producer/terminate_unacked", "1");

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_producer_args_t producer_args = { "hello", config };
    zactor_t *producer = zactor_new (dafka_producer, &producer_args);
    dafka_consumer_args_t consumer_args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    dafka_consumer_subscribe (consumer, "hello");

    dafka_producer_msg_t *sent = dafka_producer_msg_new ();
    dafka_producer_msg_set_content_str (sent, "hello world");
    int rc = dafka_producer_msg_send (sent, producer);

    dafka_consumer_msg_t *received = dafka_consumer_msg_new ();
    if (rc == 0 && (rc = dafka_consumer_msg_recv (received, consumer)) == 0) {
        char *content = dafka_consumer_msg_strdup (received);
        printf ("hello %s %s %s\n",
                dafka_consumer_msg_subject (received), dafka_consumer_msg_address (received), content);
        zstr_free (&content);
    }
    dafka_consumer_msg_destroy (&received);
    dafka_producer_msg_destroy (&sent);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return rc == 0 ? 0 : 1;
}
