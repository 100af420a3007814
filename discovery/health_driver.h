/*
 * How the instances are asked: one driver for each type of check. TCP and PING are linked in; HTTP
 * and GRPC are modules of their own, `health_<type>.so`, loaded when the first such check is due.
 */
#ifndef FWI_HEALTH_DRIVER_H
#define FWI_HEALTH_DRIVER_H

#include "probe.h"

#include <fairway/health.h>

#define FWI_HEALTH_DETAIL_BYTES 256
#define FWI_HEALTH_TYPES        (FW_HEALTH_PING + 1)

/* One question. Lent until start returns, but for the detail. */
typedef struct fwi_health_question {
    const fw_instance *instance;
    const fw_health_check *check; /* valid, the defaults filled in */
    uint32_t timeout_ms;
    /* FW_OK: it is well; else as fw_health_status.reason. On the loop, once, after start has
     * returned. */
    fwi_probe_fn fn;
    void *arg;
    /* FWI_HEALTH_DETAIL_BYTES, for more words about a failure; to be written right before fn is
     * called. */
    char *detail;
} fwi_health_question;

typedef struct fwi_health_driver {
    /* Makes what the probes of one loop share. UV_ENOMEM, UV_EAGAIN, FW_EUNSUPPORTED. */
    int (*open)(fw_loop *loop, void **ret_shared);
    /* All probes have ended, or were canceled. on_closed(arg) comes when nothing of them lives on
     * the loop any more, at the earliest before this returns. */
    void (*close)(void *shared, void (*on_closed)(void *arg), void *arg);
    /* Starts a probe. FW_EURL, FW_ESCHEME: no address that can be asked so; UV_ENOMEM. */
    int (*start)(void *shared, const fwi_health_question *question, void **ret_probe);
    /* fn does not run any more. Not after it has run. */
    void (*cancel)(void *probe);
} fwi_health_driver;

/* What a module exports. */
#define FWI_HEALTH_SYMBOL "fwi_health_module_driver"
extern FW_API const fwi_health_driver fwi_health_module_driver;

extern const fwi_health_driver fwi_health_tcp, fwi_health_ping;

/* As fw_health_new, with these drivers (by type, FWI_HEALTH_TYPES of them) instead of the real
 * ones; for simulations. */
FW_MUST_CHECK int fwi_health_new(fw_loop *loop, const fw_health_options *options,
                                 const fwi_health_driver *const *drivers, fw_health **ret_health);

#endif
