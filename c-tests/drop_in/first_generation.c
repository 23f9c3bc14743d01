/*  =========================================================================
    first_generation - a publisher, a store and a subscriber, with functions and with commands on the actors' pipes
    =========================================================================
*/

#include "drop_in.h"

int
main (void)
{
    BEGIN ();
    zconfig_t *config = network_config ();
    char *directory = store_directory (config);
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (tower && store);

    //  The caller owns the arguments, and frees them after zactor_new has returned.
    char *topic = strdup ("weather");
    char *zpl = zconfig_str_save (config);
    zconfig_t *copy = zconfig_str_load (zpl);
    zstr_free (&zpl);
    dafka_publisher_args_t *args = (dafka_publisher_args_t *) malloc (sizeof (dafka_publisher_args_t));
    args->topic = topic;
    args->config = copy;
    zactor_t *publisher = zactor_new (dafka_publisher_actor, args);
    CHECK (publisher);
    memset (topic, 'x', strlen (topic));
    free (topic);
    memset (args, 0xFF, sizeof (dafka_publisher_args_t));
    free (args);
    zconfig_destroy (&copy);

    char *address = strdup (dafka_publisher_address (publisher));
    CHECK (strlen (address) == 32);
    zactor_t *subscriber = zactor_new (dafka_subscriber_actor, config);
    CHECK (subscriber);
    zconfig_destroy (&config);

    int number;
    for (number = 0; number < 50; number++) {
        char text [32];
        snprintf (text, sizeof (text), "record %d", number);
        zframe_t *frame = zframe_new (text, strlen (text));
        CHECK (dafka_publisher_publish (publisher, &frame) == 0);
        CHECK (!frame);
    }
    //  The command that the function sends
    zframe_t *by_hand = zframe_new ("by hand", 7);
    CHECK (zstr_sendm (publisher, "PUBLISH") == 0);
    CHECK (zsock_bsend (publisher, "p", by_hand) == 0);
    zframe_t *empty = zframe_new (NULL, 0);
    CHECK (dafka_publisher_publish (publisher, &empty) == 0);

    //  An unknown command is logged, and ignored.
    zstr_send (publisher, "NONSENSE");
    zstr_send (subscriber, "NONSENSE");
    CHECK (zstr_send (publisher, "GET ADDRESS") == 0);
    void *answer = NULL;
    CHECK (zsock_brecv (publisher, "p", &answer) == 0);
    CHECK (streq ((char *) answer, address));

    //  A subscriber reads from the first record on.
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", "weather") == 0);
    for (number = 0; number < 52; number++) {
        char *subject, *partition;
        zframe_t *content;
        CHECK (zsock_brecv (subscriber, "ssf", &subject, &partition, &content) == 0);
        CHECK (streq (subject, "weather"));
        CHECK (streq (partition, address));
        char text [32];
        snprintf (text, sizeof (text), "record %d", number);
        CHECK (zframe_streq (content, number < 50 ? text : number == 50 ? "by hand" : ""));
        zframe_destroy (&content);
    }
    CHECK (zsock_send (subscriber, "ss", "UNSUBSCRIBE", "weather") == 0);
    zactor_destroy (&publisher);
    CHECK (dafka_subscriber_subscribe (subscriber, "other") == 0);
    CHECK (dafka_subscriber_subscribe (subscriber, NULL) == -1);
    zactor_destroy (&subscriber);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    remove_directory (&directory);
    free (address);
    puts ("first_generation: OK");
    return 0;
}
