/* An instance that leaves is marked first, and consumers have some time to see that. */
#include "cli_drain.h"

#define LOOK_EVERY_MS 50

/* Where the registrar has the mark, once it was read back. */
static void find_mark(const fw_registrar_entry *entry, void *arg)
{
    if (entry->registered && entry->instance->state == FW_INSTANCE_OFFLINE)
        *(int64_t *)arg = entry->revision;
}

static int64_t mark_revision(const cli_drain *drain)
{
    int64_t mark = 0;
    fw_registrar_each(drain->registrar, find_mark, &mark);
    return mark;
}

static void end(cli_drain *drain, size_t consumers)
{
    cli_drain_stop(drain);
    drain->on_done(consumers, drain->arg);
}

/* The consumers that are announced have all seen the mark: there is nothing to wait for. If none is
 * announced there may be some that do not tell. */
static void on_consumers(int status, const char *detail, const fw_consumer *consumers, size_t count,
                         void *arg)
{
    (void)detail;
    cli_drain *drain = arg;
    drain->is_looking = false;
    if (!drain->is_waiting || status || !count)
        return;
    int64_t mark = mark_revision(drain);
    for (size_t i = 0; i < count; i++)
        if (!mark || consumers[i].revision < mark)
            return;
    end(drain, count);
}

static void on_look(uv_timer_t *timer)
{
    cli_drain *drain = timer->data;
    if (!drain->is_looking && mark_revision(drain))
        drain->is_looking =
            !fw_consumers_list(drain->kv, drain->instance->service, on_consumers, drain);
}

static void on_deadline(uv_timer_t *timer)
{
    end(timer->data, 0);
}

void cli_drain_init(cli_drain *drain, fw_loop *loop)
{
    uv_timer_init(fw_loop_uv(loop), &drain->deadline);
    uv_timer_init(fw_loop_uv(loop), &drain->look);
    drain->deadline.data = drain->look.data = drain;
}

int cli_drain_start(cli_drain *drain)
{
    fw_instance offline = *drain->instance;
    offline.state = FW_INSTANCE_OFFLINE;
    int err = fw_registrar_set(drain->registrar, &offline);
    if (err)
        return err;
    drain->is_waiting = true;
    uv_timer_start(&drain->deadline, on_deadline, drain->within_ms, 0);
    uv_timer_start(&drain->look, on_look, 0, LOOK_EVERY_MS);
    return FW_OK;
}

void cli_drain_stop(cli_drain *drain)
{
    drain->is_waiting = false;
    uv_timer_stop(&drain->deadline);
    uv_timer_stop(&drain->look);
}

void cli_drain_fini(cli_drain *drain)
{
    uv_close((uv_handle_t *)&drain->deadline, NULL);
    uv_close((uv_handle_t *)&drain->look, NULL);
}
