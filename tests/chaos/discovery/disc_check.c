/* The rules; what they say stands in disc_history.h. */
#include "disc_history.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define MS        UINT64_C(1000000)
#define MOST_SAID 20 /* breaches of one history that are told one by one */

struct check {
    const disc_histories *in;
    FILE *out;
    size_t breaches;
};

__attribute__((format(printf, 3, 4))) static void breach(struct check *check, const char *rule,
                                                         const char *format, ...)
{
    va_list args;
    if (++check->breaches > MOST_SAID)
        return;
    va_start(args, format);
    fprintf(check->out, "%s: ", rule);
    vfprintf(check->out, format, args);
    fprintf(check->out, "\n");
    va_end(args);
}

static bool lives(const disc_histories *in, size_t instance, uint64_t time_ns)
{
    uint64_t killed_ns = in->instances[instance].killed_ns;
    return !killed_ns || killed_ns > time_ns;
}

static bool any_was_killed(const disc_histories *in, uint64_t until_ns)
{
    for (size_t i = 0; i < in->instance_count; i++)
        if (!lives(in, i, until_ns))
            return true;
    return false;
}

/* Of the time after a fault in which all must be well: its beginning and end. */
static uint64_t due_ns(const disc_histories *in, size_t fault)
{
    uint64_t bound_ns = in->faults[fault].until_ns + in->relist_ms * MS;
    uint64_t settled_ns = in->faults[fault].settled_ns;
    return settled_ns && settled_ns < bound_ns ? settled_ns : bound_ns;
}

static uint64_t over_ns(const disc_histories *in, size_t fault)
{
    return fault + 1 < in->fault_count ? in->faults[fault + 1].from_ns : in->end_ns;
}

/* Milliseconds after a fault, as a number to print. */
static double after_ms(const disc_histories *in, size_t fault, uint64_t time_ns)
{
    return (double)(int64_t)(time_ns - in->faults[fault].until_ns) / 1e6;
}

/* ---- watchers ---- */

/* What is missing at the time when all must be listed again. */
static void check_due(struct check *check, const disc_view *view, size_t watcher, size_t fault)
{
    const disc_histories *in = check->in;
    const char *name = in->faults[fault].name;
    uint64_t time_ns = due_ns(in, fault);
    double late_ms = after_ms(in, fault, time_ns);
    for (size_t i = 0; i < in->instance_count; i++)
        if (view->listing[i] != DISC_LISTED && lives(in, i, time_ns))
            breach(check, "relisted", "watcher %zu: i%zu was not listed %.0f ms after %s%s",
                   watcher, i, late_ms, name, view->listing[i] == DISC_HELD ? ", but held" : "");
    if (view->stale && view->stale_since_ns <= in->faults[fault].until_ns)
        breach(check, "relisted", "watcher %zu: had no contact %.0f ms after %s", watcher, late_ms,
               name);
    if (view->held && !any_was_killed(in, time_ns))
        breach(check, "relisted", "watcher %zu: %u were held %.0f ms after %s", watcher, view->held,
               late_ms, name);
}

/* After a record at a time when all must be well. */
static void check_stays(struct check *check, const disc_view *view, size_t watcher, size_t fault,
                        const disc_record *record)
{
    const disc_histories *in = check->in;
    const char *name = in->faults[fault].name;
    double late_ms = after_ms(in, fault, record->time_ns);
    if (record->what == DISC_EVENT && record->instance < in->instance_count &&
        view->listing[record->instance] != DISC_LISTED &&
        lives(in, record->instance, record->time_ns))
        breach(check, "stays_listed", "watcher %zu: i%u was %s %.0f ms after %s", watcher,
               record->instance,
               view->listing[record->instance] == DISC_HELD ? "held" : "taken out", late_ms, name);
    if (view->held && view->held_since_ns == record->time_ns &&
        !any_was_killed(in, record->time_ns))
        breach(check, "stays_listed", "watcher %zu: %u were held %.0f ms after %s", watcher,
               view->held, late_ms, name);
}

