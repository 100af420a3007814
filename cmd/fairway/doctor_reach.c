/*
 * Does every address answer? A connection is made to each, a bounded number at a time. Instances
 * that are offline are not asked: they may be on their way out.
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

static void ask_more(cli_doctor *doctor);

static bool is_loopback(const fw_instance *instance)
{
    return !strcmp(instance->net, "tcp") &&
           (!strncmp(instance->addr, "127.", 4) || !strncmp(instance->addr, "localhost:", 10) ||
            !strncmp(instance->addr, "[::1]:", 6));
}

static void on_reached(int result, void *arg)
{
    struct doctor_probe *probe = arg;
    cli_doctor *doctor = probe->doctor;
    const fw_instance *instance = probe->instance;
    bool shared = fw_kv_capabilities(doctor->cli->kv) & FW_KV_CAN_SHARE_MACHINES;
    probe->reach = NULL;
    doctor->reach.under_way--;
    if (result && shared && !strcmp(instance->net, "unix"))
        doctor_find(&doctor->reach.elsewhere, "%s/%s", instance->service, instance->id);
    else if (result)
        doctor_find(&doctor->reach.silent, "%s/%s at %s://%s (%s)", instance->service, instance->id,
                    instance->net, instance->addr, fw_strerror(result));
    ask_more(doctor);
}

static void report(cli_doctor *doctor)
{
    struct doctor_reach *reach = &doctor->reach;
    size_t silent = reach->silent.count;
    if (silent)
        doctor_report(doctor, "addresses", DOCTOR_FAIL, &reach->silent,
                      "does the process run, is its address one that is reached from here? its "
                      "lease ends when it has died",
                      "%zu of %zu do not answer", silent, reach->asked);
    else
        doctor_report(doctor, "addresses", DOCTOR_OK, NULL, NULL, "%zu asked, %zu answer",
                      reach->asked, reach->asked - reach->elsewhere.count);
    if (reach->elsewhere.count)
        doctor_report(doctor, "sockets", DOCTOR_WARN, &reach->elsewhere,
                      "only their own machine reaches them: register a tcp address",
                      "%zu unix sockets do not answer here", reach->elsewhere.count);
    if (reach->loopback.count)
        doctor_report(doctor, "loopback", DOCTOR_WARN, &reach->loopback,
                      "no other machine reaches them: see --advertise of fairway register",
                      "%zu loopback addresses in a store that machines share",
                      reach->loopback.count);
    doctor_done(doctor);
}

/* Asks the next one with a free probe; false if it cannot be asked. */
static bool ask(cli_doctor *doctor, const fw_instance *instance)
{
    struct doctor_probe *probe = doctor->reach.probes;
    while (probe->reach)
        probe++;
    *probe = (struct doctor_probe){.doctor = doctor, .instance = instance};
    char *url = NULL;
    int err = fw_instance_url(instance, &url);
    if (!err)
        err = cli_reach_start(doctor->cli->loop, url, doctor->cli->timeout_ms, on_reached, probe,
                              &probe->reach);
    free(url);
    return !err;
}

static void ask_more(cli_doctor *doctor)
{
    struct doctor_reach *reach = &doctor->reach;
    bool shared = fw_kv_capabilities(doctor->cli->kv) & FW_KV_CAN_SHARE_MACHINES;
    while (reach->next < doctor->instance_count && reach->under_way < DOCTOR_PROBES) {
        const fw_instance *instance = doctor->instances[reach->next++];
        if (shared && is_loopback(instance))
            doctor_find(&reach->loopback, "%s/%s", instance->service, instance->id);
        if (instance->state == FW_INSTANCE_ONLINE && ask(doctor, instance)) {
            reach->asked++;
            reach->under_way++;
        }
    }
    if (!reach->under_way)
        report(doctor);
}

void doctor_check_addresses(cli_doctor *doctor)
{
    ask_more(doctor);
}

void doctor_cancel_addresses(cli_doctor *doctor)
{
    for (size_t i = 0; i < DOCTOR_PROBES; i++)
        if (doctor->reach.probes[i].reach)
            cli_reach_cancel(doctor->reach.probes[i].reach);
    memset(doctor->reach.probes, 0, sizeof doctor->reach.probes);
}
