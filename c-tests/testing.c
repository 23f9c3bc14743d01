/*  =========================================================================
    testing - helpers of the C tests
    =========================================================================
*/

#define _XOPEN_SOURCE 700       //  mkdtemp, nftw, sigaction

#include "testing.h"
#include <dirent.h>
#include <ftw.h>

static const char *s_name = "test";
static char s_case [256] = "";
static volatile size_t s_number = SIZE_MAX;     //  Number of a record; SIZE_MAX is none
static char s_dir [1024] = "";
static int s_paths = 0;
static char s_log_path [1100] = "";
static FILE *s_log = NULL;                      //  Open until the process ends, since threads may write to it
static long s_log_start = -1;                   //  Where this part of the log begins; -1: the log goes to stderr


//  --------------------------------------------------------------------------
//  CZMQ's log

void
test_log_begin (void)
{
    CHECK (s_log_start == -1);
    if (!s_log) {
        snprintf (s_log_path, sizeof (s_log_path), "%s/log", s_dir);
        s_log = fopen (s_log_path, "a");
        CHECK (s_log);
    }
    CHECK (fseek (s_log, 0, SEEK_END) == 0);
    s_log_start = ftell (s_log);
    CHECK (s_log_start >= 0);
    zsys_set_logstream (s_log);
}

//  Searches the log. Without level and text, prints it.

static bool
s_log_read (const char *level, const char *text, const char *text2)
{
    FILE *file = fopen (s_log_path, "r");
    CHECK (file && fseek (file, s_log_start, SEEK_SET) == 0);
    bool found = false;
    char *line = NULL;
    size_t size = 0;
    while (!found && getline (&line, &size, file) >= 0) {
        if (!text)
            fputs (line, stderr);
        else
            found = (!level || strncmp (line, level, strlen (level)) == 0)
                 && strstr (line, text) && (!text2 || strstr (line, text2));
    }
    free (line);
    fclose (file);
    return found;
}

bool
test_log_has (const char *level, const char *text, const char *text2)
{
    CHECK (s_log_start >= 0 && text);
    return s_log_read (level, text, text2);
}

void
test_log_await (const char *level, const char *text, const char *text2)
{
    while (!test_log_has (level, text, text2))
        zclock_sleep (5);
}

void
test_log_end (void)
{
    CHECK (s_log_start >= 0);
    zsys_set_logstream (stderr);
    s_log_read (NULL, NULL, NULL);
    s_log_start = -1;
}


//  --------------------------------------------------------------------------
//  Start and end

//  Prints the current case in one line. Calls only functions that a signal handler may call.

static void
s_print_where (const char *what)
{
    char number [24];
    char *digit = number + sizeof (number);
    *--digit = 0;
    size_t rest = s_number;
    do
        *--digit = (char) ('0' + rest % 10);
    while (rest /= 10);

    bool counting = s_number != SIZE_MAX;
    const char *parts [] = {
        s_name, what, *s_case ? s_case : "(start)", counting ? ", at record " : "", counting ? digit : "",
        "; files: ", s_dir, "\n"
    };
    for (size_t part = 0; part < sizeof (parts) / sizeof (parts [0]); part++)
        if (write (STDERR_FILENO, parts [part], strlen (parts [part])) < 0)
            break;
}

static void
s_watchdog (int signal_number)
{
    (void) signal_number;
    s_print_where (": hangs in: ");
    _exit (1);
}

void
test_fail (const char *file, int line, const char *text)
{
    fflush (stdout);
    fprintf (stderr, "%s:%d: %s\n", file, line, text);
    if (s_log_start >= 0) {
        FILE *file = fopen (s_log_path, "r");
        int character;
        if (file && fseek (file, s_log_start, SEEK_SET) == 0)
            while ((character = fgetc (file)) != EOF)
                fputc (character, stderr);
    }
    fflush (stderr);
    s_print_where (": failed in: ");
    //  Not exit: CZMQ's exit handler would wait for running actors.
    _exit (1);
}

void
test_check_str (const char *file, int line, const char *expression, const char *actual, const char *expected)
{
    if (actual && streq (actual, expected))
        return;
    char text [1024];
    snprintf (text, sizeof (text), "check failed: %s is %s%.300s%s, expected \"%.300s\"",
              expression, actual ? "\"" : "", actual ? actual : "NULL", actual ? "\"" : "", expected);
    test_fail (file, line, text);
}

