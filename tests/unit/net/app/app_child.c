/* A program of components: `app_child DRAIN_MS STOP_MS COMPONENT...` (0: the defaults). Exits with
 * 0, 1 if something went wrong, 9 if its end was forced. */
#include "app_parts.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int exit_code;

static void say(const char *what, const char *who)
{
    printf("%s %s\n", what, who);
    fflush(stdout);
}

static void on_running(fw_app *app, void *arg)
{
    (void)app;
    (void)arg;
    say("running", "now");
}

static void on_ending(fw_app *app, int signal, void *arg)
{
    (void)app;
    (void)arg;
    printf("ending by %d\n", signal);
    fflush(stdout);
}

static void on_ended(fw_app *app, const fw_app_end *end, void *arg)
{
    (void)app;
    (void)arg;
    printf("ended: %s, %s: %s, signal %d%s\n", end->status ? fw_error_name(end->status) : "OK",
           end->component ? end->component : "(none)", end->detail, end->signal,
           end->is_forced ? ", forced" : "");
    fflush(stdout);
    if (end->is_forced)
        _exit(9);
    exit_code = end->status != 0;
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    fw_app *app;
    app_say = say;
    fw_app_options options = {.drain_timeout_ms = (uint32_t)strtoul(argv[1], NULL, 10),
                              .stop_timeout_ms = (uint32_t)strtoul(argv[2], NULL, 10),
                              .on_running = on_running,
                              .on_ending = on_ending,
                              .on_ended = on_ended};
    if (fw_loop_new(&loop) || fw_app_new(loop, &options, &app))
        return 2;
    for (int i = 3; i < argc; i++)
        if (app_add_part(app, loop, argv[i]))
            return 2;
    if (fw_app_start(app))
        return 2;
    fw_loop_run(loop);
    return fw_loop_close(loop) ? 3 : exit_code;
}
