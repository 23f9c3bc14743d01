/*  =========================================================================
    test_quirks - libdafka 0.1.0 differs from its documentation in some points (doc/quirks.md): the behaviour of our
    nodes in these points, as seen by a peer that speaks the protocol directly
    =========================================================================
*/

#include "testing.h"

//  --------------------------------------------------------------------------
//  Messages as octets on the wire

//  The first frame of a message: id, topic and version, then fields. s is a string, 4 and 8 are numbers of that many
//  octets, l is a longstr. The caller owns the result.
static zmsg_t *
s_message (char id, const char *topic, const char *picture, ...)
{
    zchunk_t *chunk = zchunk_new (NULL, 0);
    zchunk_extend (chunk, &id, 1);
    zchunk_extend (chunk, topic, strlen (topic) + 1);
    zchunk_extend (chunk, "\1", 1);
    va_list arguments;
    va_start (arguments, picture);
    for (; *picture; picture++) {
        byte number [8];
        const char *text = "";
        uint64_t value;
        size_t size = *picture == '8' ? 8 : *picture == 's' || *picture == '1' ? 1 : 4;
        if (*picture == '8')
            value = va_arg (arguments, uint64_t);
        else
        if (*picture == '4' || *picture == '1')
            value = (uint64_t) va_arg (arguments, int);
        else {
            text = va_arg (arguments, const char *);
            value = strlen (text);
        }
        for (size_t index = 0; index < size; index++)
            number [index] = (byte) (value >> 8 * (size - 1 - index));
        zchunk_extend (chunk, number, size);
        zchunk_extend (chunk, text, strlen (text));
    }
    va_end (arguments);
    zmsg_t *msg = zmsg_new ();
    zmsg_addmem (msg, zchunk_data (chunk), zchunk_size (chunk));
    zchunk_destroy (&chunk);
    return msg;
}

//  The peer of this test sends beacons only while it waits for messages. This timeout keeps it connected at other
//  times.
static zconfig_t *
s_config (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "beacon/timeout", "60000");
    return config;
}

//  RECORD, DIRECT-RECORD, HEAD, DIRECT-HEAD; content is NULL for the last two
static zmsg_t *
s_position (char id, const char *topic, const char *partition, const char *subject, int sequence, const char *content)
{
    zmsg_t *msg = s_message (id, topic, "ss8", partition, subject, (uint64_t) sequence);
    if (content)
        zmsg_addstr (msg, content);
    return msg;
}

static zmsg_t *
s_fetch (const char *partition, const char *requester, const char *subject, int sequence, int count)
{
    return s_message ('F', partition, "ss84", requester, subject, (uint64_t) sequence, count);
}

//  As a node of this library reads a partition: with an empty store name, and the flag that it takes batches.
static zmsg_t *
s_own_fetch (const char *partition, const char *requester, const char *subject, int sequence, int count)
{
    return s_message ('F', partition, "ss84s1", requester, subject, (uint64_t) sequence, count, "", 1);
}


//  --------------------------------------------------------------------------
//  A peer like a node of 0.1.0: it sends beacons, connects to all other nodes, and sends what the test wants

typedef struct {
    char address [33];
    zsock_t *beacons;       //  To the tower, and from it
    zsock_t *tower;
    zsock_t *pub;           //  XPUB, which receives subscriptions
    zsock_t *sub;
    zpoller_t *all;
    zpoller_t *all_but_sub;
    zhash_t *endpoints;     //  Where sub is connected
    zhash_t *subscribed;    //  Subscriptions of others: id and topic
    int64_t beacon_at;
    int port;
} peer_t;