void
test_begin (const char *name, int timeout_s)
{
    s_name = name;

    //  A loaded machine may pause for a while. ctest ends a test after 360 s.
    if (timeout_s < 330)
        timeout_s = 330;
    const char *seconds = getenv ("DAFKA_TEST_TIMEOUT");
    if (seconds && atoi (seconds) > 0)
        timeout_s = atoi (seconds);

    struct sigaction action;
    memset (&action, 0, sizeof (action));
    action.sa_handler = s_watchdog;
    CHECK (sigaction (SIGALRM, &action, NULL) == 0);
    alarm ((unsigned int) timeout_s);

    const char *tmp = getenv ("TMPDIR");
    char *root = realpath (tmp && *tmp ? tmp : "/tmp", NULL);
    CHECK (root);
    snprintf (s_dir, sizeof (s_dir), "%s/dafka-%s-XXXXXX", root, name);
    free (root);
    CHECK (mkdtemp (s_dir));

    zsys_init ();
    zsys_set_logstream (stderr);
    zsys_set_logident (name);
}

void
test_case (const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    vsnprintf (s_case, sizeof (s_case), format, arguments);
    va_end (arguments);
    s_number = SIZE_MAX;
    if (getenv ("DAFKA_TEST_VERBOSE"))
        fprintf (stderr, "%s: %s\n", s_name, s_case);
}

void
test_at (size_t number)
{
    s_number = number;
}

static int
s_remove (const char *path, const struct stat *status, int type, struct FTW *level)
{
    (void) status, (void) type, (void) level;
    return remove (path);
}

void
test_await_actors (void)
{
    size_t others;
    do {
        others = 0;
        DIR *dir = opendir ("/proc/self/task");
        CHECK (dir);
        for (struct dirent *entry = readdir (dir); entry; entry = readdir (dir)) {
            if (entry->d_name [0] == '.' || atoi (entry->d_name) == (int) getpid ())
                continue;
            char path [64], name [32] = "";
            snprintf (path, sizeof (path), "/proc/self/task/%.20s/comm", entry->d_name);
            FILE *file = fopen (path, "r");
            if (!file)
                continue;                       //  It has just ended
            if (fgets (name, sizeof (name), file) && !strstr (name, "ZMQbg/"))
                others++;
            fclose (file);
        }
        closedir (dir);
        if (others)
            zclock_sleep (5);
    } while (others);
}

int
test_end (void)
{
    //  CZMQ closes sockets that the program left open, and logs that.
    test_case ("closing all");
    test_await_actors ();
    FILE *log = tmpfile ();
    CHECK (log);
    zsys_set_logstream (log);
    zsys_shutdown ();

    bool clean = true;
    char line [512];
    rewind (log);
    while (fgets (line, sizeof (line), log)) {
        fputs (line, stderr);
        if (strstr (line, "dangling"))
            clean = false;
    }
    //  The log stays open, since CZMQ writes to it until the process ends.
    CHECK (clean && "every socket is closed at the end");

    CHECK (nftw (s_dir, s_remove, 16, FTW_DEPTH | FTW_PHYS) == 0);
    test_case ("exit");         //  The watchdog also covers the handlers that run at exit
    printf (" * %s: OK\n", s_name);
    fflush (stdout);
    return 0;
}

const char *
test_dir (void)
{
    return s_dir;
}

char *
test_new_path (const char *prefix)
{
    return zsys_sprintf ("%s/%s-%d", s_dir, prefix, ++s_paths);
}

bool
test_in_valgrind (void)
{
    const char *preloaded = getenv ("LD_PRELOAD");
    return preloaded && strstr (preloaded, "vgpreload");
}

size_t
test_count_entries (const char *path)
{
    size_t count = 0;
    DIR *dir = opendir (path);
    CHECK (dir);
    while (readdir (dir))
        count++;
    closedir (dir);
    return count;
}

size_t
test_scale (size_t count, size_t minimum)
{
    const char *percent = getenv ("DAFKA_TEST_SCALE");
    if (percent && *percent)
        count = count * (size_t) strtoul (percent, NULL, 10) / 100;
    return count > minimum ? count : minimum;
}


//  --------------------------------------------------------------------------
//  Addresses

int
test_listen (int port)
{
    int handle = socket (AF_INET, SOCK_STREAM, 0);
    CHECK (handle >= 0);
    //  As ZeroMQ: ignore old connections (TIME_WAIT), but not another listener.
    int on = 1;
    setsockopt (handle, SOL_SOCKET, SO_REUSEADDR, &on, sizeof (on));

    struct sockaddr_in address;
    memset (&address, 0, sizeof (address));
    address.sin_family = AF_INET;
    address.sin_port = htons ((uint16_t) port);
    address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
    if (bind (handle, (struct sockaddr *) &address, sizeof (address)) == 0
    &&  listen (handle, 1) == 0)
        return handle;
    close (handle);
    return -1;
}

