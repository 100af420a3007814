#include "base/timer_wheel.h"

#define BITS     6
#define MASK     (FWI_WHEEL_SLOTS - 1)
#define FARTHEST ((UINT64_C(1) << (BITS * FWI_WHEEL_LEVELS)) - 1)

void fwi_wheel_init(fwi_wheel *wheel, uint64_t now_ms)
{
    wheel->now_ms = now_ms;
    wheel->armed = 0;
    for (int level = 0; level < FWI_WHEEL_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (int slot = 0; slot < FWI_WHEEL_SLOTS; slot++)
            fwi_list_init(&wheel->slots[level][slot]);
    }
    fwi_list_init(&wheel->expired);
}

static void place(fwi_wheel *wheel, fwi_timer *timer)
{
    uint64_t at = timer->due_ms > wheel->now_ms ? timer->due_ms : wheel->now_ms + 1;
    uint64_t delta = at - wheel->now_ms;
    if (delta > FARTHEST) {
        delta = FARTHEST;
        at = wheel->now_ms + FARTHEST;
    }
    int level = 0;
    while (level < FWI_WHEEL_LEVELS - 1 && delta >> (BITS * (level + 1)))
        level++;
    unsigned slot = (unsigned)(at >> (BITS * level)) & MASK;
    timer->level = (uint8_t)level;
    timer->slot = (uint8_t)slot;
    fwi_list_push_back(&wheel->slots[level][slot], &timer->node);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void fwi_wheel_arm(fwi_wheel *wheel, fwi_timer *timer, uint64_t due_ms)
{
    fwi_wheel_disarm(wheel, timer);
    timer->due_ms = due_ms;
    wheel->armed++;
    place(wheel, timer);
}

static void unlink_timer(fwi_wheel *wheel, fwi_timer *timer)
{
    fwi_list_remove(&timer->node);
    if (timer->level < FWI_WHEEL_LEVELS && fwi_list_empty(&wheel->slots[timer->level][timer->slot]))
        wheel->occupied[timer->level] &= ~(UINT64_C(1) << timer->slot);
    timer->node.next = NULL;
}

void fwi_wheel_disarm(fwi_wheel *wheel, fwi_timer *timer)
{
    if (!fwi_timer_armed(timer))
        return;
    unlink_timer(wheel, timer);
    wheel->armed--;
}

static uint64_t rotate_right(uint64_t bits, unsigned by)
{
    by &= MASK;
    return by ? bits >> by | bits << (FWI_WHEEL_SLOTS - by) : bits;
}

/* The slots of a level that time passes when it moves from one tick to another (the latter
 * included). */
static uint64_t passed_slots(uint64_t from_tick, uint64_t to_tick)
{
    uint64_t count = to_tick - from_tick;
    if (count >= FWI_WHEEL_SLOTS)
        return UINT64_MAX;
    uint64_t ones = (UINT64_C(1) << count) - 1;
    unsigned first = (unsigned)(from_tick + 1) & MASK;
    return rotate_right(ones, FWI_WHEEL_SLOTS - first);
}

void fwi_wheel_advance(fwi_wheel *wheel, uint64_t now_ms)
{
    if (now_ms <= wheel->now_ms)
        return;
    fwi_list passed;
    fwi_list_init(&passed);
    for (int level = 0; level < FWI_WHEEL_LEVELS; level++) {
        uint64_t from = wheel->now_ms >> (BITS * level), to = now_ms >> (BITS * level);
        if (from == to)
            break;
        uint64_t hit = passed_slots(from, to) & wheel->occupied[level];
        wheel->occupied[level] &= ~hit;
        for (; hit; hit &= hit - 1)
            fwi_list_splice(&passed, &wheel->slots[level][__builtin_ctzll(hit)]);
    }
    wheel->now_ms = now_ms;
    for (fwi_list *node; (node = fwi_list_pop(&passed));) {
        fwi_timer *timer = fwi_container_of(node, fwi_timer, node);
        if (timer->due_ms > now_ms) {
            place(wheel, timer);
        } else {
            timer->level = FWI_WHEEL_LEVELS;
            fwi_list_push_back(&wheel->expired, node);
        }
    }
    /* Callbacks last: they may disarm what is still in the expired list. */
    for (fwi_list *node; (node = fwi_list_pop(&wheel->expired));) {
        fwi_timer *timer = fwi_container_of(node, fwi_timer, node);
        timer->node.next = NULL;
        wheel->armed--;
        timer->fn(timer, timer->arg);
    }
}

uint64_t fwi_wheel_next_ms(const fwi_wheel *wheel)
{
    uint64_t next = UINT64_MAX;
    for (int level = 0; level < FWI_WHEEL_LEVELS; level++) {
        if (!wheel->occupied[level])
            continue;
        uint64_t tick = wheel->now_ms >> (BITS * level);
        uint64_t ahead = rotate_right(wheel->occupied[level], (unsigned)(tick + 1) & MASK);
        uint64_t at = (tick + 1 + (unsigned)__builtin_ctzll(ahead)) << (BITS * level);
        if (at < next)
            next = at;
    }
    return next;
}