//  Subscribes to the prefixes, a list that ends with NULL. "@" means the peer's own address.
static peer_t *
s_peer_new (zconfig_t *config, ...)
{
    peer_t *self = (peer_t *) zmalloc (sizeof (peer_t));
    zuuid_t *uuid = zuuid_new ();
    strcpy (self->address, zuuid_str (uuid));
    zuuid_destroy (&uuid);
    self->endpoints = zhash_new ();
    self->subscribed = zhash_new ();
    self->pub = zsock_new (ZMQ_XPUB);
    zsock_set_xpub_verbose (self->pub, 1);
    self->port = zsock_bind (self->pub, "tcp://127.0.0.1:*");
    CHECK (self->port > 0);
    self->sub = zsock_new (ZMQ_SUB);
    va_list prefixes;
    va_start (prefixes, config);
    for (const char *prefix = va_arg (prefixes, const char *); prefix; prefix = va_arg (prefixes, const char *)) {
        char *own = streq (prefix + 1, "@") ? zsys_sprintf ("%c%s", *prefix, self->address) : strdup (prefix);
        zsock_set_subscribe (self->sub, own);
        freen (own);
    }
    va_end (prefixes);
    self->beacons = zsock_new_pub (NULL);
    CHECK (zsock_connect (self->beacons, "%s", zconfig_get (config, "beacon/sub_address", "")) == 0);
    self->tower = zsock_new_sub (NULL, "B");
    CHECK (zsock_connect (self->tower, "%s", zconfig_get (config, "beacon/pub_address", "")) == 0);
    self->all = zpoller_new (self->tower, self->pub, self->sub, NULL);
    self->all_but_sub = zpoller_new (self->tower, self->pub, NULL);
    return self;
}

static void
s_peer_destroy (peer_t **self_p)
{
    peer_t *self = *self_p;
    zpoller_destroy (&self->all);
    zpoller_destroy (&self->all_but_sub);
    zsock_destroy (&self->beacons);
    zsock_destroy (&self->tower);
    zsock_destroy (&self->pub);
    zsock_destroy (&self->sub);
    zhash_destroy (&self->endpoints);
    zhash_destroy (&self->subscribed);
    freen (self);
    *self_p = NULL;
}

//  Waits, and handles beacons and subscriptions. True when sub is readable.
static bool
s_peer_wait (peer_t *self, zpoller_t *poller)
{
    void *ready = zpoller_wait (poller, 20);
    if (zclock_mono () >= self->beacon_at) {
        char *port = zsys_sprintf ("%d", self->port);
        CHECK (zstr_sendx (self->beacons, "B", self->address, "127.0.0.1", port, NULL) == 0);
        zstr_free (&port);
        self->beacon_at = zclock_mono () + 50;
    }
    if (ready == self->tower) {
        zmsg_t *msg = zmsg_recv (self->tower);
        CHECK (zmsg_size (msg) == 3 || zmsg_size (msg) == 4);
        char *id = zmsg_popstr (msg), *address = zmsg_popstr (msg), *endpoint = zmsg_popstr (msg);
        if (strneq (address, self->address) && zhash_insert (self->endpoints, endpoint, self) == 0)
            CHECK (zsock_connect (self->sub, "%s", endpoint) == 0);
        zstr_free (&id);
        zstr_free (&address);
        zstr_free (&endpoint);
        zmsg_destroy (&msg);
    }
    else
    if (ready == self->pub) {
        zframe_t *frame = zframe_recv (self->pub);
        char *text = zframe_strdup (frame);         //  Without the NUL at the end of the topic
        if (text [0] == 1)
            zhash_insert (self->subscribed, text + 1, self);
        zstr_free (&text);
        zframe_destroy (&frame);
    }
    return ready == self->sub;
}

//  Waits for a subscription to this message
static void
s_await_subscription (peer_t *self, char id, const char *topic)
{
    char *key = zsys_sprintf ("%c%s", id, topic);
    while (!zhash_lookup (self->subscribed, key))
        s_peer_wait (self, self->all_but_sub);
    zstr_free (&key);
}

static void
s_send (peer_t *self, zmsg_t *msg)
{
    CHECK (zmsg_send (&msg, self->pub) == 0);
}