int
test_free_port (void)
{
    static int next = -1;
    if (next == -1)
        next = (int) (getpid () % 500) * 20;
    //  The Rust tests, which may run at the same time, use ports below 20,000 (tests/common/e2e/ports.rs).
    for (int attempt = 0; attempt < 10000; attempt++) {
        int port = 20000 + next;
        next = (next + 1) % 10000;
        if (port == 25556 || port == 25557)     //  Used by the first example
            continue;
        int handle = test_listen (port);
        if (handle >= 0) {
            close (handle);
            return port;
        }
    }
    test_fail (__FILE__, __LINE__, "no free port");
}

void
test_await_unbound (const char *endpoint)
{
    const char *colon = strrchr (endpoint, ':');
    CHECK (colon);
    int handle = test_listen (atoi (colon + 1));
    while (handle < 0) {
        zclock_sleep (10);
        handle = test_listen (atoi (colon + 1));
    }
    close (handle);
}

zconfig_t *
test_config (const char *transport)
{
    static int networks = 0;
    char *sub_address, *pub_address;
    if (streq (transport, "tcp")) {
        sub_address = zsys_sprintf ("tcp://127.0.0.1:%d", test_free_port ());
        pub_address = zsys_sprintf ("tcp://127.0.0.1:%d", test_free_port ());
    }
    else {
        CHECK (streq (transport, "inproc"));
        networks++;
        sub_address = zsys_sprintf ("inproc://%s-%d-tower-sub", s_name, networks);
        pub_address = zsys_sprintf ("inproc://%s-%d-tower-pub", s_name, networks);
    }
    char *db = test_new_path ("storedb");

    zconfig_t *config = zconfig_new ("root", NULL);
    CHECK (config);
    zconfig_put (config, "tower/sub_address", sub_address);
    zconfig_put (config, "tower/pub_address", pub_address);
    zconfig_put (config, "beacon/sub_address", sub_address);
    zconfig_put (config, "beacon/pub_address", pub_address);
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "beacon/interval", "50");
    zconfig_put (config, "beacon/connect_timeout", "10000");
    zconfig_put (config, "producer/head_interval", "50");
    zconfig_put (config, "store/db", db);
    if (getenv ("DAFKA_TEST_VERBOSE")) {
        zconfig_put (config, "tower/verbose", "1");
        zconfig_put (config, "beacon/verbose", "1");
        zconfig_put (config, "producer/verbose", "1");
        zconfig_put (config, "consumer/verbose", "1");
        zconfig_put (config, "store/verbose", "1");
    }
    zstr_free (&sub_address);
    zstr_free (&pub_address);
    zstr_free (&db);
    return config;
}

zconfig_t *
test_config_without_store (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    return config;
}

zconfig_t *
test_config_copy (zconfig_t *config)
{
    char *text = zconfig_str_save (config);
    CHECK (text);
    zconfig_t *copy = zconfig_str_load (text);
    CHECK (copy);
    zstr_free (&text);
    return copy;
}

void
test_spoil_str (char **string_p)
{
    memset (*string_p, 0xA5, strlen (*string_p));
    zstr_free (string_p);
}

static void
s_overwrite_config (zconfig_t *config)
{
    for (zconfig_t *child = zconfig_child (config); child; child = zconfig_next (child))
        s_overwrite_config (child);
    if (zconfig_value (config))
        memset (zconfig_value (config), 0xA5, strlen (zconfig_value (config)));
    if (zconfig_name (config))
        memset (zconfig_name (config), 0xA5, strlen (zconfig_name (config)));
}

void
test_spoil_config (zconfig_t **config_p)
{
    s_overwrite_config (*config_p);
    zconfig_destroy (config_p);
}


//  --------------------------------------------------------------------------
//  Nodes

static zactor_t *
s_actor_new (zactor_fn task, void *args)
{
    zactor_t *actor = zactor_new (task, args);
    CHECK (actor);
    return actor;
}

zactor_t *
test_tower_new (zconfig_t *config)
{
    return s_actor_new (dafka_tower_actor, config);
}

zactor_t *
test_store_new (zconfig_t *config)
{
    return s_actor_new (dafka_store_actor, config);
}

zactor_t *
test_producer_new (const char *topic, zconfig_t *config)
{
    dafka_producer_args_t args = { topic, config };
    return s_actor_new (dafka_producer, &args);
}

zactor_t *
test_publisher_new (const char *topic, zconfig_t *config)
{
    dafka_publisher_args_t args = { topic, config };
    return s_actor_new (dafka_publisher_actor, &args);
}

zactor_t *
test_subscriber_new (zconfig_t *config)
{
    return s_actor_new (dafka_subscriber_actor, config);
}

dafka_consumer_t *
test_consumer_new (const char *topic, zconfig_t *config)
{
    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    CHECK (consumer);
    if (topic)
        CHECK (dafka_consumer_subscribe (consumer, topic) == 0);
    return consumer;
}

