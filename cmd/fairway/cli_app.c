/* Commands that run until a signal, made of components. */
#include "cli.h"

#include <unistd.h>

/* Components have deadlines of their own, which come first: --drain-timeout, and that of the store
 * for leaving it. */
#define SPARE_MS 10000

static uint32_t with_spare(uint32_t ms)
{
    return ms < UINT32_MAX - SPARE_MS ? ms + SPARE_MS : UINT32_MAX;
}

static void on_running(fw_app *app, void *arg)
{
    (void)app;
    const cli_app *components = arg;
    components->on_running(components->arg);
}

static void on_ended(fw_app *app, const fw_app_end *end, void *arg)
{
    (void)app;
    cli_context *cli = ((const cli_app *)arg)->cli;
    if (end->status && !cli->exit_code)
        cli->exit_code = cli_fail_error(end->component ? end->component : cli->command, end->status,
                                        end->detail);
    if (end->is_forced)
        _exit(end->signal ? 128 + end->signal : cli->exit_code);
    cli->on_signal = NULL;
    cli_stop(cli, cli->exit_code);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    cli->stopped = false; /* the next one comes here, too */
    fw_app_signal(arg, signal);
}

void cli_component_fail(cli_context *cli, fw_app_step *step, int exit_code)
{
    cli->exit_code = exit_code;
    fw_app_done(step, FW_ECANCELED, NULL);
}

int cli_run_app(cli_context *cli, cli_app *components)
{
    fw_app_options options = {.no_signals = true,
                              .drain_timeout_ms = with_spare(components->drain_ms),
                              .stop_timeout_ms = with_spare(cli->timeout_ms),
                              .on_running = on_running,
                              .on_ended = on_ended,
                              .arg = components};
    fw_app *app = NULL;
    components->cli = cli;
    int err = fw_app_new(cli->loop, &options, &app);
    for (size_t i = 0; !err && i < components->count; i++)
        err = fw_app_add(app, &components->list[i]);
    if (!err)
        err = fw_app_start(app);
    if (err) {
        fw_app_discard(app);
        cli_stop(cli, cli_fail_error(cli->command, err, NULL));
        return cli_run(cli);
    }
    cli->on_signal = on_signal;
    cli->signal_arg = app;
    return cli_run(cli);
}