static void check_empty(struct check *check, const bool *was_listed, size_t watcher,
                        const disc_record *record)
{
    const disc_histories *in = check->in;
    for (size_t i = 0; i < in->instance_count; i++)
        if (was_listed[i] && lives(in, i, record->time_ns)) {
            breach(check, "never_empty",
                   "watcher %zu: the list was empty at %.0f ms, but i%zu lived", watcher,
                   (double)record->time_ns / 1e6, i);
            return;
        }
}

/* When a killed instance must be out of the lists. */
static uint64_t unlisted_ns(const disc_histories *in, size_t instance)
{
    uint64_t from_ns = in->instances[instance].killed_ns;
    for (size_t k = 0; k < in->fault_count; k++)
        if (in->faults[k].from_ns <= from_ns && from_ns < in->faults[k].until_ns)
            from_ns = in->faults[k].until_ns;
    return from_ns + in->unlist_ms * MS;
}

static void check_end(struct check *check, const disc_view *view, size_t watcher)
{
    const disc_histories *in = check->in;
    for (size_t i = 0; i < in->instance_count; i++) {
        bool listed = view->listing[i] != DISC_ABSENT;
        if (lives(in, i, in->end_ns)) {
            if (!listed)
                breach(check, "final", "watcher %zu: i%zu is not in the list", watcher, i);
        } else if (listed) {
            breach(check, "unlisted", "watcher %zu: i%zu was killed, and is in the list", watcher,
                   i);
        } else if (view->since_ns[i] > unlisted_ns(in, i)) {
            breach(check, "unlisted", "watcher %zu: i%zu was in the list %.0f ms after its death",
                   watcher, i,
                   (double)(int64_t)(view->since_ns[i] - in->instances[i].killed_ns) / 1e6);
        }
    }
}

static void check_watcher(struct check *check, size_t watcher)
{
    const disc_histories *in = check->in;
    const disc_log *log = &in->watchers[watcher];
    bool *was_listed = calloc(in->instance_count + 1, sizeof *was_listed);
    size_t due = 0; /* the faults before it were looked at */
    disc_view view;
    disc_view_init(&view, in);
    for (size_t k = 0; k <= log->count; k++) {
        const disc_record *record = k < log->count ? &log->records[k] : NULL;
        uint64_t time_ns = record ? record->time_ns : in->end_ns;
        for (; due < in->fault_count && due_ns(in, due) <= time_ns; due++)
            if (due_ns(in, due) < over_ns(in, due))
                check_due(check, &view, watcher, due);
        if (!record)
            break;
        uint32_t before = view.count;
        const char *wrong = disc_view_take(&view, record);
        if (wrong)
            breach(check, "true_events", "watcher %zu: %s (event %u, i%u, count %u after %u)",
                   watcher, wrong, record->type, record->instance, record->count, before);
        if (record->what == DISC_EVENT && record->instance < in->instance_count)
            was_listed[record->instance] = true;
        if (before && !record->count)
            check_empty(check, was_listed, watcher, record);
        if (due && time_ns >= due_ns(in, due - 1) && time_ns < over_ns(in, due - 1))
            check_stays(check, &view, watcher, due - 1, record);
    }
    check_end(check, &view, watcher);
    disc_view_fini(&view);
    free(was_listed);
}

/* ---- registrars ---- */

static void check_registered(struct check *check, const bool *registered, size_t log, size_t fault)
{
    const disc_histories *in = check->in;
    for (size_t i = 0; i < in->instance_count; i++)
        if (in->instances[i].log == log && !registered[i] && lives(in, i, due_ns(in, fault)))
            breach(check, "registered", "i%zu was not registered by its own word %.0f ms after %s",
                   i, after_ms(in, fault, due_ns(in, fault)), in->faults[fault].name);
}

static void check_registrar(struct check *check, size_t number)
{
    const disc_histories *in = check->in;
    const disc_log *log = &in->registrars[number];
    bool *registered = calloc(in->instance_count + 1, sizeof *registered);
    size_t due = 0;
    for (size_t k = 0; k <= log->count; k++) {
        const disc_record *record = k < log->count ? &log->records[k] : NULL;
        uint64_t time_ns = record ? record->time_ns : in->end_ns;
        for (; due < in->fault_count && due_ns(in, due) <= time_ns; due++)
            if (due_ns(in, due) < over_ns(in, due))
                check_registered(check, registered, number, due);
        if (!record || record->instance >= in->instance_count)
            continue;
        bool is = record->type == FW_REGISTRAR_REGISTERED;
        if (registered[record->instance] && !is && due && time_ns >= due_ns(in, due - 1) &&
            time_ns < over_ns(in, due - 1) && lives(in, record->instance, time_ns))
            breach(check, "stays_listed", "i%u: its registration was lost %.0f ms after %s",
                   record->instance, after_ms(in, due - 1, time_ns), in->faults[due - 1].name);
        registered[record->instance] = is;
    }
    free(registered);
}

