#include "storet.h"

uint64_t storet_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

fw_slice storet_text(const char *text)
{
    return (fw_slice){text, strlen(text)};
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void storet_close(fw_kv *kv, unsigned within_ms)
{
    bool closed = false;
    fw_kv_close(kv, set_flag, &closed);
    fwt_run_until(&closed, within_ms);
}

void storet_on_done(const fw_kv_result *result, void *arg)
{
    storet_answer *answer = arg;
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

void storet_await(storet_answer *answer)
{
    fwt_run_until(&answer->done, STORET_WAIT_MS);
}

static storet_answer last;

static storet_answer *fresh(void)
{
    free(last.text);
    last = (storet_answer){.text = NULL};
    return &last;
}

/* Waits for what has just been asked for. */
static const storet_answer *asked(int err)
{
    FWT_OK(err);
    storet_await(&last);
    return &last;
}

const storet_answer *storet_put_bytes(fw_kv *kv, const char *key, fw_slice value,
                                      const fw_kv_put_options *options)
{
    return asked(fw_kv_put(kv, key, value, options, storet_on_done, fresh()));
}

const storet_answer *storet_put_with(fw_kv *kv, const char *key, const char *value,
                                     const fw_kv_put_options *options)
{
    return storet_put_bytes(kv, key, storet_text(value), options);
}

const storet_answer *storet_put(fw_kv *kv, const char *key, const char *value)
{
    return storet_put_with(kv, key, value, NULL);
}

const storet_answer *storet_get(fw_kv *kv, const char *key)
{
    return asked(fw_kv_get(kv, key, storet_on_done, fresh()));
}

const storet_answer *storet_exists(fw_kv *kv, const char *key)
{
    return asked(fw_kv_exists(kv, key, storet_on_done, fresh()));
}

const storet_answer *storet_delete(fw_kv *kv, const char *key)
{
    return asked(fw_kv_delete(kv, key, storet_on_done, fresh()));
}

const storet_answer *storet_list(fw_kv *kv, const char *prefix)
{
    return asked(fw_kv_list(kv, prefix, storet_on_done, fresh()));
}

const storet_answer *storet_delete_tree(fw_kv *kv, const char *prefix)
{
    return asked(fw_kv_delete_tree(kv, prefix, storet_on_done, fresh()));
}

const storet_answer *storet_atomic_put(fw_kv *kv, const char *key, const char *value,
                                       int64_t previous, const fw_kv_put_options *options)
{
    return asked(
        fw_kv_atomic_put(kv, key, storet_text(value), previous, options, storet_on_done, fresh()));
}

const storet_answer *storet_atomic_delete(fw_kv *kv, const char *key, int64_t previous)
{
    return asked(fw_kv_atomic_delete(kv, key, previous, storet_on_done, fresh()));
}

const storet_answer *storet_txn(fw_kv *kv, const fw_kv_txn *txn)
{
    return asked(fw_kv_do_txn(kv, txn, storet_on_done, fresh()));
}

size_t storet_count(fw_kv *kv, const char *key)
{
    uint64_t deadline = storet_now_ms() + STORET_WAIT_MS;
    const storet_answer *answer;
    while ((answer = storet_exists(kv, key))->status)
        ck_assert_msg(storet_now_ms() < deadline, "%s: %s", fw_error_name(answer->status),
                      answer->detail);
    return answer->count;
}

/* ---- watchers ---- */

static void add(storet_watcher *watcher, const char *text)
{
    size_t len = strlen(text);
    if (watcher->len + len + 1 > watcher->capacity) {
        watcher->capacity = (watcher->len + len + 1) * 2;
        watcher->record = realloc(watcher->record, watcher->capacity);
    }
    memcpy(watcher->record + watcher->len, text, len + 1);
    watcher->len += len;
}

static void add_change(storet_watcher *watcher, const fw_kv_event *event)
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
    storet_watcher *watcher = arg;
    ck_assert(watch == watcher->watch);
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        switch (event->type) {
        case FW_KV_PUT:
        case FW_KV_DELETE:
            add_change(watcher, event);
            break;
        case FW_KV_END_OF_SNAPSHOT:
            watcher->snapshots++;
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
            watcher->fatals++;
            add(watcher, "fatal ");
            break;
        }
        if (event->reason) {
            watcher->reason = event->reason;
            snprintf(watcher->detail, sizeof watcher->detail, "%s", event->detail);
        }
    }
}

void storet_watch(storet_watcher *watcher, fw_kv *kv, const char *key, bool tree)
{
    *watcher = (storet_watcher){.record = NULL};
    add(watcher, "");
    if (tree)
        FWT_OK(fw_kv_watch_tree(kv, key, on_events, watcher, &watcher->watch));
    else
        FWT_OK(fw_kv_watch_key(kv, key, on_events, watcher, &watcher->watch));
}

void storet_expect(storet_watcher *watcher, const char *text)
{
    uint64_t deadline = storet_now_ms() + STORET_WAIT_MS;
    while (!strstr(watcher->record, text)) {
        size_t from = watcher->len > 1500 ? watcher->len - 1500 : 0;
        ck_assert_msg(storet_now_ms() < deadline, "wanted \"%s\" in \"%s\" (%s: %s)", text,
                      watcher->record + from, fw_error_name(watcher->reason), watcher->detail);
        fwt_run_for(5);
    }
}

char *storet_data(const storet_watcher *watcher)
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

void storet_watcher_fini(storet_watcher *watcher)
{
    free(watcher->record);
    free(watcher->last_value);
}

/* ---- leases ---- */

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)lease;
    storet_lease *own = arg;
    ck_assert(!own->granted);
    own->granted = true;
    own->status = status;
    snprintf(own->detail, sizeof own->detail, "%s", detail);
}

static void on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    storet_lease *own = arg;
    ck_assert(own->granted && !own->lost);
    own->lost = true;
    own->reason = reason;
    snprintf(own->detail, sizeof own->detail, "%s", detail);
}

void storet_lease_new(storet_lease *lease, fw_kv *kv, unsigned ttl_ms)
{
    *lease = (storet_lease){.lease = NULL};
    fw_kv_lease_options options = {
        .ttl_ms = ttl_ms, .on_granted = on_granted, .on_lost = on_lost, .arg = lease};
    FWT_OK(fw_kv_lease_new(kv, &options, &lease->lease));
    fwt_run_until(&lease->granted, STORET_WAIT_MS);
}

void storet_lease_close(storet_lease *lease)
{
    fw_kv_lease_close(lease->lease, set_flag, &lease->closed);
    fwt_run_until(&lease->closed, STORET_WAIT_MS);
}
