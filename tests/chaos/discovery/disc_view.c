/* What a watcher's list was at a time, from its records. */
#include "disc_history.h"

#include <stdlib.h>

void disc_view_init(disc_view *view, const disc_histories *in)
{
    *view = (disc_view){.in = in, .stale = true};
    view->listing = calloc(in->instance_count + 1, sizeof *view->listing);
    view->since_ns = calloc(in->instance_count + 1, sizeof *view->since_ns);
}

void disc_view_fini(disc_view *view)
{
    free(view->listing);
    free(view->since_ns);
}

static void set_stale(disc_view *view, bool stale, uint64_t time_ns)
{
    if (view->stale != stale)
        view->stale_since_ns = time_ns;
    view->stale = stale;
}

static const char *take_instance(disc_view *view, const disc_record *record)
{
    if (record->instance >= view->in->instance_count)
        return "an instance that there never was";
    uint8_t *listing = &view->listing[record->instance], old = *listing;
    switch (record->type) {
    case FW_WATCHER_ADDED:
        *listing = DISC_LISTED;
        break;
    case FW_WATCHER_REMOVED:
        *listing = DISC_ABSENT;
        break;
    case FW_WATCHER_HELD:
        *listing = DISC_HELD;
        break;
    default: /* CHANGED, RELISTED: the store has it */
        *listing = DISC_LISTED;
        break;
    }
    if (*listing != old)
        view->since_ns[record->instance] = record->time_ns;
    if ((record->type == FW_WATCHER_ADDED) != (old == DISC_ABSENT))
        return old == DISC_ABSENT ? "news of an instance that was not in the list"
                                  : "added though it was in the list";
    if (record->type == FW_WATCHER_RELISTED && old != DISC_HELD)
        return "relisted though it was not held";
    return NULL;
}

const char *disc_view_take(disc_view *view, const disc_record *record)
{
    const char *wrong = NULL;
    uint32_t wanted = view->count;
    if (record->what == DISC_EVENT) {
        switch (record->type) {
        case FW_WATCHER_STALE:
        case FW_WATCHER_FATAL:
            set_stale(view, true, record->time_ns);
            break;
        case FW_WATCHER_SYNCED:
        case FW_WATCHER_LIVE:
            set_stale(view, false, record->time_ns);
            break;
        case FW_WATCHER_RESTORED:
            break;
        default:
            wrong = take_instance(view, record);
            wanted += record->type == FW_WATCHER_ADDED;
            wanted -= record->type == FW_WATCHER_REMOVED;
        }
    }
    if (!wrong && record->count != wanted)
        wrong = "the count is not what the events make";
    if (!record->held != !view->held)
        view->held_since_ns = record->time_ns;
    view->count = record->count;
    view->held = record->held;
    return wrong;
}

bool disc_view_is_whole(const disc_view *view, uint64_t time_ns, uint32_t *ret_missing)
{
    *ret_missing = DISC_NO_INSTANCE;
    for (size_t i = 0; i < view->in->instance_count; i++) {
        uint64_t killed_ns = view->in->instances[i].killed_ns;
        if (view->listing[i] != DISC_LISTED && (!killed_ns || killed_ns > time_ns)) {
            *ret_missing = (uint32_t)i;
            return false;
        }
    }
    return !view->stale && !view->held;
}
