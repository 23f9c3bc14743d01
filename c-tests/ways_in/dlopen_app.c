/*  =========================================================================
    dlopen_app - the library loaded at run time: publishes and reads a record, then unloads it

    usage: dlopen_app FILE
    =========================================================================
*/

#include <dlfcn.h>
#include <czmq.h>

//  Declared as in dafka.h, which this program does not need
typedef struct { const char *topic; zconfig_t *config; } producer_args_t;
typedef struct { zconfig_t *config; zsock_t *record_sink; } consumer_args_t;

static void *s_library;

//  ISO C does not convert a data pointer into a function pointer, so copy the bytes of the pointer
static void
s_find (const char *name, void *function, size_t size)
{
    void *symbol = dlsym (s_library, name);
    if (!symbol) {
        printf ("dlopen_app: no %s\n", name);
        exit (1);
    }
    assert (size == sizeof symbol);
    memcpy (function, &symbol, size);
}

#define FIND(name) s_find (#name, &name, sizeof name)

int
main (int argc, char *argv [])
{
    zactor_fn *dafka_tower_actor, *dafka_producer;
    void *(*dafka_producer_msg_new) (void), *(*dafka_consumer_msg_new) (void);
    void (*dafka_producer_msg_destroy) (void **), (*dafka_consumer_msg_destroy) (void **);
    int (*dafka_producer_msg_set_content_str) (void *, const char *);
    int (*dafka_producer_msg_send) (void *, zactor_t *);
    void *(*dafka_consumer_new) (consumer_args_t *);
    void (*dafka_consumer_destroy) (void **);
    int (*dafka_consumer_subscribe) (void *, const char *);
    int (*dafka_consumer_msg_recv) (void *, void *);
    bool (*dafka_consumer_msg_streq) (void *, const char *);

    s_library = argc == 2 ? dlopen (argv [1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!s_library) {
        printf ("dlopen_app: %s\n", argc == 2 ? dlerror () : "usage: dlopen_app FILE");
        return 1;
    }
    FIND (dafka_tower_actor);
    FIND (dafka_producer);
    FIND (dafka_producer_msg_new);
    FIND (dafka_producer_msg_destroy);
    FIND (dafka_producer_msg_set_content_str);
    FIND (dafka_producer_msg_send);
    FIND (dafka_consumer_new);
    FIND (dafka_consumer_destroy);
    FIND (dafka_consumer_subscribe);
    FIND (dafka_consumer_msg_new);
    FIND (dafka_consumer_msg_destroy);
    FIND (dafka_consumer_msg_recv);
    FIND (dafka_consumer_msg_streq);

    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "inproc://app-tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://app-tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://app-tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://app-tower-pub");
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    producer_args_t producer_args = { "way", config };
    zactor_t *producer = zactor_new (dafka_producer, &producer_args);
    consumer_args_t consumer_args = { config, NULL };
    void *consumer = dafka_consumer_new (&consumer_args);
    int rc = dafka_consumer_subscribe (consumer, "way");

    void *sent = dafka_producer_msg_new ();
    if (rc == 0)
        rc = dafka_producer_msg_set_content_str (sent, "in");
    if (rc == 0)
        rc = dafka_producer_msg_send (sent, producer);
    void *received = dafka_consumer_msg_new ();
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
    if (rc == 0)
        rc = dlclose (s_library);
    puts (rc == 0 ? "dlopen_app: OK" : "dlopen_app: failed");
    return rc == 0 ? 0 : 1;
}
