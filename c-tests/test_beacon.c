/*  =========================================================================
    test_beacon - the beacon class: START, STOP, CONNECT, DISCONNECT, and dafka_beacon_recv, which applies changes to a
    socket
    =========================================================================
*/

#include "testing.h"

#define FIRST "0123456789ABCDEF0123456789ABCDEF"
#define SECOND "FEDCBA9876543210FEDCBA9876543210"
#define THIRD "33333333333333333333333333333333"

static zactor_t *
s_beacon_new (zconfig_t *config, const char *log_prefix)
{
    dafka_beacon_args_t args = { log_prefix, config };
    zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
    CHECK (beacon);
    return beacon;
}

//  Waits until the beacon reports this change of this port of this host. A peer whose thread pauses for longer than the
//  timeout disappears and returns; such reports are skipped. No report may be about the beacon itself.

static void
s_check_report (zactor_t *beacon, const char *expected, int port, int own)
{
    char *wanted = zsys_sprintf ("tcp://127.0.0.1:%d", port);
    char *self = zsys_sprintf ("tcp://127.0.0.1:%d", own);
    bool found;
    do {
        char *report, *endpoint;
        CHECK (zstr_recvx (beacon, &report, &endpoint, NULL) == 2);
        CHECK (streq (report, "CONNECT") || streq (report, "DISCONNECT"));
        CHECK (strneq (endpoint, self));
        found = streq (report, expected) && streq (endpoint, wanted);
        zstr_free (&endpoint);
        zstr_free (&report);
    } while (!found);
    zstr_free (&self);
    zstr_free (&wanted);
}

//  Checks the next report of the beacon. A peer whose thread paused may disappear and return: reports of that are
//  skipped.

static void
s_check_next (zactor_t *beacon, const char *expected, const char *wanted)
{
    char *report, *endpoint, *gone = NULL;
    CHECK (zstr_recvx (beacon, &report, &endpoint, NULL) == 2);
    while (gone || (streq (report, "DISCONNECT") && strneq (endpoint, wanted))) {
        if (gone) {
            CHECK_STR (report, "CONNECT");
            CHECK_STR (endpoint, gone);
            zstr_free (&gone);
        }
        else
            gone = strdup (endpoint);
        zstr_free (&endpoint);
        zstr_free (&report);
        CHECK (zstr_recvx (beacon, &report, &endpoint, NULL) == 2);
    }
    CHECK_STR (endpoint, wanted);
    CHECK_STR (report, expected);
    zstr_free (&endpoint);
    zstr_free (&report);
}

static void
s_test_words (zconfig_t *config)
{
    test_case ("two beacons report each other, but not themselves");
    zactor_t *first = s_beacon_new (config, "First");
    zactor_t *second = s_beacon_new (config, "Second");
    CHECK (zsock_send (first, "ssi", "START", FIRST, 1111) == 0);
    CHECK (zsock_send (second, "ssi", "START", SECOND, 2222) == 0);
    s_check_report (first, "CONNECT", 2222, 1111);
    s_check_report (second, "CONNECT", 1111, 2222);

    test_case ("a peer stops announcing itself");
    CHECK (zstr_send (second, "STOP") == 0);
    s_check_report (first, "DISCONNECT", 2222, 1111);

    test_case ("a peer starts again at another port: it has kept its peers");
    CHECK (zsock_send (second, "ssi", "START", SECOND, 3333) == 0);
    s_check_report (first, "CONNECT", 3333, 1111);
    zactor_t *third = s_beacon_new (config, "Third");
    CHECK (zsock_send (third, "ssi", "START", THIRD, 5555) == 0);
    s_check_report (first, "CONNECT", 5555, 1111);
    s_check_next (second, "CONNECT", "tcp://127.0.0.1:5555");

    test_case ("a stopped beacon still reports its peers");
    CHECK (zstr_send (second, "STOP") == 0);
    s_check_report (first, "DISCONNECT", 3333, 1111);
    zactor_destroy (&third);
    s_check_next (second, "DISCONNECT", "tcp://127.0.0.1:5555");
    s_check_report (first, "DISCONNECT", 5555, 1111);
    CHECK (zsock_send (second, "ssi", "START", SECOND, 3333) == 0);
    s_check_report (first, "CONNECT", 3333, 1111);

    test_case ("a peer ends");
    zactor_destroy (&second);
    s_check_report (first, "DISCONNECT", 3333, 1111);

    test_case ("a beacon ignores unknown commands");
    CHECK (zstr_send (first, "NO SUCH COMMAND") == 0);
    CHECK (zstr_send (first, "") == 0);
    CHECK (zstr_send (first, "START") == 0);
    CHECK (zstr_sendx (first, "START", FIRST, NULL) == 0);
    CHECK (zstr_sendx (first, "START", FIRST, "no port", NULL) == 0);
    CHECK (zstr_sendx (first, "START", FIRST, "99999", NULL) == 0);
    CHECK (zstr_sendx (first, "STOP", "with", "frames", NULL) == 0);
    CHECK (zsock_send (first, "ssi", "START", FIRST, 1111) == 0);
    second = s_beacon_new (config, "Second");
    CHECK (zsock_send (second, "ssi", "START", SECOND, 4444) == 0);
    s_check_report (first, "CONNECT", 4444, 1111);
    s_check_report (second, "CONNECT", 1111, 4444);
    zactor_destroy (&second);
    zactor_destroy (&first);                //  A report is unread, or about to arrive
}

