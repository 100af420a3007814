/* mem: has no server, and lives in one process: what can happen to it is that this is stopped. */
#include "chaos.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(chaos_stage *chaos)
{
    (void)chaos;
}

static void write_url(chaos_stage *chaos, int port, char *url, size_t size)
{
    (void)chaos;
    (void)port;
    snprintf(url, size, "mem:chaos");
}

/* The whole process sleeps beyond the time of its leases: all of them are over, at the same time
 * for the store and for the holders. */
static void process_stopped(chaos_stage *chaos)
{
    chaos_run_some(chaos, 200, 500);
    pid_t parent = getpid(), waker = fork();
    ck_assert_int_ge(waker, 0);
    if (!waker) {
        kill(parent, SIGSTOP);
        poll(NULL, 0, CHAOS_TTL_MS + 1500);
        kill(parent, SIGCONT);
        _exit(0);
    }
    for (size_t i = 0; i < chaos->count; i++)
        chaos->clients[i].paused = true;
    waitpid(waker, NULL, 0);
    chaos_recover(chaos);
}

static const chaos_scenario scenarios[] = {{"calm", .run = chaos_calm, .clients = 4},
                                           {"process_stopped", .run = process_stopped},
                                           {.name = NULL}};

const chaos_driver chaos_this_driver = {
    .name = "mem", .scenarios = scenarios, .start = nothing, .stop = nothing, .url = write_url};