void
test_send (zactor_t *producer, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    char *content = zsys_vprintf (format, arguments);
    va_end (arguments);

    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (msg);
    CHECK (dafka_producer_msg_set_content_str (msg, content) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    dafka_producer_msg_destroy (&msg);
    zstr_free (&content);
}

void
test_publish (zactor_t *publisher, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    char *content = zsys_vprintf (format, arguments);
    va_end (arguments);

    zframe_t *frame = zframe_from (content);
    CHECK (frame);
    CHECK (dafka_publisher_publish (publisher, &frame) == 0);
    CHECK (frame == NULL);
    zstr_free (&content);
}

bool
test_poll (void *reader, int timeout_ms)
{
    zpoller_t *poller = zpoller_new (reader, NULL);
    CHECK (poller);
    bool readable = zpoller_wait (poller, timeout_ms) == reader;
    zpoller_destroy (&poller);
    return readable;
}

void
test_recv (dafka_consumer_t *consumer, const char *subject, const char *address, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    char *content = zsys_vprintf (format, arguments);
    va_end (arguments);

    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (msg);
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    if (subject)
        CHECK_STR (dafka_consumer_msg_subject (msg), subject);
    if (address)
        CHECK_STR (dafka_consumer_msg_address (msg), address);
    char *text = dafka_consumer_msg_strdup (msg);
    CHECK_STR (text, content);
    CHECK (dafka_consumer_msg_content_size (msg) == strlen (content));
    zstr_free (&text);
    zstr_free (&content);
    dafka_consumer_msg_destroy (&msg);
}

char *
test_recv_text (dafka_consumer_t *consumer)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (msg);
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    char *text = dafka_consumer_msg_strdup (msg);
    CHECK (text);
    dafka_consumer_msg_destroy (&msg);
    return text;
}


void
test_recv_from (zactor_t *subscriber, const char *subject, const char *address, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    char *expected = zsys_vprintf (format, arguments);
    va_end (arguments);

    char *topic, *partition;
    zframe_t *content;
    CHECK (zsock_brecv (subscriber, "ssf", &topic, &partition, &content) == 0);
    if (subject)
        CHECK_STR (topic, subject);
    if (address)
        CHECK_STR (partition, address);
    char *text = zframe_strdup (content);
    CHECK_STR (text, expected);
    CHECK (zframe_size (content) == strlen (expected));
    zstr_free (&text);
    zstr_free (&expected);
    zframe_destroy (&content);
}

static void
s_interrupter (zsock_t *pipe, void *args)
{
    (void) args;
    zpoller_t *poller = zpoller_new (pipe, NULL);
    CHECK (poller);
    zpoller_set_nonstop (poller, true);     //  This thread ignores the interrupts
    zsock_signal (pipe, 0);
    while (zpoller_wait (poller, 20) != pipe)
        CHECK (kill (getpid (), SIGINT) == 0);
    char *command = zstr_recv (pipe);
    CHECK_STR (command, "QUIET");
    zstr_free (&command);
    zsock_signal (pipe, 0);
    while (zpoller_wait (poller, -1) != pipe)
        ;
    zpoller_destroy (&poller);
}

zactor_t *
test_interrupter_new (void)
{
    return s_actor_new (s_interrupter, NULL);
}

//  zactor_destroy must not be interrupted, so the signals stop first.

void
test_interrupter_destroy (zactor_t **interrupter_p)
{
    CHECK (zstr_send (*interrupter_p, "QUIET") == 0);
    while (zsock_wait (*interrupter_p) == -1)
        ;
    zactor_destroy (interrupter_p);
}


//  --------------------------------------------------------------------------
//  Contents

//  Bytes 8*block .. 8*block+7 for that seed (splitmix64)

static uint64_t
s_block (uint64_t seed, uint64_t block)
{
    uint64_t value = seed * UINT64_C (0x9E3779B97F4A7C15) + block * UINT64_C (0xD1B54A32D192ED03);
    value = (value ^ (value >> 30)) * UINT64_C (0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C (0x94D049BB133111EB);
    return value ^ (value >> 31);
}

void
test_fill (byte *buffer, size_t size, uint64_t seed)
{
    for (size_t start = 0; start < size; start += 8) {
        uint64_t value = s_block (seed, start / 8);
        memcpy (buffer + start, &value, size - start < 8 ? size - start : 8);
    }
}

bool
test_filled (const byte *buffer, size_t size, uint64_t seed)
{
    for (size_t start = 0; start < size; start += 8) {
        uint64_t value = s_block (seed, start / 8);
        if (memcmp (buffer + start, &value, size - start < 8 ? size - start : 8))
            return false;
    }
    return true;
}
