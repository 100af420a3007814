/*
 * How leases are renewed (their time: kvstore/etcd_core/lease.c): a third of their time after the
 * last renewal that the store confirmed, a little earlier by chance, so that clients which started
 * together do not stay together; but at moments that all leases of a client have in common, so that
 * many are renewed in one go.
 *
 *     0          1/3 of the time          2/3                       the end
 *     confirmed  asked on the stream      no answer: a silent       lost
 *                (keep_alive.c)           stream is given up, and
 *                                         a request of its own asks, too
 *
 * The request (request.c) is for the case that a stream cannot be had at all, or is kept back by
 * something between us and the server, and goes through every endpoint; it may go on trying to the
 * end.
 */
#include "streams.h"

#include <fairway/error.h>

#include "base/random.h"

#define JITTER  30 /* parts of the time by one of which a renewal comes earlier */
#define MOMENTS 60 /* in the time, at which renewals are asked */

static fwi_etcd_lease *lease_of(fwi_ec_lease *core)
{
    return fwi_container_of(core, fwi_etcd_lease, core);
}

static fwi_etcd_client *client_of(const fwi_ec_lease *core)
{
    return (fwi_etcd_client *)core->store;
}

static void on_renewed(fwi_etcd_renewal *renewal, int64_t ttl_s, void *arg)
{
    fwi_ec_lease_confirm(arg, ttl_s, renewal->asked_ms);
}

void fwi_etcd_lease_begin(fwi_ec_lease *core)
{
    fwi_etcd_renewal_init(client_of(core), &lease_of(core)->renewal, core->id, on_renewed, core);
}

void fwi_etcd_lease_end(fwi_ec_lease *core)
{
    fwi_etcd_renewal_fini(client_of(core), &lease_of(core)->renewal);
}

uint64_t fwi_etcd_lease_confirmed(fwi_ec_lease *core)
{
    fwi_etcd_renewal_withdraw(&lease_of(core)->renewal);
    uint64_t due = core->confirmed_ms + core->ttl_ms / 3 - fwi_random_below(core->ttl_ms / JITTER);
    return due - due % (core->ttl_ms / MOMENTS);
}

void fwi_etcd_lease_due(fwi_ec_lease *core)
{
    fwi_etcd_client *client = client_of(core);
    fwi_etcd_renewal *renewal = &lease_of(core)->renewal;
    uint64_t limit_ms = core->ttl_ms / 3;
    if (!renewal->is_asked) {
        fwi_etcd_renewal_ask(client, renewal);
        fwi_ec_lease_set_timer(core, fw_loop_now_ms(client->core.loop) + limit_ms);
        return;
    }
    fwi_etcd_renewal_overdue(client, limit_ms);
    /* If it cannot be asked, the stream may still do it. */
    (void)fwi_ec_lease_request(core, core->confirmed_ms + core->ttl_ms);
    fwi_ec_lease_set_timer(core, UINT64_MAX);
}

const char *fwi_etcd_lease_trouble(const fwi_ec_lease *core)
{
    return fwi_etcd_renewal_failure(client_of(core));
}
