#include "healtht.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#define WAIT_MS 30000

fw_health *healtht;
size_t healtht_changes;
static bool is_closed;

static void on_change(fw_health *health, const fw_health_status *status, void *arg)
{
    (void)arg;
    ck_assert_ptr_eq(health, healtht);
    ck_assert_int_ne(status->state, FW_HEALTH_UNKNOWN);
    healtht_changes++;
}

static void on_closed(void *arg)
{
    (void)arg;
    is_closed = true;
}

void healtht_begin(const fw_health_options *options)
{
    fw_health_options with = *options;
    with.on_change = on_change;
    if (!with.interval_ms)
        with.interval_ms = 30;
    if (!with.timeout_ms)
        with.timeout_ms = 10000;
    if (!with.unhealthy_after)
        with.unhealthy_after = 1;
    if (!with.healthy_after)
        with.healthy_after = 1;
    is_closed = false;
    FWT_OK(fw_health_new(fwt_loop, &with, &healtht));
}

void healtht_add(const char *id, const char *net, const char *addr, const char *metadata)
{
    fw_instance_field field = {"health", metadata};
    fw_instance from = {.service = "svc",
                        .id = id,
                        .net = net,
                        .addr = addr,
                        .metadata = &field,
                        .metadata_count = metadata ? 1 : 0};
    const fw_instance *instance;
    FWT_OK(fw_instance_create(&from, &instance));
    FWT_OK(fw_health_add(healtht, instance));
    fw_instance_release(instance);
}

void healtht_add_port(const char *id, int port, const char *metadata)
{
    char addr[32];
    snprintf(addr, sizeof addr, "127.0.0.1:%d", port);
    healtht_add(id, "tcp", addr, metadata);
}

fw_health_status healtht_get(const char *id)
{
    fw_health_status status;
    FWT_OK(fw_health_get(healtht, "svc", id, &status));
    return status;
}

/* Each probe changes something in the status; a turn of the loop is enough to look again. */
static void turn(void)
{
    fwt_run_for(2);
}

void healtht_wait(const char *id, fw_health_state state)
{
    for (unsigned waited = 0; healtht_get(id).state != state; waited += 2) {
        fw_health_status status = healtht_get(id);
        ck_assert_msg(waited < WAIT_MS, "%s is %s: %s, %s", id, fw_health_state_name(status.state),
                      fw_error_name(status.reason), status.detail);
        turn();
    }
}

void healtht_wait_reason(const char *id, int reason)
{
    for (unsigned waited = 0; healtht_get(id).reason != reason; waited += 2) {
        fw_health_status status = healtht_get(id);
        ck_assert_msg(waited < WAIT_MS, "%s: wanted %s, got %s, %s", id, fw_error_name(reason),
                      fw_error_name(status.reason), status.detail);
        turn();
    }
}

/* The descriptors that are in use, and no more. */
static void limit_descriptors(const struct rlimit *before)
{
    FWT_OK(setrlimit(RLIMIT_NOFILE, before));
    int next = dup(0);
    ck_assert_int_ge(next, 0);
    close(next);
    struct rlimit limit = {.rlim_cur = (rlim_t)next, .rlim_max = before->rlim_max};
    FWT_OK(setrlimit(RLIMIT_NOFILE, &limit));
}

void healtht_starve(const char *id)
{
    struct rlimit before;
    FWT_OK(getrlimit(RLIMIT_NOFILE, &before));
    uint64_t probed_ms = 0;
    for (unsigned waited = 0; healtht_get(id).reason != UV_EMFILE; waited += 2) {
        fw_health_status status = healtht_get(id);
        ck_assert_msg(waited < WAIT_MS && status.state == FW_HEALTH_HEALTHY, "%s is %s: %s, %s", id,
                      fw_health_state_name(status.state), fw_error_name(status.reason),
                      status.detail);
        /* Whenever a probe has ended: what it had is free by then, or soon. */
        if (status.probed_ms != probed_ms)
            limit_descriptors(&before);
        probed_ms = status.probed_ms;
        turn();
    }
    FWT_OK(setrlimit(RLIMIT_NOFILE, &before));
    ck_assert_int_eq(healtht_get(id).state, FW_HEALTH_HEALTHY);
    healtht_wait_reason(id, FW_OK);
}

void healtht_end(void)
{
    fw_health_close(healtht, on_closed, NULL);
    fw_health_close(healtht, on_closed, NULL);
    ck_assert(!is_closed);
    fwt_run_until(&is_closed, WAIT_MS);
}

bool healtht_is_mapped(const char *library)
{
    char *maps = fwt_read_file("/proc/self/maps");
    bool found = strstr(maps, library) != NULL;
    free(maps);
    return found;
}