//  Receives the next message whose id is not in `ignored`
static zmsg_t *
s_receive (peer_t *self, const char *ignored)
{
    while (true) {
        while (!s_peer_wait (self, self->all))
            ;
        zmsg_t *msg = zmsg_recv (self->sub);
        CHECK (msg && zframe_size (zmsg_first (msg)) > 0);
        if (!strchr (ignored, *zframe_data (zmsg_first (msg))))
            return msg;
        zmsg_destroy (&msg);
    }
}

//  Our nodes add the timestamp to a RECORD or DIRECT-RECORD: its length in 4 octets, and 9 octets
#define TIMESTAMP_SIZE 13

//  True when a message is the other one, with or without a timestamp at the end of the first frame of a record.
static bool
s_equal (zmsg_t *msg, zmsg_t *other)
{
    if (zmsg_size (msg) != zmsg_size (other))
        return false;
    zframe_t *frame = zmsg_first (msg), *other_frame = zmsg_first (other);
    size_t size = zframe_size (other_frame);
    if (zmsg_size (msg) == 2 && zframe_size (frame) == size + TIMESTAMP_SIZE
    &&  memcmp (zframe_data (frame), zframe_data (other_frame), size) == 0) {
        frame = zmsg_next (msg);
        other_frame = zmsg_next (other);
    }
    while (frame && zframe_eq (frame, other_frame)) {
        frame = zmsg_next (msg);
        other_frame = zmsg_next (other);
    }
    return frame == NULL;
}

//  The next message must equal the expected one, which this function destroys.
static void
s_expect (peer_t *self, const char *ignored, zmsg_t *expected)
{
    zmsg_t *msg = s_receive (self, ignored);
    if (!s_equal (msg, expected)) {
        zmsg_print (msg);
        zmsg_print (expected);
        CHECK (!"the expected message came");
    }
    zmsg_destroy (&msg);
    zmsg_destroy (&expected);
}


//  --------------------------------------------------------------------------

//  Sends malformed messages. 0.1.0 accepts a truncated message, and parses frames after a message as another one.

static void
s_send_malformed (peer_t *peer, zmsg_t *right)
{
    zframe_t *whole = zmsg_first (right);
    for (size_t size = 1; size < zframe_size (whole); size++) {
        zmsg_t *msg = zmsg_new ();
        zmsg_addmem (msg, zframe_data (whole), size);
        if (zmsg_size (right) == 2)
            zmsg_addstr (msg, "wrong: of a truncated message");
        s_send (peer, msg);
    }
    zmsg_t *msg = zmsg_dup (right);
    zframe_t *again = zframe_dup (whole);
    zmsg_append (msg, &again);
    zmsg_addstr (msg, "wrong: after the message");
    s_send (peer, msg);

    //  A topic longer than a name can be, which kills a node of 0.1.0
    byte *data = zframe_data (whole);
    size_t topic_end = strlen ((char *) data);
    zchunk_t *longest = zchunk_new (data, topic_end);
    for (int number = 0; number < 300; number++)
        zchunk_extend (longest, "x", 1);
    zchunk_extend (longest, data + topic_end, zframe_size (whole) - topic_end);
    msg = zmsg_new ();
    zmsg_addmem (msg, zchunk_data (longest), zchunk_size (longest));
    if (zmsg_size (right) == 2)
        zmsg_addstr (msg, "wrong: of a topic that is too long");
    s_send (peer, msg);
    zchunk_destroy (&longest);
    zmsg_destroy (&right);
}

