//  The CZMQ functions that the library calls, declared as in src/czmq/sys.rs. This file includes czmq.h first. So the
//  compiler refuses a declaration that differs from CZMQ's. There is no other test in this file. tests/tidy.rs compares
//  the names with the names in src/czmq/sys.rs.

#include <czmq.h>

//  In Rust, int is c_int, size_t is usize, byte * is *mut u8, and char is c_char.
extern volatile int zsys_interrupted;

void *zsys_init (void);
void zsys_handler_set (zsys_handler_fn *handler_fn);
void *zsys_socket (int type, const char *filename, size_t line_nbr);
int zsys_close (void *handle, const char *filename, size_t line_nbr);
zsock_t *zsys_create_pipe (zsock_t **backend_p);
size_t zsys_pipehwm (void);
size_t zsys_socket_limit (void);
const char *zsys_interface (void);
int zsys_ipv6 (void);
void zsys_set_logstream (FILE *stream);
void zsys_error (const char *format, ...);
void zsys_warning (const char *format, ...);
void zsys_info (const char *format, ...);
void zsys_debug (const char *format, ...);

void *zsock_resolve (void *self);
zsock_t *zsock_new_checked (int type, const char *filename, size_t line_nbr);
int zsock_brecv (void *self, const char *picture, ...);
//  czmq.h has a macro of this name for its callers.
#undef zsock_destroy
void zsock_destroy (zsock_t **self_p);

zactor_t *zactor_new (zactor_fn task, void *args);
void zactor_destroy (zactor_t **self_p);

zconfig_t *zconfig_new (const char *name, zconfig_t *parent);
zconfig_t *zconfig_load (const char *filename);
void zconfig_destroy (zconfig_t **self_p);
void zconfig_put (zconfig_t *self, const char *path, const char *value);
char *zconfig_get (zconfig_t *self, const char *path, const char *default_value);
zconfig_t *zconfig_locate (zconfig_t *self, const char *path);
zconfig_t *zconfig_child (zconfig_t *self);
zconfig_t *zconfig_next (zconfig_t *self);
char *zconfig_name (zconfig_t *self);
char *zconfig_value (zconfig_t *self);

zframe_t *zframe_new (const void *data, size_t size);
void zframe_destroy (zframe_t **self_p);
int zframe_send (zframe_t **self_p, void *dest, int flags);
zframe_t *zframe_dup (zframe_t *self);
size_t zframe_size (zframe_t *self);
byte *zframe_data (zframe_t *self);

zlist_t *zlist_new (void);
void zlist_destroy (zlist_t **self_p);
void zlist_autofree (zlist_t *self);
void *zlist_first (zlist_t *self);
void *zlist_next (zlist_t *self);
int zlist_append (zlist_t *self, void *item);
void zlist_remove (zlist_t *self, void *item);

ziflist_t *ziflist_new (void);
void ziflist_destroy (ziflist_t **self_p);
const char *ziflist_first (ziflist_t *self);
const char *ziflist_address (ziflist_t *self);