//  A node is identified by its endpoint: programs of the Java implementation send beacons without a sender, and several
//  nodes may have the same sender.

static void
s_test_shared_names (zconfig_t *config)
{
    const char *names [] = { "n", "" };
    for (size_t index = 0; index < 2; index++) {
        test_case ("two nodes that share the name '%s'", names [index]);
        zactor_t *receiver = s_beacon_new (config, "Receiver");
        zactor_t *first = s_beacon_new (config, "First");
        zactor_t *second = s_beacon_new (config, "Second");
        CHECK (zsock_send (receiver, "ssi", "START", "receiver", 999) == 0);
        CHECK (zsock_send (first, "ssi", "START", names [index], 1001) == 0);
        s_check_report (receiver, "CONNECT", 1001, 999);
        CHECK (zsock_send (second, "ssi", "START", names [index], 1002) == 0);
        s_check_report (receiver, "CONNECT", 1002, 999);
        zactor_destroy (&second);
        s_check_report (receiver, "DISCONNECT", 1002, 999);
        zactor_destroy (&first);
        s_check_report (receiver, "DISCONNECT", 1001, 999);
        zactor_destroy (&receiver);
    }
}

//  Subscribes to a unique topic, because a node of another test may still connect to this port, if a peer of that node
//  used the port before.

static char s_topic [40];

static zsock_t *
s_sub_new (void)
{
    snprintf (s_topic, sizeof (s_topic), "test_beacon-%ld-", (long) getpid ());
    zsock_t *sub = zsock_new_sub (NULL, s_topic);
    CHECK (sub);
    return sub;
}

//  Checks that the XPUB receives the start or the end of this subscription

static void
s_check_subscription (zsock_t *xpub, zsock_t *sub, byte begins)
{
    size_t size = 1 + strlen (s_topic);
    zpoller_t *poller = zpoller_new (xpub, sub, NULL);
    CHECK (poller);
    bool is_other;
    do {
        CHECK (zpoller_wait (poller, -1) == xpub);
        zframe_t *frame = zframe_recv (xpub);
        CHECK (frame);
        is_other = zframe_size (frame) != size || memcmp (zframe_data (frame) + 1, s_topic, size - 1) != 0;
        CHECK (is_other || zframe_data (frame) [0] == begins);
        zframe_destroy (&frame);
    } while (is_other);
    zpoller_destroy (&poller);
}

//  An XPUB plays the peer. When the beacon's report connects the SUB, the XPUB receives its subscription. When a report
//  disconnects the SUB, the XPUB receives the end of the subscription.

static void
s_test_recv (zconfig_t *config)
{
    test_case ("dafka_beacon_recv connects");
    zactor_t *first = s_beacon_new (config, "First");
    zactor_t *second = s_beacon_new (config, "Second");
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    int port = zsock_bind (xpub, "tcp://127.0.0.1:*");
    CHECK (port > 0);
    zsock_t *sub = s_sub_new ();
    CHECK (zsock_send (first, "ssi", "START", FIRST, 1111) == 0);
    CHECK (zsock_send (second, "ssi", "START", SECOND, port) == 0);
    test_log_begin ();
    dafka_beacon_recv (first, sub, true, "The prefix");
    char *endpoint = zsys_sprintf ("tcp://127.0.0.1:%d", port);
    CHECK (test_log_has (NULL, "The prefix", endpoint));
    s_check_subscription (xpub, sub, 1);
    CHECK (zstr_send (xpub, s_topic) == 0);
    char *text = zstr_recv (sub);
    CHECK_STR (text, s_topic);
    zstr_free (&text);
    test_log_end ();

    test_case ("dafka_beacon_recv disconnects, and logs that only with verbose");
    zactor_destroy (&second);
    test_log_begin ();
    dafka_beacon_recv (first, sub, false, "The prefix");
    CHECK (!test_log_has (NULL, "The prefix", NULL));
    test_log_end ();
    s_check_subscription (xpub, sub, 0);

    test_case ("dafka_beacon_recv without a prefix, without a socket, without a beacon");
    second = s_beacon_new (config, NULL);
    CHECK (zsock_send (second, "ssi", "START", SECOND, port) == 0);
    dafka_beacon_recv (first, sub, true, NULL);
    s_check_subscription (xpub, sub, 1);
    dafka_beacon_recv (NULL, sub, true, "The prefix");
    dafka_beacon_recv (NULL, NULL, true, NULL);
    zactor_destroy (&second);
    dafka_beacon_recv (first, NULL, true, "The prefix");
    //  The next case starts when no beacon of this one is on its way any more.
    dafka_beacon_recv (first, sub, false, NULL);
    s_check_subscription (xpub, sub, 0);

    zsock_destroy (&sub);
    zsock_destroy (&xpub);
    zstr_free (&endpoint);
    zactor_destroy (&first);
}

