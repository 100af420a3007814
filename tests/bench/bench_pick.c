/*
 * What a pick costs: bench_pick [ENDPOINTS] [BALANCER]. A JSON line for each balancer: nanoseconds
 * of a pick without and with a key, and of a change of the list. Calls stay in flight for a while,
 * so that loads differ.
 */
#include <fairway/balancer.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PICKS     4000000
#define UPDATES   10
#define IN_FLIGHT 4096

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static fw_balancer_endpoint *make_list(size_t count)
{
    fw_balancer_endpoint *endpoints = calloc(count, sizeof *endpoints);
    fw_instance *instances = calloc(count, sizeof *instances);
    char(*ids)[32] = calloc(count, sizeof *ids);
    if (!endpoints || !instances || !ids)
        exit(2);
    for (size_t i = 0; i < count; i++) {
        snprintf(ids[i], sizeof ids[i], "node-%zu", i);
        uint32_t weight = 1 + (uint32_t)(i % 3);
        instances[i] = (fw_instance){.id = ids[i], .weight = weight};
        endpoints[i] = (fw_balancer_endpoint){.instance = &instances[i],
                                              .usable = i % 100 != 99,
                                              .weight = weight,
                                              .latency_ms = 1 + (double)(i % 7),
                                              .latency_at_ms = i};
    }
    return endpoints;
}

static double time_picks(const fw_balancer *balancer, void *state, fw_balancer_endpoint *endpoints,
                         bool has_key)
{
    static int ring[IN_FLIGHT];
    for (size_t i = 0; i < IN_FLIGHT; i++)
        ring[i] = -1;
    double began = now_ns();
    for (uint64_t i = 0; i < PICKS; i++) {
        fw_balancer_call call = {
            .now_ms = 2000 + i / 100000, .has_key = has_key, .key = i, .in_flight = IN_FLIGHT};
        int *slot = &ring[i % IN_FLIGHT];
        if (*slot >= 0)
            endpoints[*slot].in_flight--;
        *slot = balancer->pick(state, &call);
        endpoints[*slot].in_flight++;
    }
    double took = now_ns() - began;
    for (size_t i = 0; i < IN_FLIGHT; i++)
        endpoints[ring[i]].in_flight--;
    return took / PICKS;
}

static void measure(const fw_balancer *balancer, size_t count)
{
    fw_balancer_endpoint *endpoints = make_list(count);
    void *state = balancer->create();
    double began = now_ns();
    for (int i = 0; i < UPDATES; i++)
        if (!state || balancer->update(state, endpoints, count))
            exit(2);
    double update_ns = (now_ns() - began) / UPDATES;
    double pick_ns = time_picks(balancer, state, endpoints, false);
    double keyed_ns = time_picks(balancer, state, endpoints, true);
    printf("{\"bench\":\"pick\",\"balancer\":\"%s\",\"endpoints\":%zu,\"pick_ns\":%.1f,"
           "\"pick_key_ns\":%.1f,\"update_us\":%.1f}\n",
           balancer->name, count, pick_ns, keyed_ns, update_ns / 1000);
    fflush(stdout);
    balancer->destroy(state);
    free((void *)endpoints[0].instance->id);
    free((void *)endpoints[0].instance);
    free(endpoints);
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    if (count < 1 || (argc > 2 && !fw_balancer_find(argv[2]))) {
        fprintf(stderr, "usage: bench_pick [ENDPOINTS] [BALANCER]\n");
        return 2;
    }
    for (size_t i = 0; fw_balancer_name(i); i++)
        if (argc < 3 || !strcmp(argv[2], fw_balancer_name(i)))
            measure(fw_balancer_find(fw_balancer_name(i)), (size_t)count);
    return 0;
}
