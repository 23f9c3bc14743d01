/*  =========================================================================
    test_header_classes - the headers per class that old programs include, in an order of theirs
    =========================================================================
*/

#include <dafka_subscriber.h>
#include <dafka_publisher.h>
#include <dafka_consumer_msg.h>
#include <dafka_consumer.h>
#include <dafka_producer_msg.h>
#include <dafka_producer.h>
#include <dafka_store.h>
#include <dafka_tower.h>
#include <dafka_beacon.h>
#include <dafka_proto.h>
#include <dafka_library.h>

int
main (void)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int rc = dafka_producer_msg_set_content_str (msg, "hello");
    bool equal = dafka_producer_msg_streq (msg, "hello");
    dafka_producer_msg_destroy (&msg);
    if (rc != 0 || !equal || DAFKA_PROTO_RECORD != 'M') {
        fprintf (stderr, "%s: check failed\n", __FILE__);
        return 1;
    }
    printf (" * test_header_classes: OK\n");
    return 0;
}
