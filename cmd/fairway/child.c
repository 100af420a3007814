#include "child.h"

#include <signal.h>

static const int passed_on[CHILD_SIGNALS] = {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

void cli_child_signal(cli_child *child, int signal)
{
    if (child->running)
        uv_process_kill(&child->process, signal);
}

static void on_signal(uv_signal_t *handle, int signal)
{
    cli_child_signal(handle->data, signal);
}

static void close_handles(cli_child *child)
{
    for (size_t i = 0; i < CHILD_SIGNALS; i++)
        uv_close((uv_handle_t *)&child->signals[i], NULL);
    uv_close((uv_handle_t *)&child->process, NULL);
}

static void on_exit(uv_process_t *process, int64_t status, int signal)
{
    cli_child *child = process->data;
    child->running = false;
    close_handles(child);
    child->on_exit(signal ? 128 + signal : (int)status, child->arg);
}

int cli_child_start(cli_child *child, cli_context *cli, char **command)
{
    uv_loop_t *loop = fw_loop_uv(cli->loop);
    for (size_t i = 0; i < CHILD_SIGNALS; i++) {
        uv_signal_init(loop, &child->signals[i]);
        child->signals[i].data = child;
        uv_signal_start(&child->signals[i], on_signal, passed_on[i]);
    }
    uv_stdio_container_t stdio[3];
    for (int i = 0; i < 3; i++)
        stdio[i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i};
    uv_process_options_t options = {
        .file = command[0], .args = command, .stdio = stdio, .stdio_count = 3, .exit_cb = on_exit};
    child->process.data = child;
    int err = uv_spawn(loop, &child->process, &options);
    if (err) {
        close_handles(child);
        return cli_fail_error(command[0], err, NULL);
    }
    child->running = true;
    return -1;
}
