/* What `fairway why` has found out of a service, and how it is told. */
#ifndef WHY_H
#define WHY_H

#include "cli.h"

struct why_consumer {
    char service[132], name[132];
    int64_t revision;
    cJSON *ejected; /* an array of {"id", "reason"} */
};

struct why_unreadable {
    char *key;
    int error;
};

/* A request to drain. */
struct why_drain {
    char *id;
    char by[200];  /* "": not told */
    int64_t at_ms; /* Unix time; 0: not told */
    cJSON *value;  /* as it stands there; NULL: not JSON */
};

struct why {
    const char *service, *saved_list;
    fw_watcher *watcher;
    const fw_snapshot *snapshot;
    uint64_t now_ms; /* on the loop's clock */
    char stale_detail[512];
    int status; /* of what was asked of the store besides; with its words */
    char detail[512];
    struct why_unreadable *unreadable;
    size_t unreadable_count;
    struct why_drain *drains;
    size_t drain_count;
    struct why_consumer *consumers;
    size_t consumer_count;
};

/* Notes an answer that failed; the first one stands. */
void why_note_answer(struct why *why, int status, const char *detail);
/* Takes what there is of lists of services/NAME and drains/NAME. */
void why_take_nodes(struct why *why, const fw_kv_result *result);
void why_take_drains(struct why *why, const fw_kv_result *result);
/* The request to drain an instance, or NULL. */
const struct why_drain *why_find_drain(const struct why *why, const char *id);
/* Fills *ret_held and returns true, if the instance is held. */
bool why_find_held(const struct why *why, const fw_instance *instance, fw_watcher_held *ret_held);
void why_fini(struct why *why);

void why_print_text(const struct why *why);
void why_print_json(const struct why *why);

#endif
