/*  =========================================================================
    test_header_classes - the headers per class that old programs include, in an order that they use
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

//  Old programs ask whether a type is there, and hide functions of their own.
#if !defined (DAFKA_CONSUMER_MSG_T_DEFINED) || !defined (DAFKA_PRODUCER_MSG_T_DEFINED) \
    || !defined (DAFKA_PRODUCER_T_DEFINED) || !defined (DAFKA_CONSUMER_T_DEFINED) || !defined (DAFKA_PROTO_T_DEFINED) \
    || !defined (DAFKA_BEACON_T_DEFINED) || !defined (DAFKA_TOWER_T_DEFINED) || !defined (DAFKA_STORE_T_DEFINED) \
    || !defined (DAFKA_PUBLISHER_T_DEFINED) || !defined (DAFKA_SUBSCRIBER_T_DEFINED)
#   error "DAFKA_*_T_DEFINED"
#endif

DAFKA_PRIVATE int
    hidden (void);

int
hidden (void)
{
    return 1;
}

int
main (void)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int rc = dafka_producer_msg_set_content_str (msg, "hello");
    bool equal = dafka_producer_msg_streq (msg, "hello");
    dafka_producer_msg_destroy (&msg);
    if (rc != 0 || !equal || hidden () != 1 || DAFKA_PROTO_RECORD != 'M') {
        fprintf (stderr, "%s: check failed\n", __FILE__);
        return 1;
    }
    printf (" * test_header_classes: OK\n");
    return 0;
}
