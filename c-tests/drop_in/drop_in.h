/*  =========================================================================
    drop_in - what the drop-in programs share

    These programs are written from the reference of libdafka 0.1.0 alone, without a look at our code. With DROP_IN they
    include the interface of 0.1.0 in place of our dafka.h.
    =========================================================================
*/

#ifndef DROP_IN_H_INCLUDED
#define DROP_IN_H_INCLUDED

#ifdef DROP_IN
#   include "libdafka_0_1.h"
#   ifdef DAFKA_H_INCLUDED
#       error "this is to be compiled without our dafka.h"
#   endif
#else
#   include <dafka.h>
#endif

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf (stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
            abort (); \
        } \
    } while (0)

//  The watchdog ends a program that hangs.
#define BEGIN() alarm (300)

//  A network inside the process, without a store

static inline zconfig_t *
network_config (void)
{
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "beacon/interval", "50");
    zconfig_put (config, "producer/head_interval", "50");
    return config;
}

//  A directory for the program's store

static inline char *
store_directory (zconfig_t *config)
{
    const char *parent = getenv ("TMPDIR");
    char *directory = zsys_sprintf ("%s/dafka-drop-in-XXXXXX", parent ? parent : "/tmp");
    CHECK (mkdtemp (directory) == directory);
    zconfig_put (config, "store/db", directory);
    return directory;
}

static inline void
remove_directory (char **directory_p)
{
    zdir_t *directory = zdir_new (*directory_p, NULL);
    zdir_remove (directory, true);
    zdir_destroy (&directory);
    zstr_free (directory_p);
}

#endif
