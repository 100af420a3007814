/* The last time of an instance of this process: offline, until who is announced has seen it. */
#ifndef CLI_DRAIN_H
#define CLI_DRAIN_H

#include "cli.h"

#define CLI_DRAIN_MS 2000 /* initially */

typedef struct cli_drain {
    /* To be set before cli_drain_start. */
    fw_kv *kv;
    fw_registrar *registrar;
    const fw_instance *instance;
    uint32_t within_ms;
    /* All announced consumers have seen it: so many; or the time is over: 0. */
    void (*on_done)(size_t consumers, void *arg);
    void *arg;

    uv_timer_t deadline, look;
    bool is_looking, is_waiting;
} cli_drain;

void cli_drain_init(cli_drain *drain, fw_loop *loop);
/* Marks the instance; on_done follows if this is 0. Errors as fw_registrar_set. */
int cli_drain_start(cli_drain *drain);
/* on_done does not come any more. */
void cli_drain_stop(cli_drain *drain);
/* The memory must last until the loop has ended. */
void cli_drain_fini(cli_drain *drain);

#endif
