#include <fairway/balancer.h>

#include <string.h>

static const struct {
    const char *name;
    const fw_balancer *balancer;
} balancers[] = {
    {"round_robin", &fw_balancer_round_robin},
    {"rr", &fw_balancer_round_robin}, /* walle's name for it */
};

const fw_balancer *fw_balancer_find(const char *name)
{
    for (size_t i = 0; i < sizeof balancers / sizeof *balancers; i++)
        if (!strcmp(balancers[i].name, name))
            return balancers[i].balancer;
    return NULL;
}
