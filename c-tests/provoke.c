/*  =========================================================================
    provoke - makes errors that valgrind or the sanitizers must detect, with memory that the library has allocated;
    ctest checks that they do

    usage: provoke overflow | use-after-free | leak | undefined
    =========================================================================
*/

#include <dafka.h>

int
main (int argc, char **argv)
{
    const char *what = argc == 2 ? argv [1] : "";
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    if (!msg || dafka_producer_msg_init_content (msg, 1000))
        return 1;
    //  const, since programs should only read it
    byte *content = (byte *) dafka_producer_msg_content (msg);

    if (streq (what, "overflow"))
        content [1000] = 1;
    else
    if (streq (what, "use-after-free")) {
        dafka_producer_msg_destroy (&msg);
        content [0] = 1;
    }
    else
    if (streq (what, "leak")) {
        content = NULL;
        msg = NULL;
    }
    else
    if (streq (what, "undefined")) {
        int number = INT_MAX - 1 + argc;
        printf ("%d\n", number);
    }
    else {
        fprintf (stderr, "usage: provoke overflow | use-after-free | leak | undefined\n");
        return 1;
    }
    dafka_producer_msg_destroy (&msg);
    return 0;
}
