#include "redist.h"

#include <stdarg.h>

#define MAX_ARGS 24

uint64_t redist_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

fw_slice redist_text(const char *text)
{
    return (fw_slice){text, strlen(text)};
}

fw_kv *redist_open_as(int port, const char *path, const fw_kv_options *options)
{
    char url[200];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d%s", port, path);
    fw_kv *kv = NULL;
    fwt_run_for(1); /* the loop's clock stood still while the test did other things */
    FWT_OK(fw_kv_open(fwt_loop, url, options, &kv));
    return kv;
}

fw_kv *redist_open(int port, const char *path, unsigned timeout_ms)
{
    return redist_open_as(port, path, &(fw_kv_options){.timeout_ms = timeout_ms});
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void redist_close(fw_kv *kv, unsigned within_ms)
{
    bool closed = false;
    fw_kv_close(kv, set_flag, &closed);
    fwt_run_until(&closed, within_ms);
}

const char *redist_cli(int port, ...)
{
    static char *out;
    char text[16];
    snprintf(text, sizeof text, "%d", port);
    const char *argv[MAX_ARGS] = {"redis-cli", "-p", text};
    size_t n = 3;
    va_list args;
    va_start(args, port);
    for (const char *arg; (arg = va_arg(args, const char *)) && n < MAX_ARGS - 1;)
        argv[n++] = arg;
    va_end(args);
    argv[n] = NULL;
    free(out);
    char *err;
    int rc = fwt_run(argv, NULL, &out, &err, REDIST_WAIT_MS);
    ck_assert_msg(rc == 0, "redis-cli %s: %s%s", argv[3], out, err);
    free(err);
    return out;
}

/* ---- operations ---- */

void redist_on_done(const fw_kv_result *result, void *arg)
{
    redist_answer *answer = arg;
    ck_assert(!answer->done);
    answer->done = true;
    answer->status = result->status;
    answer->revision = result->revision;
    answer->count = result->count;
    snprintf(answer->detail, sizeof answer->detail, "%s", result->detail);
    size_t len;
    free(answer->text);
    answer->text = NULL;
    FILE *out = open_memstream(&answer->text, &len);
    for (size_t i = 0; result->pairs && i < result->count; i++) {
        const fw_kv_pair *pair = &result->pairs[i];
        answer->lease = pair->lease;
        fprintf(out, "%s=%.*s;", pair->key, (int)pair->value.len, (const char *)pair->value.data);
    }
    fclose(out);
}

void redist_await(redist_answer *answer)
{
    fwt_run_until(&answer->done, REDIST_WAIT_MS);
}

static redist_answer last;

static redist_answer *fresh(void)
{
    free(last.text);
    last = (redist_answer){.text = NULL};
    return &last;
}

static const redist_answer *asked(int err)
{
    FWT_OK(err);
    redist_await(&last);
    return &last;
}

const redist_answer *redist_put_with(fw_kv *kv, const char *key, fw_slice value,
                                     const fw_kv_put_options *options)
{
    return asked(fw_kv_put(kv, key, value, options, redist_on_done, fresh()));
}

const redist_answer *redist_put(fw_kv *kv, const char *key, const char *value)
{
    return redist_put_with(kv, key, redist_text(value), NULL);
}

const redist_answer *redist_get(fw_kv *kv, const char *key)
{
    return asked(fw_kv_get(kv, key, redist_on_done, fresh()));
}

const redist_answer *redist_delete(fw_kv *kv, const char *key)
{
    return asked(fw_kv_delete(kv, key, redist_on_done, fresh()));
}

const redist_answer *redist_list(fw_kv *kv, const char *prefix)
{
    return asked(fw_kv_list(kv, prefix, redist_on_done, fresh()));
}

const redist_answer *redist_delete_tree(fw_kv *kv, const char *prefix)
{
    return asked(fw_kv_delete_tree(kv, prefix, redist_on_done, fresh()));
}

/* ---- watchers ---- */

static void add(redist_watcher *watcher, const char *text)
{
    size_t len = strlen(text);
    if (watcher->len + len + 1 > watcher->capacity) {
        watcher->capacity = (watcher->len + len + 1) * 2;
        watcher->record = realloc(watcher->record, watcher->capacity);
    }
    memcpy(watcher->record + watcher->len, text, len + 1);
    watcher->len += len;
}

static void add_change(redist_watcher *watcher, const fw_kv_event *event)
{
    char text[700];
    const fw_kv_pair *pair = &event->pair;
    bool is_put = event->type == FW_KV_PUT;
    ck_assert_int_ge(pair->revision, 1);
    if (is_put)
        snprintf(text, sizeof text, "+%s=%.*s ", pair->key,
                 pair->value.len > 40 ? 0 : (int)pair->value.len,
                 pair->value.len ? (const char *)pair->value.data : "");
    else
        snprintf(text, sizeof text, "-%s ", pair->key);
    *(is_put ? &watcher->puts : &watcher->deletes) += 1;
    watcher->last_revision = pair->revision;
    if (is_put) {
        free(watcher->last_value);
        watcher->last_value = strndup(pair->value.data, pair->value.len);
    }
    add(watcher, text);
}

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    redist_watcher *watcher = arg;
    ck_assert(watch == watcher->watch);
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        switch (event->type) {
        case FW_KV_PUT:
        case FW_KV_DELETE:
            add_change(watcher, event);
            break;
        case FW_KV_END_OF_SNAPSHOT:
            add(watcher, "| ");
            break;
        case FW_KV_RESYNC:
            watcher->resyncs++;
            add(watcher, "resync ");
            break;
        case FW_KV_STALE:
            watcher->stales++;
            add(watcher, "stale ");
            break;
        case FW_KV_LIVE:
            watcher->lives++;
            add(watcher, "live ");
            break;
        case FW_KV_FATAL:
            add(watcher, "fatal ");
            break;
        }
        if (event->reason) {
            watcher->reason = event->reason;
            snprintf(watcher->detail, sizeof watcher->detail, "%s", event->detail);
        }
    }
}