static void
s_test_consumer_earliest (void)
{
    test_case ("a consumer joins, with earliest");
    zconfig_t *config = s_config ();
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("hello", config);
    const char *own = dafka_consumer_address (consumer);
    peer_t *peer = s_peer_new (config, "F", "W@", NULL);
    s_expect (peer, "F", s_message ('W', peer->address, "s4l", own, 1, "hello"));
    s_await_subscription (peer, 'E', own);
    s_await_subscription (peer, 'D', own);
    s_await_subscription (peer, 'H', "hello");
    s_await_subscription (peer, 'M', "hello");

    test_case ("a consumer of hello ignores heads of hello2");
    s_send (peer, s_position ('E', own, "OTHER", "hello2", 4, NULL));
    s_send (peer, s_position ('E', own, "PART", "hello", 2, NULL));
    s_expect (peer, "W", s_own_fetch ("PART", own, "hello", 0, 3));

    test_case ("truncated messages and messages with extra frames are dropped, names that are too long do no harm");
    s_send_malformed (peer, s_position ('D', own, "PART", "hello", 0, "wrong: with a frame too many"));
    s_send_malformed (peer, s_position ('H', "hello", "PART", "hello", 77, NULL));

    test_case ("one record more than requested");
    for (int sequence = 0; sequence < 4; sequence++) {
        char *content = zsys_sprintf ("record %d", sequence);
        s_send (peer, s_position ('D', own, "PART", "hello", sequence, content));
        zstr_free (&content);
    }
    s_send (peer, s_position ('M', "hello", "PART", "hello", 3, "wrong: a second time"));
    s_send (peer, s_position ('M', "hello", "PART", "hello", 4, "record 4"));
    for (int sequence = 0; sequence < 5; sequence++)
        test_recv (consumer, "hello", "PART", "record %d", sequence);

    s_peer_destroy (&peer);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

static void
s_test_consumer_latest (void)
{
    test_case ("a consumer joins, with latest");
    zconfig_t *config = s_config ();
    zactor_t *tower = test_tower_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("hello", config);
    const char *own = dafka_consumer_address (consumer);
    peer_t *peer = s_peer_new (config, "F", "W@", NULL);
    s_expect (peer, "F", s_message ('W', peer->address, "s4l", own, 1, "hello"));
    s_await_subscription (peer, 'D', own);
    s_await_subscription (peer, 'H', "hello");
    s_await_subscription (peer, 'M', "hello");

    test_case ("a HEAD arrives first: its record was published before, and is not requested");
    s_send (peer, s_position ('H', "hello", "PART", "hello", 5, NULL));
    s_send (peer, s_position ('M', "hello", "PART", "hello", 6, "record 6"));

    test_case ("the first record alone is requested, to learn when the partition began: no timestamp, so it is older");
    s_expect (peer, "W", s_fetch ("PART", own, "hello", 0, 1));
    s_send (peer, s_position ('D', own, "PART", "hello", 0, "wrong: older than the subscription"));
    test_recv (consumer, "hello", "PART", "record 6");
    s_send (peer, s_position ('H', "hello", "PART", "hello", 8, NULL));
    s_expect (peer, "W", s_own_fetch ("PART", own, "hello", 7, 2));
    s_send (peer, s_position ('D', own, "PART", "hello", 7, "record 7"));
    s_send (peer, s_position ('D', own, "PART", "hello", 8, "record 8"));
    test_recv (consumer, "hello", "PART", "record 7");
    test_recv (consumer, "hello", "PART", "record 8");

    s_peer_destroy (&peer);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------

#define RECORDS 600

static void
s_test_producer (void)
{
    test_case ("a producer's HEAD as octets: no signature precedes it");
    zconfig_t *config = s_config ();
    zactor_t *tower = test_tower_new (config);
    zactor_t *producer = test_producer_new ("hello", config);
    const char *address = dafka_producer_address (producer);
    for (int sequence = 0; sequence < RECORDS; sequence++)
        test_send (producer, "record %d", sequence);
    peer_t *peer = s_peer_new (config, "D@", "E@", "Hhello", NULL);
    s_await_subscription (peer, 'K', address);
    s_await_subscription (peer, 'F', address);
    s_await_subscription (peer, 'G', "hello");
    s_expect (peer, "", s_position ('H', "hello", address, "hello", RECORDS - 1, NULL));

    test_case ("more than 256 records unacknowledged, part of the first 256 acknowledged: the content is right");
    s_send_malformed (peer, s_fetch (address, peer->address, "hello", 300, 1));
    s_send_malformed (peer, s_message ('K', address, "s8", "hello", (uint64_t) 500));
    s_send (peer, s_message ('K', address, "s8", "hello", (uint64_t) 99));
    s_send (peer, s_fetch (address, peer->address, "hello", 100, RECORDS - 100));
    for (int sequence = 100; sequence < RECORDS; sequence++) {
        test_at ((size_t) sequence);
        char *content = zsys_sprintf ("record %d", sequence);
        s_expect (peer, "H", s_position ('D', peer->address, address, "hello", sequence, content));
        zstr_free (&content);
    }

    test_case ("a FETCH of 100,000 records, as 0.1.0 sends it; nothing follows the last record");
    s_send (peer, s_fetch (address, peer->address, "hello", RECORDS - 1, 100000));
    char *content = zsys_sprintf ("record %d", RECORDS - 1);
    s_expect (peer, "H", s_position ('D', peer->address, address, "hello", RECORDS - 1, content));
    zstr_free (&content);

    test_case ("a producer answers GET-HEADS");
    s_send (peer, s_message ('G', "hello", "s", peer->address));
    s_expect (peer, "H", s_position ('E', peer->address, address, "hello", RECORDS - 1, NULL));

    test_case ("a producer without unacknowledged records ends at once");
    s_send (peer, s_message ('K', address, "s8", "hello", (uint64_t) RECORDS - 1));
    zactor_destroy (&producer);

    s_peer_destroy (&peer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------

//  Our stores add their name to ACK and DIRECT-HEAD: a string of 32 octets
#define NAME_SIZE 33

//  True when the message is the expected one, followed by a store's name. The first name is stored in `name`, and all
//  later ones must be the same. Keeps both messages.
static bool
s_equal_but_name (zmsg_t *msg, zmsg_t *expected, char name [NAME_SIZE])
{
    zframe_t *frame = zmsg_first (msg), *core = zmsg_first (expected);
    size_t size = zframe_size (core);
    if (zmsg_size (msg) != 1 || zmsg_size (expected) != 1 || zframe_size (frame) != size + NAME_SIZE
    ||  memcmp (zframe_data (frame), zframe_data (core), size) != 0)
        return false;
    const char *string = (const char *) zframe_data (frame) + size;
    CHECK (string [0] == NAME_SIZE - 1);
    if (!name [0])
        memcpy (name, string + 1, NAME_SIZE - 1);
    CHECK (memcmp (name, string + 1, NAME_SIZE - 1) == 0);
    return true;
}

//  The next message must be the expected one, followed by the store's name. Destroys the expected message.
static void
s_expect_named (peer_t *self, const char *ignored, zmsg_t *expected, char name [NAME_SIZE])
{
    zmsg_t *msg = s_receive (self, ignored);
    if (!s_equal_but_name (msg, expected, name)) {
        zmsg_print (msg);
        zmsg_print (expected);
        CHECK (!"the expected message came, and a name");
    }
    zmsg_destroy (&msg);
    zmsg_destroy (&expected);
}

//  Receives ACKs until the one with this sequence

static void
s_await_ack (peer_t *peer, const char *subject, int sequence, char name [NAME_SIZE])
{
    zmsg_t *expected = s_message ('K', peer->address, "s8", subject, (uint64_t) sequence);
    bool came = false;
    while (!came) {
        zmsg_t *msg = s_receive (peer, "DEL");
        came = s_equal_but_name (msg, expected, name);
        zmsg_destroy (&msg);
    }
    zmsg_destroy (&expected);
}

static void
s_test_store (void)
{
    test_case ("a store sends STORE-HELLO to a new subscriber");
    zconfig_t *config = s_config ();
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    char name [NAME_SIZE] = "";
    peer_t *peer = s_peer_new (config, "D@", "E@", "K@", "L@", NULL);
    zmsg_t *msg = s_receive (peer, "");
    char *reader = NULL;
    {
        //  STORE-HELLO: the topic is our address, the address is that of the store's reader (32 digits)
        zmsg_t *expected = s_message ('L', peer->address, "s", "0123456789ABCDEF0123456789ABCDEF");
        zframe_t *frame = zmsg_first (msg);
        size_t size = zframe_size (zmsg_first (expected));
        CHECK (zframe_size (frame) == size);
        CHECK (memcmp (zframe_data (frame), zframe_data (zmsg_first (expected)), size - 32) == 0);
        reader = zsys_sprintf ("%.32s", (char *) zframe_data (frame) + size - 32);
        zmsg_destroy (&expected);
        zmsg_destroy (&msg);
    }
    s_await_subscription (peer, 'W', reader);
    s_await_subscription (peer, 'M', "");
    s_await_subscription (peer, 'H', "");
    s_await_subscription (peer, 'F', "");
    s_await_subscription (peer, 'G', "");

    test_case ("a lost ACK is sent again after a HEAD");
    const char *own = peer->address;
    s_send_malformed (peer, s_position ('M', "hello", own, "hello", 0, "wrong: with a frame too many"));
    for (int sequence = 0; sequence < 10; sequence++) {
        char *content = zsys_sprintf ("record %d", sequence);
        s_send (peer, s_position ('M', "hello", own, "hello", sequence, content));
        zstr_free (&content);
    }
    //  The peer may have missed the first ACK, if it was not connected to the store's writer yet. A producer sends a
    //  HEAD every head_interval. The ACK of the tenth record follows the ACKs of these HEADs.
    bool heard = false;
    while (!heard) {
        s_send (peer, s_position ('H', "hello", own, "hello", 9, NULL));
        int64_t due = zclock_mono () + 100;
        while (!heard && zclock_mono () < due)
            heard = s_peer_wait (peer, peer->all);
    }
    s_await_ack (peer, "hello", 9, name);
    s_send (peer, s_position ('M', "hello", own, "hello", 10, "record 10"));
    s_await_ack (peer, "hello", 10, name);
    s_send (peer, s_position ('H', "hello", own, "hello", 10, NULL));
    s_await_ack (peer, "hello", 10, name);

    test_case ("a lost ACK is sent again after a RECORD");
    s_send (peer, s_position ('M', "hello", own, "hello", 10, "record 10"));
    s_await_ack (peer, "hello", 10, name);

    test_case ("a FETCH is answered with exactly the requested records");
    s_send_malformed (peer, s_fetch (own, own, "hello", 0, 1));
    s_send (peer, s_fetch (own, own, "hello", 2, 3));
    for (int sequence = 2; sequence < 5; sequence++) {
        char *content = zsys_sprintf ("record %d", sequence);
        s_expect (peer, "KL", s_position ('D', own, own, "hello", sequence, content));
        zstr_free (&content);
    }
    s_send (peer, s_fetch (own, own, "hello", 8, 1));
    s_expect (peer, "KL", s_position ('D', own, own, "hello", 8, "record 8"));

    test_case ("GET-HEADS of hello is answered with heads of hello, not of hello2");
    s_send (peer, s_position ('M', "hello2", own, "hello2", 0, "of another topic"));
    s_await_ack (peer, "hello2", 0, name);
    s_send (peer, s_message ('G', "hello", "s", own));
    s_expect_named (peer, "KL", s_position ('E', own, own, "hello", 10, NULL), name);
    s_send (peer, s_fetch (own, own, "hello", 1, 1));
    s_expect (peer, "KL", s_position ('D', own, own, "hello", 1, "record 1"));

    test_case ("CONSUMER-HELLO with a topic that is too long does no harm");
    char subject [1001];
    memset (subject, 't', sizeof (subject) - 1);
    subject [sizeof (subject) - 1] = 0;
    s_send (peer, s_message ('W', reader, "s4l", own, 1, subject));
    s_send_malformed (peer, s_message ('W', reader, "s4l", own, 1, "hello"));

    test_case ("the empty topic matches all topics");
    for (int round = 0; round < 2; round++) {
        s_send (peer, round == 0 ? s_message ('G', "", "s", own) : s_message ('W', reader, "s4l", own, 1, ""));
        zmsg_t *hello = s_position ('E', own, own, "hello", 10, NULL);
        zmsg_t *hello2 = s_position ('E', own, own, "hello2", 0, NULL);
        zmsg_t *first = s_receive (peer, "KL"), *second = s_receive (peer, "KL");
        CHECK ((s_equal_but_name (first, hello, name) && s_equal_but_name (second, hello2, name))
            || (s_equal_but_name (first, hello2, name) && s_equal_but_name (second, hello, name)));
        zmsg_destroy (&hello);
        zmsg_destroy (&hello2);
        zmsg_destroy (&first);
        zmsg_destroy (&second);
    }

    zstr_free (&reader);
    s_peer_destroy (&peer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------

static void
s_test_tower (const char *transport, bool everywhere)
{
    test_case ("a tower at %s%s announces the host of a node on its own host", transport, everywhere ? "://*" : "");
    zconfig_t *config = test_config (transport);
    char *host = strdup ("127.0.0.1");
    if (everywhere) {
        zconfig_putf (config, "tower/sub_address", "tcp://*%s",
                      strrchr (zconfig_get (config, "beacon/sub_address", ""), ':'));
        zconfig_putf (config, "tower/pub_address", "tcp://*%s",
                      strrchr (zconfig_get (config, "beacon/pub_address", ""), ':'));
    }
    //  Nodes on other hosts cannot reach 127.0.0.1. So a tower that they can reach announces one of its own interfaces.
    //  A tower at inproc addresses does the same, as in 0.1.0.
    if (everywhere || streq (transport, "inproc")) {
        ziflist_t *interfaces = ziflist_new ();
        if (ziflist_first (interfaces)) {
            freen (host);
            host = strdup (ziflist_address (interfaces));
        }
        ziflist_destroy (&interfaces);
    }
    zactor_t *tower = test_tower_new (config);
    zsock_t *sub = zsock_new_sub (NULL, "B");
    CHECK (zsock_connect (sub, "%s", zconfig_get (config, "beacon/pub_address", "")) == 0);
    zsock_t *pub = zsock_new_pub (NULL);
    CHECK (zsock_connect (pub, "%s", zconfig_get (config, "beacon/sub_address", "")) == 0);
    char *expected = zsys_sprintf ("tcp://%s:1234", host);
    //  Frames after the beacon's frames are dropped
    do
        CHECK (zstr_sendx (pub, "B", "UUID", "", "1234", "one", "more", NULL) == 0);
    while (!test_poll (sub, 20));
    zmsg_t *msg = zmsg_recv (sub);
    CHECK (zmsg_size (msg) == 3);
    char *id = zmsg_popstr (msg), *address = zmsg_popstr (msg), *endpoint = zmsg_popstr (msg);
    CHECK_STR (id, "B");
    CHECK_STR (address, "UUID");
    CHECK_STR (endpoint, expected);
    zstr_free (&id);
    zstr_free (&address);
    zstr_free (&endpoint);
    zstr_free (&expected);
    freen (host);
    zmsg_destroy (&msg);
    zsock_destroy (&pub);
    zsock_destroy (&sub);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------

static void
s_test_proto (void)
{
    zsock_t *ours = zsock_new_pair ("@inproc://quirks-proto");
    zsock_t *theirs = zsock_new_pair (">inproc://quirks-proto");
    dafka_proto_t *proto = dafka_proto_new ();
    zmsg_t *right = s_message ('K', "PART", "s8", "hello", (uint64_t) 7);

    test_case ("dafka_proto_recv refuses truncated messages, and keeps its fields");
    zmsg_t *msg = zmsg_dup (right);
    CHECK (zmsg_send (&msg, theirs) == 0);
    CHECK (dafka_proto_recv (proto, ours) == 0);
    for (size_t size = 0; size < zframe_size (zmsg_first (right)); size++) {
        CHECK (zsock_send (theirs, "b", zframe_data (zmsg_first (right)), size) == 0);
        CHECK (dafka_proto_recv (proto, ours) == -2);
        CHECK (dafka_proto_sequence (proto) == 7);
    }

    test_case ("dafka_proto_recv does not parse frames after a message as another message");
    msg = zmsg_dup (right);
    zframe_t *frame = zframe_dup (zmsg_first (right));
    zmsg_append (msg, &frame);
    CHECK (zmsg_send (&msg, theirs) == 0);
    CHECK (dafka_proto_recv (proto, ours) == -2);
    msg = s_message ('K', "PART", "s8", "hello", (uint64_t) 8);
    CHECK (zmsg_send (&msg, theirs) == 0);
    CHECK (dafka_proto_recv (proto, ours) == 0);
    CHECK (dafka_proto_sequence (proto) == 8);

    test_case ("octets after the fields are ignored");
    frame = zframe_new (NULL, zframe_size (zmsg_first (right)) + 5);
    memset (zframe_data (frame), 'x', zframe_size (frame));
    memcpy (zframe_data (frame), zframe_data (zmsg_first (right)), zframe_size (zmsg_first (right)));
    CHECK (zframe_send (&frame, theirs, 0) == 0);
    CHECK (dafka_proto_recv (proto, ours) == 0);
    CHECK (dafka_proto_sequence (proto) == 7);

    test_case ("strings longer than 255 bytes are cut");
    char text [301];
    memset (text, 't', sizeof (text) - 1);
    text [sizeof (text) - 1] = 0;
    dafka_proto_set_subject (proto, text);
    dafka_proto_set_address (proto, text);
    dafka_proto_set_topic (proto, text);
    CHECK (strlen (dafka_proto_subject (proto)) == 255);
    CHECK (strlen (dafka_proto_address (proto)) == 255);
    CHECK (strlen (dafka_proto_topic (proto)) == 255);

    test_case ("dafka_proto_subscribe subscribes to a prefix");
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    CHECK (zsock_bind (xpub, "inproc://quirks-xpub") == 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    CHECK (zsock_connect (sub, "inproc://quirks-xpub") == 0);
    dafka_proto_subscribe (sub, DAFKA_PROTO_HEAD, "hello");
    frame = zframe_recv (xpub);
    CHECK (zframe_size (frame) == 7 && memcmp (zframe_data (frame), "\1Hhello", 7) == 0);
    zframe_destroy (&frame);
    msg = s_position ('H', "hello2", "PART", "hello2", 3, NULL);
    CHECK (zmsg_send (&msg, xpub) == 0);
    CHECK (dafka_proto_recv (proto, sub) == 0);
    CHECK_STR (dafka_proto_topic (proto), "hello2");

    zmsg_destroy (&right);
    dafka_proto_destroy (&proto);
    zsock_destroy (&sub);
    zsock_destroy (&xpub);
    zsock_destroy (&theirs);
    zsock_destroy (&ours);
}

int
main (void)
{
    test_begin ("test_quirks", 120);
    s_test_proto ();
    s_test_tower ("inproc", false);
    s_test_tower ("tcp", false);
    s_test_tower ("tcp", true);
    s_test_consumer_earliest ();
    s_test_consumer_latest ();
    s_test_producer ();
    s_test_store ();
    return test_end ();
}
