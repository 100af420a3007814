#include "etcdt.h"

#include <stdarg.h>

#define MAX_ARGS 16

uint64_t etcdt_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

fw_slice etcdt_text(const char *text)
{
    return (fw_slice){text, strlen(text)};
}

fw_kv *etcdt_open_with(const char *url, const fw_kv_options *options)
{
    fw_kv *kv = NULL;
    char detail[400];
    fw_kv_options own = *options;
    own.detail = detail;
    own.detail_size = sizeof detail;
    if (!own.timeout_ms)
        own.timeout_ms = ETCDT_PATIENT_MS;
    fwt_run_for(1); /* the loop's clock stood still while the test did other things */
    int err = fw_kv_open(fwt_loop, url, &own, &kv);
    ck_assert_msg(!err, "%s: %s: %s", url, fw_error_name(err), detail);
    return kv;
}

fw_kv *etcdt_open_url(const char *url, unsigned timeout_ms)
{
    return etcdt_open_with(url, &(fw_kv_options){.timeout_ms = timeout_ms});
}

fw_kv *etcdt_open_at(const char *scheme, int port, const char *path, unsigned timeout_ms)
{
    char url[200];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", scheme, port, path);
    return etcdt_open_url(url, timeout_ms);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void etcdt_close(fw_kv *kv, unsigned within_ms)
{
    bool closed = false;
    fw_kv_close(kv, set_flag, &closed);
    fwt_run_until(&closed, within_ms);
}

void etcdt_on_done(const fw_kv_result *result, void *arg)
{
    etcdt_answer *answer = arg;
    ck_assert(!answer->done);
    answer->done = true;
    answer->status = result->status;
    answer->revision = result->revision;
    answer->count = result->count;
    answer->succeeded = result->succeeded;
    snprintf(answer->detail, sizeof answer->detail, "%s", result->detail);
    FILE *out;
    size_t len;
    free(answer->text);
    answer->text = NULL;
    out = open_memstream(&answer->text, &len);
    for (size_t i = 0; result->pairs && i < result->count; i++) {
        const fw_kv_pair *pair = &result->pairs[i];
        answer->pair_revision = pair->revision;
        answer->lease = pair->lease;
        if (!pair->revision)
            fprintf(out, "%s!;", pair->key);
        else
            fprintf(out, "%s=%.*s;", pair->key, (int)pair->value.len,
                    (const char *)pair->value.data);
    }
    fclose(out);
}

void etcdt_await(etcdt_answer *answer)
{
    fwt_run_until(&answer->done, ETCDT_WAIT_MS);
}

static etcdt_answer last;

static etcdt_answer *fresh(void)
{
    free(last.text);
    last = (etcdt_answer){.text = NULL};
    return &last;
}

/* Waits for what has just been asked for. */
static const etcdt_answer *asked(int err)
{
    FWT_OK(err);
    etcdt_await(&last);
    return &last;
}

const etcdt_answer *etcdt_put_with(fw_kv *kv, const char *key, const char *value,
                                   const fw_kv_put_options *options)
{
    return asked(fw_kv_put(kv, key, etcdt_text(value), options, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_put(fw_kv *kv, const char *key, const char *value)
{
    return etcdt_put_with(kv, key, value, NULL);
}

const etcdt_answer *etcdt_get(fw_kv *kv, const char *key)
{
    return asked(fw_kv_get(kv, key, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_exists(fw_kv *kv, const char *key)
{
    return asked(fw_kv_exists(kv, key, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_delete(fw_kv *kv, const char *key)
{
    return asked(fw_kv_delete(kv, key, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_list(fw_kv *kv, const char *prefix)
{
    return asked(fw_kv_list(kv, prefix, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_delete_tree(fw_kv *kv, const char *prefix)
{
    return asked(fw_kv_delete_tree(kv, prefix, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_atomic_put(fw_kv *kv, const char *key, const char *value,
                                     int64_t previous, const fw_kv_put_options *options)
{
    return asked(
        fw_kv_atomic_put(kv, key, etcdt_text(value), previous, options, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_atomic_delete(fw_kv *kv, const char *key, int64_t previous)
{
    return asked(fw_kv_atomic_delete(kv, key, previous, etcdt_on_done, fresh()));
}

const etcdt_answer *etcdt_txn(fw_kv *kv, const fw_kv_txn *txn)
{
    return asked(fw_kv_do_txn(kv, txn, etcdt_on_done, fresh()));
}

const char *etcdt_ctl(int port, ...)
{
    static char *out;
    const char *args[MAX_ARGS];
    size_t n = 0;
    va_list list;
    va_start(list, port);
    for (const char *arg; (arg = va_arg(list, const char *)) && n < MAX_ARGS - 1;)
        args[n++] = arg;
    va_end(list);
    args[n] = NULL;
    free(out);
    out = fwt_etcdctl(port, args);
    return out;
}

size_t etcdt_count(fw_kv *kv, const char *key)
{
    uint64_t deadline = etcdt_now_ms() + ETCDT_WAIT_MS;
    const etcdt_answer *answer;
    while ((answer = etcdt_exists(kv, key))->status)
        ck_assert_msg(etcdt_now_ms() < deadline, "%s: %s", fw_error_name(answer->status),
                      answer->detail);
    return answer->count;
}

void etcdt_restart_at(fwt_etcd *etcd, int port)
{
    if (etcd->proc)
        fwt_etcd_kill(etcd);
    etcd->port = port;
    fwt_etcd_restart(etcd);
}

void etcdt_compact(int port)
{
    static const char name[] = "\"Revision\" : ";
    char revision[32];
    const char *fields = etcdt_ctl(port, "put", "/compact/k", "v", "-w", "fields", NULL);
    const char *at = strstr(fields, name);
    ck_assert_msg(at != NULL, "%s", fields);
    snprintf(revision, sizeof revision, "%lld", atoll(at + strlen(name)));
    etcdt_ctl(port, "compact", revision, NULL);
}

/* ---- watchers ---- */

static void add(etcdt_watcher *watcher, const char *text)
{
    size_t len = strlen(text);
    watcher->record = realloc(watcher->record, watcher->len + len + 1);
    memcpy(watcher->record + watcher->len, text, len + 1);
    watcher->len += len;
}

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    etcdt_watcher *watcher = arg;
    ck_assert(watch == watcher->watch);
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        char text[700] = "";
        int value_len = event->pair.value.len > 40 ? 0 : (int)event->pair.value.len;
        switch (event->type) {
        case FW_KV_PUT:
            snprintf(text, sizeof text, "+%s=%.*s ", event->pair.key, value_len,
                     value_len ? (const char *)event->pair.value.data : "");
            watcher->puts++;
            watcher->last_revision = event->pair.revision;
            break;
        case FW_KV_DELETE:
            snprintf(text, sizeof text, "-%s ", event->pair.key);
            watcher->deletes++;
            watcher->last_revision = event->pair.revision;
            break;
        case FW_KV_END_OF_SNAPSHOT:
            snprintf(text, sizeof text, "| ");
            watcher->snapshots++;
            break;
        case FW_KV_RESYNC:
            snprintf(text, sizeof text, "resync ");
            break;
        case FW_KV_STALE:
            snprintf(text, sizeof text, "stale ");
            watcher->stales++;
            break;
        case FW_KV_LIVE:
            snprintf(text, sizeof text, "live ");
            watcher->lives++;
            break;
        case FW_KV_FATAL:
            snprintf(text, sizeof text, "fatal ");
            watcher->fatals++;
            break;
        }
        if (event->reason) {
            watcher->reason = event->reason;
            snprintf(watcher->detail, sizeof watcher->detail, "%s", event->detail);
        }
        add(watcher, text);
    }
}

void etcdt_watch(etcdt_watcher *watcher, fw_kv *kv, const char *key, bool tree)
{
    *watcher = (etcdt_watcher){.record = NULL};
    add(watcher, "");
    if (tree)
        FWT_OK(fw_kv_watch_tree(kv, key, on_events, watcher, &watcher->watch));
    else
        FWT_OK(fw_kv_watch_key(kv, key, on_events, watcher, &watcher->watch));
}

void etcdt_expect(etcdt_watcher *watcher, const char *text)
{
    uint64_t deadline = etcdt_now_ms() + ETCDT_WAIT_MS;
    while (!strstr(watcher->record, text)) {
        ck_assert_msg(etcdt_now_ms() < deadline, "wanted \"%s\" in \"%s\" (%s: %s)", text,
                      watcher->record, fw_error_name(watcher->reason), watcher->detail);
        fwt_run_for(10);
    }
}

char *etcdt_data(const etcdt_watcher *watcher)
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

void etcdt_watcher_fini(etcdt_watcher *watcher)
{
    free(watcher->record);
}

/* ---- leases ---- */

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    etcdt_lease *own = arg;
    ck_assert(!own->granted);
    own->granted = true;
    own->status = status;
    snprintf(own->detail, sizeof own->detail, "%s", detail);
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    etcdt_lease *own = arg;
    ck_assert(own->granted && !own->lost);
    own->lost = true;
    own->reason = reason;
    snprintf(own->detail, sizeof own->detail, "%s", detail);
}

void etcdt_lease_new(etcdt_lease *lease, fw_kv *kv, unsigned ttl_ms)
{
    *lease = (etcdt_lease){.lease = NULL};
    fw_kv_lease_options options = {
        .ttl_ms = ttl_ms, .on_granted = on_granted, .on_lost = on_lost, .arg = lease};
    FWT_OK(fw_kv_lease_new(kv, &options, &lease->lease));
    fwt_run_until(&lease->granted, ETCDT_WAIT_MS);
}

void etcdt_lease_close(etcdt_lease *lease)
{
    fw_kv_lease_close(lease->lease, set_flag, &lease->closed);
    fwt_run_until(&lease->closed, ETCDT_WAIT_MS);
}
