/* What the tests of health checks share: one fw_health on the test's loop, and waiting for it. */
#ifndef HEALTHT_H
#define HEALTHT_H

#include "fwt.h"

#include <fairway/health.h>

extern fw_health *healtht;
extern size_t healtht_changes;

/* Makes it: fast, unhealthy after one failure and healthy after one success unless options say
 * otherwise. */
void healtht_begin(const fw_health_options *options);
/* Has "svc/ID" at an address asked as metadata says (NULL: as the options say). */
void healtht_add(const char *id, const char *net, const char *addr, const char *metadata);
/* The same at 127.0.0.1. */
void healtht_add_port(const char *id, int port, const char *metadata);
fw_health_status healtht_get(const char *id);
/* Runs the loop until it is in that state. */
void healtht_wait(const char *id, fw_health_state state);
/* Runs the loop until the last probe has ended so. */
void healtht_wait_reason(const char *id, int reason);
void healtht_end(void);
/* Lets this process open nothing more until a probe has failed for it; fails the test if that says
 * something of an instance, which must be healthy. */
void healtht_starve(const char *id);
/* True if a library is mapped into this process. */
bool healtht_is_mapped(const char *library);

#endif
