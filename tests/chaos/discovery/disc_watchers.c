/* Those who look for instances: watchers that write down what they hear. */
#include "disc_role.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

struct watchers;

struct one {
    struct watchers *all;
    fw_watcher *watcher;
    disc_sheet *sheet;
    uint32_t count, held; /* as written down last */
};

struct watchers {
    disc_life *life;
    struct one ones[2];
    size_t open;
};

/* "i7" -> 7 */
static uint32_t number_of(const fw_instance *instance)
{
    char *end;
    if (strcmp(instance->service, DISC_SERVICE) || instance->id[0] != 'i')
        return DISC_NO_INSTANCE;
    unsigned long number = strtoul(instance->id + 1, &end, 10);
    return *end || end == instance->id + 1 ? DISC_NO_INSTANCE : (uint32_t)number;
}

static void look(struct one *one, disc_record *ret_record)
{
    const fw_snapshot *snapshot;
    if (fw_watcher_snapshot(one->watcher, &snapshot))
        abort();
    ret_record->count = (uint32_t)snapshot->count;
    ret_record->held = (uint32_t)snapshot->held;
    fw_snapshot_release(snapshot);
}

static void write_down(struct one *one, disc_record record)
{
    one->count = record.count;
    one->held = record.held;
    disc_sheet_add(one->sheet, record);
}

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    struct one *one = arg;
    disc_record record = {.what = DISC_EVENT,
                          .type = (uint8_t)event->type,
                          .instance =
                              event->instance ? number_of(event->instance) : DISC_NO_INSTANCE};
    one->watcher = watcher;
    look(one, &record);
    write_down(one, record);
}

static void on_look(void *arg)
{
    struct watchers *all = arg;
    for (size_t i = 0; i < 2; i++) {
        struct one *one = &all->ones[i];
        disc_record record = {.what = DISC_SAMPLE, .instance = DISC_NO_INSTANCE};
        look(one, &record);
        if (record.count != one->count || record.held != one->held)
            write_down(one, record);
    }
}

static void on_watcher_closed(void *arg)
{
    struct watchers *all = arg;
    if (!--all->open)
        disc_life_close(all->life);
}

static void on_finish(void *arg)
{
    struct watchers *all = arg;
    for (size_t i = 0; i < 2; i++)
        fw_watcher_close(all->ones[i].watcher, on_watcher_closed, all);
}

int disc_watchers_run(const char *url, disc_sheet *const sheets[2])
{
    struct watchers all = {.open = 2};
    all.life = disc_life_new(url, sheets[0], on_look, on_finish, &all);
    if (!all.life)
        return 1;
    for (size_t i = 0; i < 2; i++) {
        struct one *one = &all.ones[i];
        *one = (struct one){.all = &all, .sheet = sheets[i]};
        fw_watcher_options options = {.on_event = on_event, .arg = one};
        int err = fw_watcher_new(disc_life_kv(all.life), i ? NULL : DISC_SERVICE, &options,
                                 &one->watcher);
        if (err) {
            fprintf(stderr, "cannot watch: %s\n", fw_strerror(err));
            exit(1);
        }
    }
    return disc_life_run(all.life);
}
