/* What the tests of the Redis driver share beside storet.h: opening, and redis-cli for what must be
 * done from outside. */
#ifndef REDIST_H
#define REDIST_H

#include "storet.h"

/* Opens redis://127.0.0.1:PORT/PATH. */
fw_kv *redist_open(int port, const char *path, unsigned timeout_ms);
fw_kv *redist_open_as(int port, const char *path, const fw_kv_options *options);
/* Runs redis-cli with the arguments (NULL-terminated) and returns its output, valid until the next.
 */
const char *redist_cli(int port, ...);

#endif
