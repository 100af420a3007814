/* The clock, the events and the processes of a simulated world. */
#include "sim.h"

#include "sim_impl.h"

#include <assert.h>
#include <stdlib.h>

struct sim_event {
    uint64_t at_ms, number;
    sim_fn fn;
    void *arg;
};

void *sim_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        abort(); /* a test without memory has nothing to say */
    return memory;
}

uint32_t sim_random(sim_world *world, uint32_t bound)
{
    /* splitmix64, as base/random.c */
    uint64_t z = (world->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((((z ^ (z >> 31)) >> 32) * (uint64_t)bound) >> 32);
}

void sim_note(sim_world *world, uint64_t what)
{
    world->digest = (world->digest ^ what ^ world->now_ms << 20) * 0x100000001b3u;
}

/* ---- events ---- */

static bool is_before(const sim_event *a, const sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->number < b->number);
}

static void swap(sim_world *world, size_t i, size_t j)
{
    sim_event *event = world->events[i];
    world->events[i] = world->events[j];
    world->events[j] = event;
}

void sim_after(sim_world *world, uint64_t delay_ms, sim_fn fn, void *arg)
{
    if (world->event_count == world->event_capacity) {
        world->event_capacity = world->event_capacity ? world->event_capacity * 2 : 64;
        world->events = realloc(world->events, world->event_capacity * sizeof(sim_event *));
        if (!world->events)
            abort();
    }
    sim_event *event = sim_alloc(sizeof *event);
    *event = (sim_event){world->now_ms + delay_ms, world->next_event++, fn, arg};
    size_t i = world->event_count++;
    world->events[i] = event;
    for (; i && is_before(event, world->events[(i - 1) / 2]); i = (i - 1) / 2)
        swap(world, i, (i - 1) / 2);
}

static sim_event *pop(sim_world *world)
{
    sim_event *event = world->events[0];
    world->events[0] = world->events[--world->event_count];
    for (size_t i = 0;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < world->event_count && is_before(world->events[child], world->events[least]))
                least = child;
        if (least == i)
            return event;
        swap(world, i, least);
        i = least;
    }
}

/* ---- time ---- */

static uint64_t next_ms(sim_world *world)
{
    uint64_t next = world->event_count ? world->events[0]->at_ms : UINT64_MAX;
    fwi_list_for_each (node, &world->processes) {
        sim_process *process = fwi_container_of(node, sim_process, node);
        uint64_t at = process->is_paused ? UINT64_MAX : fwi_loop_next_ms(process->loop);
        if (at < next)
            next = at;
    }
    return next;
}

void sim_process_wake(sim_process *process)
{
    if (process->world->on_turn)
        process->world->on_turn(process);
    fwi_loop_set_time(process->loop, process->world->now_ms);
}

void sim_run_until(sim_world *world, uint64_t until_ms)
{
    for (uint64_t next; (next = next_ms(world)) <= until_ms;) {
        if (next > world->now_ms)
            world->now_ms = next;
        while (world->event_count && world->events[0]->at_ms <= world->now_ms) {
            sim_event *event = pop(world);
            event->fn(event->arg);
            free(event);
        }
        fwi_list_for_each_safe (node, &world->processes) {
            sim_process *process = fwi_container_of(node, sim_process, node);
            if (!process->is_paused && fwi_loop_next_ms(process->loop) <= world->now_ms)
                sim_process_wake(process);
        }
    }
    if (world->now_ms < until_ms) /* an event may have run it on */
        world->now_ms = until_ms;
}

/* ---- processes ---- */

sim_process *sim_process_new(sim_world *world)
{
    sim_process *process = sim_alloc(sizeof *process);
    process->world = world;
    process->number = world->next_process++;
    if (fwi_loop_new_virtual(&process->loop, world->now_ms))
        abort();
    fwi_list_push_back(&world->processes, &process->node);
    return process;
}

void sim_process_pause(sim_process *process, bool is_paused)
{
    process->is_paused = is_paused;
}

void sim_process_kill(sim_process *process)
{
    process->is_dead = true;
    process->is_paused = false;
}

void sim_process_free(sim_process *process)
{
    fwi_list_remove(&process->node);
    int err = fw_loop_close(process->loop);
    assert(!err);
    (void)err;
    process->loop = NULL;
    /* Messages that are still on their way look at it. */
    fwi_list_push_back(&process->world->ended, &process->node);
}

/* ---- the world ---- */

sim_world *sim_world_new(uint64_t seed)
{
    sim_world *world = sim_alloc(sizeof *world);
    world->random = seed;
    world->now_ms = 1000;
    world->log_keep = 200;
    fwi_list_init(&world->processes);
    fwi_list_init(&world->ended);
    sim_store_init(world);
    return world;
}

void sim_world_free(sim_world *world)
{
    fwi_list_for_each_safe (node, &world->processes)
        sim_process_free(fwi_container_of(node, sim_process, node));
    /* Messages own their memory: they run out, with nobody to hear them. */
    sim_store_fini(world);
    world->is_down = true;
    while (world->event_count) {
        sim_event *event = pop(world);
        world->now_ms = event->at_ms;
        event->fn(event->arg);
        free(event);
    }
    fwi_list_for_each_safe (node, &world->ended)
        free(fwi_container_of(node, sim_process, node));
    free(world->events);
    free(world);
}
