/*  =========================================================================
    beacon - two beacons find each other through a tower; one of them ends
    =========================================================================
*/

#include "drop_in.h"

//  Waits for the beacon's next report, which must have this word and this endpoint.

static void
s_expect (zactor_t *beacon, const char *word, const char *endpoint)
{
    char *said, *of;
    CHECK (zstr_recvx (beacon, &said, &of, NULL) == 2);
    CHECK (streq (said, word) && streq (of, endpoint));
    zstr_free (&said);
    zstr_free (&of);
}

int
main (void)
{
    BEGIN ();
    zconfig_t *config = network_config ();
    zconfig_put (config, "beacon/timeout", "300");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_beacon_args_t args = { "One", config };
    zactor_t *one = zactor_new (dafka_beacon_actor, &args);
    args.log_prefix = NULL;
    zactor_t *two = zactor_new (dafka_beacon_actor, &args);
    CHECK (tower && one && two);

    zsock_t *pub = zsock_new (ZMQ_PUB);
    int port = zsock_bind (pub, "tcp://127.0.0.1:*");
    CHECK (port > 0);
    CHECK (zsock_send (one, "ssi", "START", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", port) == 0);
    CHECK (zsock_send (two, "ssi", "START", "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", 1234) == 0);
    s_expect (one, "CONNECT", "tcp://127.0.0.1:1234");

    //  A report of the second beacon connects a socket to the endpoint of the first one.
    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_subscribe (sub, "");
    zsock_set_rcvtimeo (sub, 50);
    dafka_beacon_recv (two, sub, true, "Two");
    char *text;
    do
        zstr_send (pub, "hello");
    while (!(text = zstr_recv (sub)));
    CHECK (streq (text, "hello"));
    zstr_free (&text);

    //  A silent peer is reported as gone.
    CHECK (zstr_send (two, "STOP") == 0);
    s_expect (one, "DISCONNECT", "tcp://127.0.0.1:1234");
    zactor_destroy (&one);
    zactor_destroy (&two);
    zactor_destroy (&tower);
    zsock_destroy (&pub);
    zsock_destroy (&sub);
    zconfig_destroy (&config);
    puts ("beacon: OK");
    return 0;
}
