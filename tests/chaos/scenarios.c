/* The faults that need nothing of a particular store. */
#include "chaos.h"

#include <signal.h>
#include <uv.h>

/* Longer than a lease lives without its owner. */
#define OUTAGE_MS (CHAOS_TTL_MS + 1500)

void chaos_calm(chaos_stage *chaos)
{
    chaos_run_for(chaos, 1500);
}

void chaos_server_killed(chaos_stage *chaos)
{
    for (int i = 0; i < 2; i++) {
        chaos_run_some(chaos, 200, 700);
        chaos->driver->kill(chaos);
        chaos_run_some(chaos, 0, 600);
        chaos->driver->restart(chaos);
        chaos_recover(chaos);
    }
}

void chaos_server_stopped(chaos_stage *chaos)
{
    chaos_run_some(chaos, 200, 500);
    chaos->driver->signal(chaos, SIGSTOP);
    chaos_run_for(chaos, OUTAGE_MS);
    chaos->driver->signal(chaos, SIGCONT);
    chaos_recover(chaos);
    chaos_run_some(chaos, 200, 500);
}

void chaos_connection_cut(chaos_stage *chaos)
{
    for (int i = 0; i < 6; i++) {
        chaos_run_some(chaos, 100, 400);
        bool refuses = chaos_roll(chaos, 2);
        if (refuses)
            fwt_proxy_refuse(chaos->proxy);
        fwt_proxy_cut(chaos->proxy, chaos_roll(chaos, 2));
        if (refuses)
            chaos_run_some(chaos, 0, 400);
        fwt_proxy_pass(chaos->proxy);
    }
    chaos_recover(chaos);
}

void chaos_connection_frozen(chaos_stage *chaos)
{
    chaos_run_some(chaos, 200, 500);
    fwt_proxy_freeze(chaos->proxy, FWT_PROXY_BOTH);
    chaos_run_for(chaos, OUTAGE_MS);
    fwt_proxy_pass(chaos->proxy);
    chaos_recover(chaos);
    for (unsigned way = FWT_PROXY_REQUESTS; way <= FWT_PROXY_REPLIES; way++) {
        fwt_proxy_freeze(chaos->proxy, way);
        chaos_run_some(chaos, 300, 1500);
        fwt_proxy_pass(chaos->proxy);
        chaos_recover(chaos);
    }
}

void chaos_reply_lost(chaos_stage *chaos)
{
    for (int i = 0; i < 5; i++) {
        chaos_run_some(chaos, 100, 300);
        fwt_proxy_swallow(chaos->proxy, chaos_roll(chaos, 400));
        chaos_run_some(chaos, 20, 300);
        fwt_proxy_cut(chaos->proxy, chaos_roll(chaos, 2));
        fwt_proxy_pass(chaos->proxy);
    }
    chaos_recover(chaos);
}

void chaos_connection_slow(chaos_stage *chaos)
{
    chaos_run_some(chaos, 100, 300);
    fwt_proxy_delay(chaos->proxy, 40);
    chaos_run_for(chaos, 1000);
    fwt_proxy_delay(chaos->proxy, 200);
    chaos_run_for(chaos, 1000);
    fwt_proxy_pass(chaos->proxy);
    chaos_recover(chaos);
}

void chaos_client_stopped(chaos_stage *chaos)
{
    for (size_t i = 0; i < 2; i++) {
        chaos_client *client = &chaos->clients[i];
        chaos_run_some(chaos, 100, 300);
        /* Best in the middle of what the lock protects; but it may be another's. */
        (void)chaos_await(chaos, &client->sheet->holding, 3000);
        chaos_pause_client(chaos, client, OUTAGE_MS);
        chaos_recover(chaos);
    }
}

void chaos_client_killed(chaos_stage *chaos)
{
    for (size_t i = 0; i < 3; i++) {
        chaos_client *client = &chaos->clients[chaos_roll(chaos, chaos->count)];
        chaos_run_some(chaos, 100, 500);
        if (client->killed_ns)
            continue;
        if (i == 0)
            (void)chaos_await(chaos, &client->sheet->holding, 3000);
        chaos_kill_client(chaos, client);
        chaos_add_client(chaos, true);
    }
    chaos_recover(chaos);
}

void chaos_store_wiped(chaos_stage *chaos)
{
    chaos_run_some(chaos, 500, 800);
    chaos_put_ends(chaos, 1500);
    chaos->driver->kill(chaos);
    chaos_run_for(chaos, 300); /* what it had answered is heard */
    chaos->driver->wipe(chaos);
    chaos->wiped_from_ns = chaos->wiped_ns = uv_hrtime();
    chaos->driver->restart(chaos);
    chaos_recover(chaos);
    chaos_run_some(chaos, 200, 500);
}
