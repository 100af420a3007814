/*
 * The changes of a watch: from a message of etcd's to the front's batch.
 *
 * A reply may come in fragments, and one revision may be spread over several of them. What is known
 * to be complete (all revisions but the last of a fragment that is not the last) is delivered at
 * once; the events of the last revision are kept until a later one or the end of the reply shows
 * that they are all there. So the memory that waits is that of one revision, however large the
 * backlog is. If the stream breaks in between, what was kept is forgotten, and comes again.
 *
 * Resuming goes by the revision of the last event that was delivered, and never by the header of a
 * reply with events, which is ahead of them while the store catches up.
 */
#include "streams.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fwi_etcd_fragment {
    fwi_etcd_fragment *next;
    size_t len;
    uint8_t bytes[];
};

void fwi_etcd_events_forget(fwi_etcd_watch *watch)
{
    while (watch->fragments) {
        fwi_etcd_fragment *fragment = watch->fragments;
        watch->fragments = fragment->next;
        free(fragment);
    }
    watch->last_fragment = &watch->fragments;
}

bool fwi_etcd_events_check(const fwi_etcd_notice *notice)
{
    fwi_etcd_notice reader = *notice;
    fwi_ec_pair pair;
    bool is_delete;
    while (fwi_etcd_notice_next(&reader, &is_delete, &pair))
        ;
    return !reader.events.bad;
}

/* Gives the front the events in a piece of a message. Returns the revision of the last, 0 if there
 * is none. */
static int64_t feed(fwi_etcd_watch *watch, fw_slice bytes)
{
    fwi_etcd_notice reader = {.events = fwi_wire_of(bytes)};
    fwi_ec_pair pair;
    bool is_delete;
    int64_t revision = 0;
    while (fwi_etcd_notice_next(&reader, &is_delete, &pair)) {
        fw_slice key;
        revision = pair.revision;
        if (!fwi_ec_key_strip(&watch->client->core, pair.key, &key))
            continue;
        if (is_delete)
            fwi_kv_watch_delete(watch->front, key.data, key.len, pair.revision);
        else
            fwi_kv_watch_put(watch->front, key.data, key.len, pair.value, pair.revision,
                             pair.lease);
    }
    return revision;
}

static int64_t feed_kept(fwi_etcd_watch *watch)
{
    int64_t revision = 0;
    for (fwi_etcd_fragment *part = watch->fragments; part; part = part->next)
        revision = feed(watch, (fw_slice){part->bytes, part->len});
    fwi_etcd_events_forget(watch);
    return revision;
}

static bool keep(fwi_etcd_watch *watch, fw_slice bytes, int64_t revision)
{
    fwi_etcd_fragment *fragment = malloc(sizeof *fragment + bytes.len);
    if (!fragment)
        return false;
    fragment->next = NULL;
    fragment->len = bytes.len;
    memcpy(fragment->bytes, bytes.data, bytes.len);
    *watch->last_fragment = fragment;
    watch->last_fragment = &fragment->next;
    watch->fragments_revision = revision;
    return true;
}

/* The revision of the last event, and how many bytes of the message lie before the first event of
 * that revision. False: no events. */
static bool find_last(const fwi_etcd_notice *notice, fw_slice message, int64_t *ret_revision,
                      size_t *ret_before)
{
    fwi_etcd_notice reader = *notice;
    fwi_ec_pair pair;
    bool is_delete, has_events = false;
    const uint8_t *at = reader.events.next, *start = message.data;
    while (fwi_etcd_notice_next(&reader, &is_delete, &pair)) {
        if (!has_events || pair.revision != *ret_revision) {
            *ret_revision = pair.revision;
            *ret_before = has_events ? (size_t)(at - start) : 0;
        }
        has_events = true;
        at = reader.events.next;
    }
    return has_events;
}

static void take_fragment(fwi_etcd_watch *watch, const fwi_etcd_notice *notice, fw_slice message)
{
    int64_t last, complete = 0;
    size_t before;
    if (!find_last(notice, message, &last, &before))
        return;
    if (watch->fragments && (before || watch->fragments_revision != last))
        complete = feed_kept(watch);
    if (before)
        complete = feed(watch, (fw_slice){message.data, before});
    fw_slice rest = {(const uint8_t *)message.data + before, message.len - before};
    if (!keep(watch, rest, last))
        fwi_etcd_watch_end(watch, UV_ENOMEM, NULL);
    else if (complete)
        (void)fwi_etcd_watch_commit(watch, complete);
}

void fwi_etcd_events_take(fwi_etcd_watch *watch, const fwi_etcd_notice *notice, fw_slice message)
{
    if (notice->fragment) {
        take_fragment(watch, notice, message);
        return;
    }
    int64_t revision = feed_kept(watch), last = feed(watch, message);
    (void)fwi_etcd_watch_commit(watch, last ? last : revision);
}