void redist_watch(redist_watcher *watcher, fw_kv *kv, const char *key, bool tree)
{
    *watcher = (redist_watcher){.record = NULL};
    add(watcher, "");
    if (tree)
        FWT_OK(fw_kv_watch_tree(kv, key, on_events, watcher, &watcher->watch));
    else
        FWT_OK(fw_kv_watch_key(kv, key, on_events, watcher, &watcher->watch));
}

void redist_expect(redist_watcher *watcher, const char *text)
{
    uint64_t deadline = redist_now_ms() + REDIST_WAIT_MS;
    while (!strstr(watcher->record, text)) {
        size_t from = watcher->len > 1500 ? watcher->len - 1500 : 0;
        ck_assert_msg(redist_now_ms() < deadline, "wanted \"%s\" in \"%s\" (%s: %s)", text,
                      watcher->record + from, fw_error_name(watcher->reason), watcher->detail);
        fwt_run_for(5);
    }
}

char *redist_data(const redist_watcher *watcher)
{
    char *copy = strdup(watcher->record), *from = copy, *to = copy;
    while (*from) {
        if (!strncmp(from, "stale ", 6))
            from += 6;
        else if (!strncmp(from, "live ", 5))
            from += 5;
        else
            *to++ = *from++;
    }
    *to = 0;
    return copy;
}

void redist_watcher_fini(redist_watcher *watcher)
{
    free(watcher->record);
    free(watcher->last_value);
}

/* ---- leases ---- */

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    redist_lease *own = arg;
    ck_assert(!own->granted);
    own->granted = true;
    own->status = status;
    snprintf(own->detail, sizeof own->detail, "%s", detail);
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    redist_lease *own = arg;
    ck_assert(own->granted && !own->lost);
    own->lost = true;
    own->reason = reason;
    snprintf(own->detail, sizeof own->detail, "%s", detail);
}

void redist_lease_new(redist_lease *lease, fw_kv *kv, unsigned ttl_ms)
{
    *lease = (redist_lease){.lease = NULL};
    fw_kv_lease_options options = {
        .ttl_ms = ttl_ms, .on_granted = on_granted, .on_lost = on_lost, .arg = lease};
    FWT_OK(fw_kv_lease_new(kv, &options, &lease->lease));
    fwt_run_until(&lease->granted, REDIST_WAIT_MS);
}

void redist_lease_close(redist_lease *lease)
{
    fw_kv_lease_close(lease->lease, set_flag, &lease->closed);
    fwt_run_until(&lease->closed, REDIST_WAIT_MS);
}
