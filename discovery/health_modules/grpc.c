/*
 * A health check with gRPC: grpc.health.v1.Health/Check, one call on a channel of its own. A
 * channel that was kept would be in its backoff when the server is there again, and would tell the
 * old error.
 *
 * Threads: as the etcd driver's (etcd/queue.h); everything here runs on the loop's.
 */
#include "etcd/message.h"
#include "etcd/queue.h"
#include "etcd/start.h"
#include "health_driver.h"

#include "codec/proto_wire.h"

#include <errno.h>
#include <fairway/error.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#define METHOD            "/grpc.health.v1.Health/Check"
#define MAX_TARGET_BYTES  600
#define MAX_REPLY_BYTES   65536
#define SPARE_DESCRIPTORS 8
#define MAX_DESCRIPTORS   64
#define SERVICE_FIELD     1
#define STATUS_FIELD      1
#define SERVING           1

struct shared {
    fwi_etcd_queue queue;
    size_t probes; /* that live, canceled ones too */
    void (*on_closed)(void *arg);
    void *arg;
};

struct probe {
    struct shared *shared;
    fwi_probe_fn fn; /* NULL: canceled */
    void *arg;
    char *detail;
    grpc_channel *channel;
    grpc_call *call;
    fwi_etcd_tag tag;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice text;
    grpc_byte_buffer *reply;
};

/* ---- the end of a probe ---- */

static void end_if_empty(struct shared *shared);

/* tests/support/tsan.supp names it: see etcd/call.c. */
static __attribute__((noinline)) void free_what_grpc_made(struct probe *probe)
{
    if (probe->reply)
        grpc_byte_buffer_destroy(probe->reply);
    grpc_metadata_array_destroy(&probe->initial);
    grpc_metadata_array_destroy(&probe->trailing);
    grpc_slice_unref(probe->text);
    grpc_call_unref(probe->call);
    grpc_channel_destroy(probe->channel);
}

static void probe_free(struct probe *probe)
{
    struct shared *shared = probe->shared;
    free_what_grpc_made(probe);
    free(probe);
    shared->probes--;
    end_if_empty(shared);
}

static void explain(const struct probe *probe, const char *what)
{
    (void)snprintf(probe->detail, FWI_HEALTH_DETAIL_BYTES, "%s", what);
}

/* The HealthCheckResponse says how it is. */
static int read_reply(const struct probe *probe)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    grpc_slice message = fwi_grpc_message_read(probe->reply);
    const uint8_t *bytes = GRPC_SLICE_START_PTR(message);
    fwi_wire_reader reader = {bytes, bytes + GRPC_SLICE_LENGTH(message)};
    fwi_wire_field field;
    uint64_t status = 0;
    int more;
    while ((more = fwi_wire_next(&reader, &field)) == 1)
        if (field.number == STATUS_FIELD && field.type == FWI_WIRE_VARINT)
            status = field.varint;
    grpc_slice_unref(message);
    if (more)
        return FW_EPROTOCOL;
    if (status == SERVING)
        return FW_OK;
    explain(probe, status < sizeof names / sizeof *names ? names[status] : "unknown status");
    return FW_EREMOTE;
}

/* Why there is no connection, as far as gRPC's text tells. */
static int reason_of(const char *text)
{
    static const int errors[] = {UV_ECONNREFUSED, UV_EMFILE,       UV_ENFILE,
                                 UV_ENOENT,       UV_EHOSTUNREACH, UV_ENETUNREACH};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strstr(text, strerror(-errors[i])))
            return errors[i];
    return UV_ECONNABORTED;
}

static int judge(const struct probe *probe)
{
    if (probe->code == GRPC_STATUS_OK)
        return read_reply(probe);
    char *text = grpc_slice_to_c_string(probe->text);
    int reason = FW_EREMOTE;
    explain(probe, text);
    if (probe->code == GRPC_STATUS_DEADLINE_EXCEEDED)
        reason = FW_EDEADLINE;
    else if (probe->code == GRPC_STATUS_UNAVAILABLE)
        reason = reason_of(text);
    else if (probe->code == GRPC_STATUS_UNIMPLEMENTED)
        explain(probe, "no grpc.health.v1.Health there");
    else if (probe->code == GRPC_STATUS_NOT_FOUND && !text[0])
        explain(probe, "service not found");
    gpr_free(text);
    return reason;
}

static void on_end(fwi_etcd_tag *tag, void *arg)
{
    (void)tag;
    struct probe *probe = arg;
    if (probe->fn)
        probe->fn(judge(probe), probe->arg);
    probe_free(probe);
}

static void cancel(void *arg)
{
    struct probe *probe = arg;
    probe->fn = NULL;
    grpc_call_cancel(probe->call, NULL);
}

/* ---- the start of a probe ---- */

/* gRPC ends the process when it gets no descriptor for what its threads wake each other with. So
 * there must be some to spare, besides one for each probe that may not have its own yet. */
static int check_descriptors(const struct shared *shared)
{
    int fds[MAX_DESCRIPTORS];
    size_t wanted = SPARE_DESCRIPTORS + shared->probes, count = 0;
    if (wanted > MAX_DESCRIPTORS)
        wanted = MAX_DESCRIPTORS;
    while (count < wanted && (fds[count] = eventfd(0, EFD_CLOEXEC)) >= 0)
        count++;
    int err = count < wanted ? uv_translate_sys_error(errno) : FW_OK;
    while (count)
        close(fds[--count]);
    return err;
}

