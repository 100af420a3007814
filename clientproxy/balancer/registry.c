#include <fairway/balancer.h>

#include <string.h>

static const fw_balancer *const balancers[] = {
    &fw_balancer_p2c_ewma,     &fw_balancer_round_robin, &fw_balancer_weighted, &fw_balancer_random,
    &fw_balancer_least_loaded, &fw_balancer_hash,        &fw_balancer_maglev,   &fw_balancer_sticky,
};

const fw_balancer *fw_balancer_find(const char *name)
{
    if (!strcmp(name, "rr")) /* walle's name for it */
        return &fw_balancer_round_robin;
    for (size_t i = 0; i < sizeof balancers / sizeof *balancers; i++)
        if (!strcmp(balancers[i]->name, name))
            return balancers[i];
    return NULL;
}

const char *fw_balancer_name(size_t index)
{
    return index < sizeof balancers / sizeof *balancers ? balancers[index]->name : NULL;
}