//  A node that does not announce itself, and peers that name their host, or let the tower do so

static void
s_test_listener (zconfig_t *config, bool is_inproc)
{
    test_case ("a beacon without START reports a peer whose host is not found");
    zconfig_t *named = test_config_copy (config);
    zactor_t *listener = s_beacon_new (config, "Listener");
    zconfig_put (named, "beacon/address", "no-such-host.invalid");
    zactor_t *peer = s_beacon_new (named, "Peer");
    CHECK (zsock_send (peer, "ssi", "START", "a peer", 1000) == 0);
    s_check_next (listener, "CONNECT", "tcp://no-such-host.invalid:1000");
    zactor_destroy (&peer);
    s_check_next (listener, "DISCONNECT", "tcp://no-such-host.invalid:1000");

    test_case ("a name stays a name; dafka_beacon_recv connects to the host");
    zconfig_put (named, "beacon/address", "localhost");
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    int port = zsock_bind (xpub, "tcp://127.0.0.1:*");
    CHECK (port > 0);
    char *endpoint = zsys_sprintf ("tcp://localhost:%d", port);
    zsock_t *sub = s_sub_new ();
    peer = s_beacon_new (named, "Peer");
    zactor_t *other = s_beacon_new (config, "Other listener");
    CHECK (zsock_send (peer, "ssi", "START", "another peer", port) == 0);
    s_check_next (other, "CONNECT", endpoint);
    dafka_beacon_recv (listener, sub, false, "Listener");
    s_check_subscription (xpub, sub, 1);
    zactor_destroy (&peer);
    dafka_beacon_recv (listener, sub, false, "Listener");
    s_check_subscription (xpub, sub, 0);
    s_check_next (other, "DISCONNECT", endpoint);
    zactor_destroy (&other);

    test_case ("dafka_beacon_recv does not connect to a host that is not found");
    zconfig_put (named, "beacon/address", "no-such-host.invalid");
    peer = s_beacon_new (named, "Peer");
    CHECK (zsock_send (peer, "ssi", "START", "a peer", 1000) == 0);
    test_log_begin ();
    dafka_beacon_recv (listener, sub, false, "Listener");
    CHECK (test_log_has ("E:", "no-such-host.invalid:1000", "not found"));
    zactor_destroy (&peer);
    dafka_beacon_recv (listener, sub, false, "Listener");
    test_log_end ();

    if (is_inproc) {
        test_case ("nodes over inproc without beacon/address are announced at this host's first interface");
        ziflist_t *interfaces = ziflist_new ();
        CHECK (interfaces);
        const char *host = ziflist_first (interfaces)? ziflist_address (interfaces): "127.0.0.1";
        zconfig_put (named, "beacon/address", "");
        peer = s_beacon_new (named, "Peer");
        CHECK (zsock_send (peer, "ssi", "START", "a third peer", 1000) == 0);
        char *found = zsys_sprintf ("tcp://%s:1000", host);
        s_check_next (listener, "CONNECT", found);
        zstr_free (&found);
        zactor_destroy (&peer);
        ziflist_destroy (&interfaces);
    }
    zactor_destroy (&listener);
    zsock_destroy (&sub);
    zsock_destroy (&xpub);
    zstr_free (&endpoint);
    zconfig_destroy (&named);
}

//  One host announces many peers. The number of reported peers per host is limited.

#define MAX_OF_HOST 10