static int write_target(const fw_instance *instance, char *ret_target, size_t size)
{
    bool is_unix = !strcmp(instance->net, "unix");
    if (!is_unix && strcmp(instance->net, "tcp"))
        return FW_ESCHEME;
    int len = snprintf(ret_target, size, "%s%s", is_unix ? "unix:" : "dns:///", instance->addr);
    return len > 0 && (size_t)len < size ? FW_OK : FW_EURL;
}

static grpc_channel *channel_new(const char *target, uint32_t timeout_ms)
{
    const struct {
        const char *key;
        int value;
    } options[] = {{GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},
                   {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
                   {GRPC_ARG_ENABLE_RETRIES, 0},
                   {GRPC_ARG_MINIMAL_STACK, 1},
                   {GRPC_ARG_ENABLE_DEADLINE_CHECKS, 1},
                   {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MAX_REPLY_BYTES},
                   /* What it calls so is the time for connecting. */
                   {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, (int)timeout_ms}};
    grpc_arg args[sizeof options / sizeof *options];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER,
                             .key = (char *)options[i].key, /* copied, never written to */
                             .value.integer = options[i].value};
    grpc_channel_args all = {.num_args = sizeof options / sizeof *options, .args = args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &all);
    grpc_channel_credentials_release(credentials);
    return channel;
}

/* A HealthCheckRequest. */
static grpc_byte_buffer *request_new(const char *service)
{
    fw_slice name = {service, strlen(service)};
    size_t len = name.len ? fwi_bytes_field_size(name.len) : 0;
    WRITES_UNSEEN_BEGIN();
    grpc_slice slice = grpc_slice_malloc(len);
    if (len)
        (void)fwi_put_bytes_field(GRPC_SLICE_START_PTR(slice), SERVICE_FIELD, name);
    WRITES_UNSEEN_END();
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static bool start_call(struct probe *probe, grpc_byte_buffer *request)
{
    grpc_op ops[] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                     {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = request},
                     {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                     {.op = GRPC_OP_RECV_INITIAL_METADATA,
                      .data.recv_initial_metadata.recv_initial_metadata = &probe->initial},
                     {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &probe->reply},
                     {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                      .data.recv_status_on_client = {.trailing_metadata = &probe->trailing,
                                                     .status = &probe->code,
                                                     .status_details = &probe->text}}};
    return fwi_etcd_tag_start(&probe->tag, probe->call, ops, sizeof ops / sizeof *ops);
}

static int start(void *arg, const fwi_health_question *question, void **ret_probe)
{
    struct shared *shared = arg;
    char target[MAX_TARGET_BYTES];
    int err = fwi_grpc_check();
    if (!err)
        err = check_descriptors(shared);
    if (!err)
        err = write_target(question->instance, target, sizeof target);
    if (err)
        return err;
    struct probe *probe = calloc(1, sizeof *probe);
    if (!probe)
        return UV_ENOMEM;
    *probe = (struct probe){.shared = shared,
                            .fn = question->fn,
                            .arg = question->arg,
                            .detail = question->detail,
                            .channel = channel_new(target, question->timeout_ms),
                            .code = GRPC_STATUS_INTERNAL,
                            .text = grpc_empty_slice()};
    probe->tag = (fwi_etcd_tag){.fn = on_end, .arg = probe};
    grpc_metadata_array_init(&probe->initial);
    grpc_metadata_array_init(&probe->trailing);
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_millis((int64_t)question->timeout_ms, GPR_TIMESPAN));
    probe->call =
        grpc_channel_create_call(probe->channel, NULL, GRPC_PROPAGATE_DEFAULTS, shared->queue.grpc,
                                 grpc_slice_from_static_string(METHOD), NULL, deadline, NULL);
    shared->probes++;
    grpc_byte_buffer *request = request_new(question->check->name);
    bool started = start_call(probe, request);
    grpc_byte_buffer_destroy(request);
    if (!started) { /* for wrong use only */
        probe_free(probe);
        return UV_ENOMEM;
    }
    *ret_probe = probe;
    return FW_OK;
}

/* ---- what the probes of a loop share ---- */

static void on_queue_ended(void *arg)
{
    struct shared *shared = arg;
    void (*on_closed)(void *arg) = shared->on_closed;
    void *closed_arg = shared->arg;
    free(shared);
    on_closed(closed_arg);
}

static void end_if_empty(struct shared *shared)
{
    if (shared->on_closed && !shared->probes)
        fwi_etcd_queue_close(&shared->queue, on_queue_ended, shared);
}

static int open_shared(fw_loop *loop, void **ret_shared)
{
    int err = fwi_grpc_start();
    if (err)
        return err;
    struct shared *shared = calloc(1, sizeof *shared);
    if (!shared)
        return UV_ENOMEM;
    err = fwi_etcd_queue_init(&shared->queue, loop, false);
    if (err)
        free(shared);
    else
        *ret_shared = shared;
    return err;
}

static void close_shared(void *arg, void (*on_closed)(void *arg), void *closed_arg)
{
    struct shared *shared = arg;
    shared->on_closed = on_closed;
    shared->arg = closed_arg;
    end_if_empty(shared);
}

const fwi_health_driver fwi_health_module_driver = {
    .open = open_shared, .close = close_shared, .start = start, .cancel = cancel};