/* ---- the whole ---- */

static void check_final(struct check *check)
{
    const disc_histories *in = check->in;
    size_t at = 0;
    for (size_t i = 0; i < in->instance_count; i++) {
        while (at < in->final_count && in->final[at] < i)
            at++;
        bool there = at < in->final_count && in->final[at] == i;
        if (there != lives(in, i, in->end_ns))
            breach(check, "final", "the store %s i%zu", there ? "still has" : "does not have", i);
    }
    for (size_t k = 0; k < in->final_count; k++)
        if (in->final[k] >= in->instance_count)
            breach(check, "final", "the store has an instance that there never was");
}

size_t disc_check(const disc_histories *histories, FILE *out)
{
    struct check check = {.in = histories, .out = out};
    for (size_t i = 0; i < histories->watcher_count; i++)
        check_watcher(&check, i);
    for (size_t i = 0; i < histories->registrar_count; i++)
        check_registrar(&check, i);
    for (size_t i = 0; i < histories->process_count; i++)
        if (!histories->processes[i].killed && histories->processes[i].code)
            breach(&check, "no_exit", "%s ended with %d", histories->processes[i].name,
                   histories->processes[i].code);
    check_final(&check);
    if (check.breaches > MOST_SAID)
        fprintf(out, "... and %zu more\n", check.breaches - MOST_SAID);
    return check.breaches;
}

/* ---- measures ---- */

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* When a watcher had all again, of its records before a time. */
static uint64_t watcher_recovered_ns(const disc_histories *in, const disc_log *log,
                                     uint64_t until_ns, uint64_t over)
{
    uint64_t last_ns = 0, contact_ns = 0;
    disc_view view;
    disc_view_init(&view, in);
    for (size_t k = 0; k < log->count && log->records[k].time_ns < over; k++) {
        bool was_stale = view.stale;
        (void)disc_view_take(&view, &log->records[k]);
        /* The first contact: what is lost and found later has other reasons. */
        if (was_stale && !view.stale && contact_ns <= until_ns)
            contact_ns = view.stale_since_ns;
    }
    for (size_t i = 0; i < in->instance_count; i++)
        if (lives(in, i, over))
            last_ns = later(last_ns, view.since_ns[i]);
    last_ns = later(later(last_ns, contact_ns), view.held_since_ns);
    disc_view_fini(&view);
    return last_ns;
}

uint64_t disc_recovery_ns(const disc_histories *in, size_t fault)
{
    uint64_t until_ns = in->faults[fault].until_ns, over = over_ns(in, fault), last_ns = until_ns;
    for (size_t i = 0; i < in->watcher_count; i++)
        last_ns = later(last_ns, watcher_recovered_ns(in, &in->watchers[i], until_ns, over));
    for (size_t i = 0; i < in->registrar_count; i++)
        for (size_t k = 0; k < in->registrars[i].count; k++)
            if (in->registrars[i].records[k].time_ns < over)
                last_ns = later(last_ns, in->registrars[i].records[k].time_ns);
    return last_ns - until_ns;
}

uint64_t disc_unlisting_ns(const disc_histories *in)
{
    uint64_t longest_ns = 0;
    for (size_t w = 0; w < in->watcher_count; w++)
        for (size_t k = 0; k < in->watchers[w].count; k++) {
            const disc_record *record = &in->watchers[w].records[k];
            if (record->what != DISC_EVENT || record->instance >= in->instance_count)
                continue;
            uint64_t killed_ns = in->instances[record->instance].killed_ns;
            if (killed_ns && record->time_ns > killed_ns)
                longest_ns = later(longest_ns, record->time_ns - killed_ns);
        }
    return longest_ns;
}