static void
s_test_crowd (const char *name, const char *format)
{
    test_case ("the peers of one host are limited: %s", name);
    zconfig_t *config = test_config ("inproc");
    zconfig_putf (config, "beacon/max_peers_per_host", "%d", MAX_OF_HOST);
    zconfig_put (config, "beacon/connect_timeout", "0");    //  Do not wait for a welcome, which the XPUB does not send
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    zsock_set_xpub_welcome_msg (xpub, "W");
    CHECK (zsock_bind (xpub, "%s", zconfig_get (config, "tower/pub_address", "")) == 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    CHECK (zsock_bind (sub, "%s", zconfig_get (config, "tower/sub_address", "")) == 0);
    zactor_t *beacon = s_beacon_new (config, "Listener");
    int connected = 0, changes = 0;
    test_log_begin ();
    while (changes < 5 * MAX_OF_HOST) {
        for (int port = 1001; port <= 1000 + 5 * MAX_OF_HOST; port++) {
            char *endpoint = zsys_sprintf (format, port, port);
            CHECK (zsock_send (xpub, "sss", "B", endpoint, endpoint) == 0);
            zstr_free (&endpoint);
        }
        while (test_poll (beacon, 50)) {
            char *report, *endpoint;
            CHECK (zstr_recvx (beacon, &report, &endpoint, NULL) == 2);
            connected += streq (report, "CONNECT") ? 1 : -1;
            CHECK (connected <= MAX_OF_HOST);
            changes++;
            zstr_free (&endpoint);
            zstr_free (&report);
        }
    }
    test_log_end ();
    zactor_destroy (&beacon);
    zsock_destroy (&sub);
    zsock_destroy (&xpub);
    zconfig_destroy (&config);
}

//  An actor that sends one report, and ends

static void
s_short_life (zsock_t *pipe, void *args)
{
    zsock_signal (pipe, 0);
    CHECK (zstr_sendx (pipe, "CONNECT", (char *) args, NULL) == 0);
}

static void
s_test_ended (void)
{
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    int port = zsock_bind (xpub, "tcp://127.0.0.1:*");
    CHECK (port > 0);
    char *endpoint = zsys_sprintf ("tcp://127.0.0.1:%d", port);
    zsock_t *sub = s_sub_new ();
    size_t threads = test_count_entries ("/proc/self/task");          //  ZeroMQ's threads
    test_case ("dafka_beacon_recv from a beacon that has ended: its earlier report counts");
    zactor_t *beacon = zactor_new (s_short_life, endpoint);
    CHECK (beacon);
    dafka_beacon_recv (beacon, sub, false, NULL);
    s_check_subscription (xpub, sub, 1);
    test_log_begin ();
    for (int round = 1; round <= 3; round++) {
        test_case ("dafka_beacon_recv from a beacon that has ended returns: %d", round);
        dafka_beacon_recv (beacon, sub, false, NULL);
        CHECK (test_log_has ("E:", "dafka_beacon_recv", "the beacon has ended"));
    }
    test_log_end ();
    test_case ("zactor_destroy of a beacon that has ended");
    zactor_destroy (&beacon);

    test_case ("dafka_beacon_recv observes the timeout of the beacon's pipe");
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "beacon/connect_timeout", "0");
    beacon = s_beacon_new (config, "Lonely");
    zsock_set_rcvtimeo (beacon, 20);
    dafka_beacon_recv (beacon, sub, false, NULL);
    zsock_set_rcvtimeo (beacon, -1);
    zactor_destroy (&beacon);

    test_case ("a beacon ends even if zactor_destroy does not wait for it");
    beacon = s_beacon_new (config, "Unawaited");
    CHECK (test_count_entries ("/proc/self/task") > threads);
    zsock_set_rcvtimeo (beacon, 0);
    zactor_destroy (&beacon);
    //  Less than the 30 s for which an ending actor waits for room in its pipe
    int64_t due = zclock_mono () + 20000;
    while (test_count_entries ("/proc/self/task") > threads) {
        CHECK (zclock_mono () < due);
        zclock_sleep (2);
    }
    zconfig_destroy (&config);
    zsock_destroy (&sub);
    zsock_destroy (&xpub);
    zstr_free (&endpoint);
}

int
main (void)
{
    test_begin ("test_beacon", 60);
    s_test_ended ();
    s_test_crowd ("names that are found", "tcp://localhost:%d");
    s_test_crowd ("names that are not found", "tcp://no-such-host-%d.invalid:%d");
    for (int round = 0; round < 2; round++) {
        zconfig_t *config = test_config (round ? "tcp" : "inproc");
        zconfig_put (config, "beacon/timeout", "500");      //  Long enough for a loaded machine
        test_case ("starting a tower");
        zactor_t *tower = test_tower_new (config);
        s_test_words (config);
        s_test_shared_names (config);
        s_test_recv (config);
        s_test_listener (config, round == 0);
        zactor_destroy (&tower);
        zconfig_destroy (&config);
    }
    return test_end ();
}
