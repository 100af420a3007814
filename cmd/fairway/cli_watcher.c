/* The watcher that resolve, watch and why look through. */
#include "cli.h"

void cli_watcher_end(cli_watcher *watch, int exit_code)
{
    if (watch->is_ended)
        return;
    watch->is_ended = true;
    uv_close((uv_handle_t *)&watch->timer, NULL);
    fw_watcher_close(watch->watcher, NULL, NULL);
    cli_stop(watch->cli, exit_code);
}

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    cli_watcher *watch = arg;
    if (watch->is_ended)
        return;
    watch->restored = watch->restored || event->type == FW_WATCHER_RESTORED;
    watch->synced = watch->synced || event->type == FW_WATCHER_SYNCED;
    if (event->type == FW_WATCHER_STALE) {
        watch->reason = event->reason;
        snprintf(watch->detail, sizeof watch->detail, "%s", event->detail);
    }
    bool is_fatal = event->type == FW_WATCHER_FATAL;
    if (is_fatal && !watch->is_endless) {
        cli_watcher_end(watch, cli_fail_error(watch->cli->store, event->reason, event->detail));
        return;
    }
    watch->on_event(event, watch->arg);
    if (is_fatal)
        cli_watcher_end(watch, cli_exit_code(event->reason));
}

static void on_timer(uv_timer_t *timer)
{
    cli_watcher *watch = timer->data;
    if (watch->synced || watch->restored)
        watch->on_time(watch->arg);
    else
        cli_watcher_end(watch, cli_fail_error(watch->cli->store,
                                              watch->reason ? watch->reason : FW_EDEADLINE,
                                              watch->detail));
}

void cli_watcher_wait(cli_watcher *watch, uint32_t ms)
{
    uv_timer_start(&watch->timer, on_timer, ms, 0);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    cli_watcher *watch = arg;
    if (watch->on_signal && watch->on_signal(watch->arg))
        cli->stopped = false; /* it goes on; the next signal comes here, too */
    else
        cli_watcher_end(watch, watch->is_endless ? EXIT_DONE : 128 + signal);
}

int cli_run_watcher(cli_context *cli, cli_watcher *watch)
{
    int rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    watch->cli = cli;
    /* A saved list is that of all services, so that one file serves every command. */
    fw_watcher_options options = {.saved_list = watch->saved_list,
                                  .consumer = watch->consumer,
                                  .on_event = on_event,
                                  .arg = watch};
    int err = fw_watcher_new(cli->kv, watch->saved_list ? NULL : watch->service, &options,
                             &watch->watcher);
    if (err) {
        cli_stop(cli, cli_fail_error(watch->service ? watch->service : "services", err, NULL));
        return cli_run(cli);
    }
    cli->on_signal = on_signal;
    cli->signal_arg = watch;
    uv_timer_init(fw_loop_uv(cli->loop), &watch->timer);
    watch->timer.data = watch;
    if (!watch->is_endless)
        cli_watcher_wait(watch, cli->timeout_ms);
    return cli_run(cli);
}
